"""The history that a model gets is valid for the Messages API, whatever is stored."""

import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raworc.domain.context import (
    EMPTY_INPUT,
    NO_ANSWER,
    NOT_RUN,
    Message,
    PastTurn,
    Prompt,
    Speaker,
    cached,
    input_blocks,
    past_messages,
    said_turn,
    seen_by,
    summary_messages,
    system_text,
    tool_result,
    turn_messages,
)
from raworc.domain.turns import Step


def history(past: list[PastTurn], present: PastTurn, summary: str | None = None) -> list[Message]:
    return summary_messages(summary) + past_messages(past) + turn_messages(present)


words = st.text(max_size=12)
use_ids = st.sampled_from(["t1", "t2", "t3", "t4"])


@st.composite
def model_blocks(draw: st.DrawFn) -> list[dict[str, Any]]:
    block = st.one_of(
        st.builds(lambda text: {"type": "text", "text": text}, words),
        st.builds(lambda text: {"type": "thinking", "thinking": text, "signature": "s"}, words),
        st.builds(lambda name: {"type": "tool_use", "id": name, "name": "bash", "input": {}}, use_ids),
    )
    return draw(st.lists(block, max_size=4, unique_by=lambda each: each.get("id") or id(each)))


@st.composite
def steps(draw: st.DrawFn) -> tuple[Step, ...]:
    """Any log, also ones that no worker would leave behind."""
    found: list[Step] = []
    for number in range(1, draw(st.integers(0, 6)) + 1):
        if draw(st.booleans()):
            state = draw(st.sampled_from(["started", "done"]))
            found.append(Step(number, "model", state, draw(model_blocks()) if state == "done" else None))
        else:
            name, state = draw(use_ids), draw(st.sampled_from(["started", "done", "unknown"]))
            content = None if state == "started" else tool_result(name, draw(words), is_error=False)
            found.append(Step(number, "tool", state, content, name))
    return tuple(found)


inputs = st.one_of(
    st.none(),
    words,
    st.builds(lambda text: {"text": text}, words),
    st.builds(lambda items: {"content": items}, st.lists(st.builds(lambda t: {"type": "text", "content": t}, words))),
    st.dictionaries(words, words, max_size=2),
)
AGENTS = uuid.uuid4(), uuid.uuid4()
SPEAKERS = [Speaker(AGENTS[0], "alpha"), Speaker(AGENTS[1], "beta"), Speaker()]
turns = st.builds(
    PastTurn,
    input=inputs,
    steps=steps(),
    answer=st.none() | words,
    told=st.integers(0, 7),
    speaker=st.none() | st.sampled_from(SPEAKERS),
)
summaries = st.none() | words


@given(past=st.lists(turns, max_size=4), present=turns, summary=summaries)
def test_every_history_is_valid_for_the_provider(past: list[PastTurn], present: PastTurn, summary: str | None):
    messages = history(past, present, summary)
    assert [message["role"] for message in messages] == ["user", "assistant"] * (len(messages) // 2) + ["user"] * (
        len(messages) % 2
    )
    for message, after in zip(messages, [*messages[1:], None], strict=True):
        assert message["content"]
        assert all(block["text"].strip() for block in message["content"] if block["type"] == "text")
        asked = {block["id"] for block in message["content"] if block["type"] == "tool_use"}
        told = {b["tool_use_id"] for b in after["content"] if b["type"] == "tool_result"} if after else set()
        assert asked == told


@given(past=st.lists(turns, max_size=3), present=turns)
def test_blocks_are_replayed_as_they_came(past: list[PastTurn], present: PastTurn):
    own = [turn for turn in [*past, present] if turn.speaker is None]
    stored = [b for turn in own for step in turn.untold for b in step.blocks if b["type"] == "thinking"]
    replayed = [
        block
        for message in history(past, present)
        if message["role"] == "assistant"
        for block in message["content"]
        if block["type"] == "thinking"
    ]
    assert replayed == stored


