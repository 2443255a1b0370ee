"""What a turn does next, for every state in which its steps can be found."""

import pytest

from raworc.domain.turns import (
    Answer,
    CallModel,
    Failure,
    ReportUnknown,
    RunTool,
    Step,
    ToolUse,
    crash_looped,
    following,
    message_segments,
    resumed,
)


def use(name: str) -> dict[str, object]:
    return {"type": "tool_use", "id": name, "name": "bash", "input": {"command": name}}


def text(words: str) -> dict[str, object]:
    return {"type": "text", "text": words}


def model(number: int, *blocks: object, state: str = "done") -> Step:
    return Step(number, "model", state, list(blocks) or None)  # pyright: ignore[reportArgumentType]


def tool(number: int, name: str, state: str = "done") -> Step:
    return Step(number, "tool", state, None, name)  # pyright: ignore[reportArgumentType]


A, B = ToolUse("a", "bash", {"command": "a"}), ToolUse("b", "bash", {"command": "b"})

FINISHED = {
    "nothing yet": ([], CallModel(1)),
    "an answer": ([model(1, text("one "), text("two"))], Answer("one two")),
    "an empty answer": ([model(1, text(""))], Answer("")),
    "one call": ([model(1, text("hm"), use("a"))], RunTool(2, A)),
    "two calls": ([model(1, use("a"), use("b"))], RunTool(2, A)),
    "one of two has run": ([model(1, use("a"), use("b")), tool(2, "a")], RunTool(3, B)),
    "an unknown one is not run again": ([model(1, use("a"), use("b")), tool(2, "a", "unknown")], RunTool(3, B)),
    "all have run": ([model(1, use("a"), use("b")), tool(2, "a"), tool(3, "b")], CallModel(4)),
    "an id used before counts anew": ([model(1, use("a")), tool(2, "a"), model(3, use("a"))], RunTool(4, A)),
}


@pytest.mark.parametrize(("steps", "move"), FINISHED.values(), ids=FINISHED)
def test_what_follows_finished_steps(steps: list[Step], move: object):
    assert following(steps, model_calls=0, max_model_calls=9) == move
    assert resumed(steps, model_calls=0, max_model_calls=9) == move


FOUND_STARTED = {
    "a model call is made again": ([model(1, state="started")], CallModel(1)),
    "also later in the turn": ([model(1, use("a")), tool(2, "a"), model(3, state="started")], CallModel(3)),
    "a tool is never run again": ([model(1, use("a")), tool(2, "a", "started")], ReportUnknown(2, A)),
    "not the second one either": (
        [model(1, use("a"), use("b")), tool(2, "a"), tool(3, "b", "started")],
        ReportUnknown(3, B),
    ),
}


@pytest.mark.parametrize(("steps", "move"), FOUND_STARTED.values(), ids=FOUND_STARTED)
def test_how_another_worker_continues(steps: list[Step], move: object):
    assert resumed(steps, model_calls=1, max_model_calls=9) == move


@pytest.mark.parametrize("steps", [[], [model(1, state="started")], [model(1, use("a")), tool(2, "a")]])
def test_the_limit_of_model_calls_ends_a_turn(steps: list[Step]):
    move = resumed(steps, model_calls=3, max_model_calls=3)
    assert isinstance(move, Failure)
    assert move.code == "turn_limit"


def test_the_limit_of_model_calls_lets_tools_run_and_answers_stand():
    assert following([model(1, use("a"))], model_calls=3, max_model_calls=3) == RunTool(2, A)
    assert following([model(1, text("done"))], model_calls=3, max_model_calls=3) == Answer("done")


@pytest.mark.parametrize(("attempts", "ended"), [(0, False), (3, False), (4, True), (5, True)])
def test_four_attempts_without_progress_end_a_turn(attempts: int, ended: bool):
    failure = crash_looped(attempts)
    assert (failure is not None) == ended
    assert failure is None or failure.code == "operator_crash_loop"


def test_a_message_with_calls_shows_thoughts_text_and_calls_in_order():
    thinking = {"type": "thinking", "thinking": "let me see", "signature": "x"}
    redacted = {"type": "redacted_thinking", "data": "x"}
    assert message_segments([thinking, redacted, text("I look"), use("a"), use("b")]) == [
        {"type": "commentary", "channel": "analysis", "text": "let me see"},
        {"type": "commentary", "channel": "commentary", "text": "I look"},
        {"type": "tool_call", "id": "a", "tool": "bash", "args": {"command": "a"}},
        {"type": "tool_call", "id": "b", "tool": "bash", "args": {"command": "b"}},
    ]


def test_a_message_without_calls_is_the_final_answer():
    thinking = {"type": "thinking", "thinking": "easy", "signature": "x"}
    assert message_segments([thinking, text("forty"), text("-two")]) == [
        {"type": "commentary", "channel": "analysis", "text": "easy"},
        {"type": "final", "channel": "final", "text": "forty-two"},
    ]
