"""When a context counts as full, and what is asked then."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.test_context import turns
from raworc.domain.compaction import (
    characters,
    is_due,
    reported_tokens,
    step_characters,
    summary_request,
    tokens,
    used_tokens,
)
from raworc.domain.context import PastTurn, Prompt, past_messages, said_turn, tool_result
from raworc.domain.summary import SUMMARY_INSTRUCTION, begun, calls_begun, continued, continuing
from raworc.domain.turns import Step

CALL = [{"type": "tool_use", "id": "t1", "name": "bash", "input": {"command": "ls"}}]


def said(text: str, answer: str = "", reported: int | None = None) -> PastTurn:
    step = Step(1, "model", "done", [{"type": "text", "text": answer}], context_tokens=reported)
    return PastTurn({"text": text}, (step,) if answer else ())


def worked(size: int, told: int = 0) -> PastTurn:
    result = tool_result("t1", "x" * size, is_error=False)
    return PastTurn({"text": "go"}, (Step(1, "model", "done", CALL), Step(2, "tool", "done", result, "t1")), told=told)


def test_characters_are_what_a_model_reads():
    assert characters([{"type": "text", "text": "héllo"}]) == 5
    assert characters([{"type": "thinking", "thinking": "hm", "signature": "long"}]) == 2
    assert characters(CALL) == len('bash{"command":"ls"}')
    assert step_characters(tool_result("t1", "out", is_error=True)) == 3
    assert step_characters(None) == step_characters([]) == 0
    assert [tokens(number) for number in (0, 1, 4, 5)] == [0, 1, 1, 2]


def test_what_a_provider_counted_stands_for_all_that_it_counted():
    past = [said("a" * 40, "b" * 40, reported=100), said("c" * 40)]
    assert used_tokens(past, "s" * 40) == 100 + 10
    assert used_tokens([said("a" * 40, "b" * 40), said("c" * 40)], "s" * 40) == 40


def test_words_from_outside_take_room_too():
    """An answer that an outside writer gave, and what was posted in an agent's name or as a note."""
    outside = PastTurn({"text": "a" * 40}, answer="b" * 400)
    assert used_tokens([outside], None) == 110
    for role in ("AGENT", "SYSTEM"):
        posted = said_turn({"content": [{"type": "text", "content": "b" * 4000}], "role": role})
        assert 1000 <= used_tokens([posted], None) < 1020
        assert is_due([posted], said("c"), None, soft_limit=1000)
        past = [posted, said("d"), said("e")]
        assert summary_request(past, None, None, soft_limit=900)[:-1] == past_messages(past[1:])
    assert used_tokens([replace(outside, steps=said("a", "c" * 40).steps)], None) == 20, "its steps tell of it"


def test_a_provider_s_count_is_taken_without_system_and_tools():
    prompt = Prompt([{"type": "text", "text": "x" * 400}], [{"name": "y" * 389}])
    assert reported_tokens(317, prompt) == 317 - 201
    assert reported_tokens(5, prompt) == 0
    assert reported_tokens(0, prompt) is None


@pytest.mark.parametrize(
    ("past", "present", "summary", "due"),
    [
        ([said("x" * 354)], said("go"), None, False),  # 89 of 100
        ([said("x" * 358)], said("go"), None, True),
        ([said("x" * 4, "y", reported=89)], said("go!!"), None, True),
        ([], said("x" * 800), None, False),  # the input stays whatever is done
        ([], worked(400), None, True),
        ([], worked(400, told=2), None, False),
        ([said("x" * 20)], said("go"), "s" * 400, False),  # no summary of a summary
        ([said("x" * 40)], said("go"), "s" * 400, True),
    ],
)
def test_when_it_is_time(past: list[PastTurn], present: PastTurn, summary: str | None, due: bool):
    assert is_due(past, present, summary, soft_limit=100) is due


@given(past=st.lists(turns, max_size=4), present=st.none() | turns, summary=st.none() | st.text(min_size=1))
def test_the_request_for_a_summary_ends_with_the_instruction(
    past: list[PastTurn], present: PastTurn | None, summary: str | None
):
    messages = summary_request(past, present, summary, soft_limit=100)
    if not messages:
        assert not past
        assert present is None or not present.untold
        return
    assert [message["role"] for message in messages] == ["user", "assistant"] * (len(messages) // 2) + ["user"]
    assert messages[-1]["content"][-1] == {"type": "text", "text": SUMMARY_INSTRUCTION}
    assert continued(str(messages[0]["content"][0].get("text"))) == summary


def test_of_a_past_that_is_too_long_the_newest_is_told():
    past = [said(f"{number}" * 100, "ok") for number in range(9)]
    assert summary_request(past, None, None, soft_limit=60)[:-1] == past_messages(past[-2:])
    assert summary_request(past, None, None, soft_limit=1)[:-1] == past_messages(past[-1:])


def test_texts_are_known_again():
    assert continued(continuing("a\nb")) == "a\nb"
    assert continued("a") is None
    assert calls_begun(f"work\n{begun(12)}") == 12
    assert calls_begun("work") == 0