def test_what_others_answered_is_told_apart_from_one_s_own():
    def answered(text: str, speaker: Speaker) -> PastTurn:
        blocks = [{"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "text", "text": text}]
        return PastTurn({"text": "go"}, (Step(1, "model", "done", blocks),), speaker=speaker)

    past = [answered(f"answer {number}", speaker) for number, speaker in enumerate(SPEAKERS)]
    told = [
        [[block.get("text", block["type"]) for block in message["content"]] for message in past_messages(seen)]
        for seen in (seen_by(AGENTS[0], past), seen_by(None, past))
    ]
    alpha, beta, nobody = (
        "(The agent 'alpha' answered this.)",
        "(The agent 'beta' answered this.)",
        "(No agent answered this, but the model that answers where there is none.)",
    )
    assert told == [
        [["go"], ["thinking", "answer 0"], ["go", beta], ["answer 1"], ["go", nobody], ["answer 2"]],
        [["go", alpha], ["answer 0"], ["go", beta], ["answer 1"], ["go"], ["thinking", "answer 2"]],
    ]


def test_a_turn_that_ended_in_a_tool_is_closed():
    call = Step(1, "model", "done", [{"type": "tool_use", "id": "t1", "name": "bash", "input": {}}])
    cut = PastTurn({"content": [{"type": "text", "content": "go"}]}, (call, Step(2, "tool", "started", None, "t1")))
    messages = history([cut], PastTurn({"text": "again"}))
    assert messages[2] == {"role": "user", "content": [tool_result("t1", NOT_RUN, is_error=True)]}
    assert messages[3] == {"role": "assistant", "content": [{"type": "text", "text": NO_ANSWER}]}
    assert messages[4] == {"role": "user", "content": [{"type": "text", "text": "again"}]}


def test_an_outside_writer_s_answer_is_history_too():
    messages = history([PastTurn({"text": "two and two"}, (), "four")], PastTurn({"text": "sure?"}))
    assert messages[1] == {"role": "assistant", "content": [{"type": "text", "text": "four"}]}


@pytest.mark.parametrize(
    ("role", "asked", "answered"),
    [
        ("AGENT", "(An answer from outside follows.)", "It rains.\nTake a coat."),
        ("SYSTEM", "(A note of the system:)\nIt rains.\nTake a coat.", "Understood."),
    ],
)
def test_what_was_posted_is_told_as_what_it_is(role: str, asked: str, answered: str):
    """An agent's words as its answer, so that the model goes on from them; a note as something it was told."""
    items = [{"type": "text", "content": text} for text in ("It rains.", "Take a coat.")]
    past = [PastTurn({"text": "hi"}, answer="hello"), said_turn({"content": items, "role": role, "metadata": {"x": 1}})]
    assert past_messages(past)[2:] == [
        {"role": "user", "content": [{"type": "text", "text": asked}]},
        {"role": "assistant", "content": [{"type": "text", "text": answered}]},
    ]


def test_input_of_every_shape_becomes_text():
    given_items = [{"type": "text", "content": "a"}, {"type": "json", "content": {"b": 1}}, "c", {"type": "text"}, 5]
    texts = [block["text"] for block in input_blocks({"content": given_items})]
    assert texts == ["a", '{"type": "json", "content": {"b": 1}}', "c", '{"type": "text"}', "5"]
    assert input_blocks({"content": [{"type": "text", "content": " "}]}) == [{"type": "text", "text": EMPTY_INPUT}]


def test_cache_breakpoints_stand_after_system_tools_and_last_user_message():
    block = {"type": "text", "text": "x"}
    messages = [{"role": "user", "content": [block]}, {"role": "assistant", "content": [block]}]
    messages.append({"role": "user", "content": [block, block]})
    prompt = Prompt([block], [{"name": "one"}, {"name": "two"}], messages)
    marked = cached(prompt)
    assert "cache_control" in marked.system[0]
    assert ["cache_control" in each for each in marked.tools] == [False, True]
    assert ["cache_control" in each for m in marked.messages for each in m["content"]] == [False, False, False, True]
    assert "cache_control" not in str(prompt)
    assert cached(Prompt([], [])) == Prompt([], [])


def test_the_agent_s_instructions_follow_the_fixed_text():
    assert system_text("demo", "Be {brief}.").endswith("\n\nBe {brief}.")
    assert "'demo'" in system_text("demo", "  ")


def test_an_id_that_is_used_twice_gets_each_its_own_result():
    call = [{"type": "tool_use", "id": "t1", "name": "bash", "input": {}}]
    first, second = tool_result("t1", "one", is_error=False), tool_result("t1", "two", is_error=False)
    log = (
        Step(1, "model", "done", call),
        Step(2, "tool", "done", first, "t1"),
        Step(3, "model", "done", call),
        Step(4, "tool", "done", second, "t1"),
    )
    assert [message["content"] for message in history([], PastTurn({"text": "go"}, log))][2::2] == [[first], [second]]
