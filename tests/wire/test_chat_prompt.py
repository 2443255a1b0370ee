"""A history told on the Chat Completions wire, and what its answers become in ours."""

from typing import Any

import pytest

from raworc.domain.compaction import characters
from raworc.domain.context import PastTurn, Prompt, past_messages, tool_result, turn_messages
from raworc.domain.turns import Step, final_text, message_segments, tool_uses
from raworc.wire.chat_prompt import answer_blocks, prompt_messages, prompt_tools, without_chat

CALLS = [
    {"id": "call_1", "type": "function", "function": {"name": "bash", "arguments": '{ "command":"ls" }'}},
    {"id": "call_2", "type": "function", "function": {"name": "bash", "arguments": ""}, "extra": {"sign": "x"}},
]
MESSAGE = {"role": "assistant", "content": "I look.", "reasoning_content": "hm", "tool_calls": CALLS}
CLAUDE = [
    {"type": "thinking", "thinking": "so", "signature": "sig"},
    {"type": "redacted_thinking", "data": "opaque"},
    {"type": "text", "text": "I look."},
    {"type": "tool_use", "id": "t" * 50, "name": "bash", "input": {"command": "ls"}},
]


def worked(blocks: list[dict[str, Any]], *results: str) -> PastTurn:
    """A turn whose model said ``blocks`` first, got these results, and then answered."""
    uses = tool_uses(blocks)
    steps = [Step(1, "model", "done", blocks)]
    for number, (use, result) in enumerate(zip(uses, results, strict=True), 2):
        steps.append(Step(number, "tool", "done", tool_result(use.id, result, is_error=False), use.id))
    steps.append(Step(len(steps) + 1, "model", "done", [{"type": "text", "text": "done"}]))
    return PastTurn({"content": [{"type": "text", "content": "look"}]}, tuple(steps))


def told(turn: PastTurn, model: str = "gpt-x") -> list[dict[str, Any]]:
    return prompt_messages(Prompt([{"type": "text", "text": "You are."}], [], past_messages([turn])), model)


def test_an_answer_shows_its_thought_its_text_and_its_calls():
    blocks = answer_blocks(MESSAGE, "gpt-x")
    assert [block["type"] for block in blocks] == ["chat_message", "thinking", "text", "tool_use", "tool_use"]
    assert [(use.id, use.name, use.args) for use in tool_uses(blocks)] == [
        ("call_1", "bash", {"command": "ls"}),
        ("call_2", "bash", {}),
    ]
    assert [segment["type"] for segment in message_segments(blocks)] == [
        "commentary",
        "commentary",
        "tool_call",
        "tool_call",
    ]
    assert characters(blocks) == characters(blocks[1:])


def test_its_own_model_gets_it_back_as_it_was():
    messages = told(worked(answer_blocks(MESSAGE, "gpt-x"), "a\nb", "c"))
    assert messages == [
        {"role": "system", "content": "You are."},
        {"role": "user", "content": "look"},
        MESSAGE,
        {"role": "tool", "tool_call_id": "call_1", "content": "a\nb"},
        {"role": "tool", "tool_call_id": "call_2", "content": "c"},
        {"role": "assistant", "content": "done"},
    ]


def test_another_model_of_this_wire_gets_what_it_says():
    (_, _, assistant, *_) = told(worked(answer_blocks(MESSAGE, "gpt-x"), "a", "b"), "gpt-y")
    assert assistant == {
        "role": "assistant",
        "content": "I look.",
        "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "bash", "arguments": '{"command":"ls"}'}},
            {"id": "call_2", "type": "function", "function": {"name": "bash", "arguments": "{}"}},
        ],
    }


def test_what_claude_said_is_told_without_its_thoughts_and_with_ids_that_are_short_enough():
    (_, _, assistant, result, _) = told(worked(CLAUDE, "a"))
    (call,) = assistant["tool_calls"]
    assert assistant["content"] == "I look."
    assert len(call["id"]) <= 40
    assert result == {"role": "tool", "tool_call_id": call["id"], "content": "a"}


def test_claude_gets_what_this_wire_said_in_its_own_words():
    message = {**MESSAGE, "tool_calls": [{**CALLS[0], "id": "functions.bash:0"}]}
    messages = without_chat(past_messages([worked(answer_blocks(message, "gpt-x"), "a")]))
    text, use = messages[1]["content"]
    assert text == {"type": "text", "text": "I look."}
    assert use["input"] == {"command": "ls"}
    assert use["id"].replace("_", "").isalnum()
    assert messages[2]["content"] == [{"type": "tool_result", "tool_use_id": use["id"], "content": "a"}]


def test_claudes_own_history_stays_as_it_is():
    history = past_messages([worked(CLAUDE, "a")])
    assert without_chat(history) == history


def test_a_thought_alone_is_no_message_for_claude():
    turn = PastTurn("x", (Step(1, "model", "done", answer_blocks({"content": None, "reasoning": "hm"}, "m")),))
    assert [message["role"] for message in without_chat(turn_messages(turn))] == ["user"]


def test_results_stand_right_behind_their_calls_whatever_else_is_said():
    said = [{"type": "text", "text": "go on"}, tool_result("t1", "a", is_error=False)]
    messages = prompt_messages(Prompt([], [], [{"role": "user", "content": said}]), "m")
    assert [message["role"] for message in messages] == ["tool", "user"]


NOTHING = [{}, {"content": None}, {"content": ""}, {"content": "  ", "tool_calls": []}, {"content": 7}]


@pytest.mark.parametrize("message", NOTHING)
def test_an_answer_of_nothing_leaves_nothing(message: dict[str, Any]):
    assert answer_blocks(message, "m") == []


def test_a_refusal_is_what_was_said():
    assert final_text(answer_blocks({"content": None, "refusal": "I will not."}, "m")) == "I will not."


def test_calls_without_an_id_of_their_own_get_one_that_their_results_name():
    calls = [{"id": given, "function": {"name": "bash", "arguments": "{}"}} for given in ("", None, "same", "same")]
    blocks = answer_blocks({"content": None, "tool_calls": calls}, "m")
    ids = [use.id for use in tool_uses(blocks)]
    assert len(set(ids)) == 4
    assert ids[2] == "same"
    assert [call["id"] for call in blocks[0]["message"]["tool_calls"]] == ids


def test_arguments_that_are_no_object_are_shown_as_they_are():
    for arguments in ('{"command": "l', "[1]"):
        call = {"id": "a", "function": {"name": "bash", "arguments": arguments}}
        (use,) = tool_uses(answer_blocks({"tool_calls": [call]}, "m"))
        assert use.args == {"INVALID_JSON": arguments}


def test_tools():
    schema = {"type": "object", "properties": {}}
    described = {"name": "bash", "description": "Runs.", "input_schema": schema}
    assert prompt_tools([described, {"name": "x", "input_schema": schema}]) == [
        {"type": "function", "function": {"name": "bash", "parameters": schema, "description": "Runs."}},
        {"type": "function", "function": {"name": "x", "parameters": schema}},
    ]
