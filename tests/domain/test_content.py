import pytest

from raworc.domain.content import check_output, input_content, merged_output, output_content, text_input
from raworc.errors import BadRequest

FINAL = {"type": "final", "channel": "final", "text": "said"}
ITEMS = [{"type": "json", "title": "t", "content": "{}"}]


def result(**fields):
    return {"type": "tool_result", "tool": "output", "output": {"items": ITEMS}, "is_error": False, **fields}


def test_input_is_items_whatever_form_it_has():
    assert input_content({"content": [1]}) == [1]
    assert input_content({"text": "hi"}) == [{"type": "text", "content": "hi"}]
    assert input_content({"text": 5}) == input_content({}) == []


def test_a_prompt_is_one_text_item():
    assert text_input("hi") == {"content": [{"type": "text", "content": "hi"}]}
    with pytest.raises(BadRequest):
        text_input("\n ")


@pytest.mark.parametrize(
    ("output", "segments", "shown"),
    [
        ({}, [], []),
        ({}, [FINAL], [{"type": "text", "content": "said"}]),
        ({}, [FINAL, {**FINAL, "text": "last"}], [{"type": "text", "content": "last"}]),
        ({"text": "put"}, [FINAL, result()], [{"type": "text", "content": "put"}]),
        ({"k": 1}, [result(), FINAL], ITEMS),
        ({}, [result(is_error=True), FINAL], [{"type": "text", "content": "said"}]),
        ({}, [result(tool="bash"), FINAL], [{"type": "text", "content": "said"}]),
        ({}, [result(output="ok"), FINAL], [{"type": "text", "content": "said"}]),
        ({}, [result(output={"items": []}), FINAL], [{"type": "text", "content": "said"}]),
    ],
)
def test_output_is_the_writers_text_the_tools_items_or_the_final_text(output, segments, shown):
    assert output_content(output, segments) == shown


def test_outside_output_merges_and_its_items_are_apart():
    output, items = check_output({"text": "a", "items": [{"type": "x"}], "k": 1})
    assert items == [{"type": "x"}]
    assert merged_output({"text": "old", "l": 2}, output) == {"text": "a", "k": 1, "l": 2}
