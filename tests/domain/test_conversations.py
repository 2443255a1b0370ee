"""Conversations rebuilt from their calls alone: random trees, interleaved, with losses, retries, forks and subtasks."""

import random
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raworc.domain.conversations import MAIN, Call, Known, Link, SessionKey, place
from raworc.domain.digests import Fingerprint, fingerprint, text_digest
from raworc.wire import chat, responses
from talk import Said, World, agent_use, as_chat, as_items, assistant, user

BEGIN = datetime(2026, 11, 25, 12, 0, 0, tzinfo=UTC)
SUMMARY = "The user wants a parser; the lexer is done, the grammar is not. " * 3


class Desk:
    """Places calls as they are made, each a second after the one before."""

    def __init__(self) -> None:
        self.known = Known()
        self.at = BEGIN
        self.ids: dict[uuid.UUID, str] = {}

    def call(self, messages, answer=None, *, body: bytes | None = None, **more) -> Link:
        return self.place(fingerprint(messages, answer), body=body or repr(messages).encode(), **more)

    def place(self, said: Fingerprint, *, body: bytes = b"", ok=True, **more) -> Link:
        self.at += timedelta(seconds=more.pop("after_s", 1))
        call = Call(
            id=uuid.uuid4(),
            at=self.at,
            space=more.pop("space", "default"),
            train_id=more.pop("train_id", "t"),
            said=said,
            body=body,
            ok=ok,
            **more,
        )
        link = place(call, self.known)
        assert link is not None
        self.last = call.id
        return link


@pytest.fixture
def desk() -> Desk:
    return Desk()


ONE = [user("one")]
TWO = [*ONE, assistant("first"), user("two")]
THREE = [*TWO, assistant("second"), user("three")]
FORK = [*ONE, assistant("first"), user("other")]


def test_a_line_is_one_conversation_on_main(desk):
    first = desk.call(ONE, "first")
    first_id = desk.last
    second = desk.call(TWO, "second")
    second_id = desk.last
    third = desk.call(THREE, "third")
    assert {first.conversation_id} == {second.conversation_id, third.conversation_id}
    assert {first.branch_id, second.branch_id, third.branch_id} == {MAIN}
    assert (first.parent_id, second.parent_id, third.parent_id) == (None, first_id, second_id)
    assert (first.source, second.source) == ("none", "prefix")
    assert third.parent_digest == fingerprint(TWO, "second").answered


def test_a_fork_has_a_branch_of_its_own_and_both_go_on(desk):
    main = desk.call(ONE, "first")
    desk.call(TWO, "second")
    fork = desk.call(FORK, "else")
    assert fork.branch_id == "branch_20261125120003"
    assert desk.call([*FORK, assistant("else"), user("x")], "y").branch_id == fork.branch_id
    assert desk.call(THREE, "third").branch_id == MAIN
    assert fork.conversation_id == main.conversation_id


def test_two_forks_in_one_second_have_two_branches(desk):
    desk.call(ONE, "first")
    desk.call(TWO, "second")
    names = {desk.call([*ONE, assistant("first"), user(word)], "x", after_s=0.1).branch_id for word in "abc"}
    assert names == {"branch_20261125120002", "branch_20261125120002_2", "branch_20261125120002_3"}


def test_a_resend_is_another_try_of_the_same_node(desk):
    desk.call(ONE, "first")
    desk.call(TWO, None, ok=False)
    tried = desk.last
    again = desk.call(TWO, "second")
    assert (again.retry_of, again.branch_id) == (tried, MAIN)
    third = desk.call(THREE, "third")
    assert (third.parent_id, third.branch_id) == (tried, MAIN)
    assert desk.call(THREE, "third", body=b"with other parameters").retry_of is None


def test_an_opening_that_failed_is_tried_again_but_not_one_that_was_answered_or_is_long_past(desk):
    first = desk.call(ONE, None, ok=False)
    again = desk.call(ONE, "first")
    assert again.conversation_id == first.conversation_id
    assert desk.call(ONE, "first").conversation_id != first.conversation_id
    failed = desk.call(FORK[:1], None, ok=False)
    assert desk.call(FORK[:1], "first", after_s=1200).conversation_id != failed.conversation_id


def test_conversations_that_open_and_go_on_alike_stay_apart(desk):
    a1, b1 = desk.call(ONE, "first"), desk.call(ONE, "first")
    b2, a2 = desk.call(TWO, "second"), desk.call(TWO, "second")
    assert len({a1.conversation_id, b1.conversation_id}) == 2
    assert {a2.conversation_id, b2.conversation_id} == {a1.conversation_id, b1.conversation_id}
    assert {a2.branch_id, b2.branch_id} == {MAIN}
    assert a2.retry_of is b2.retry_of is None


@pytest.mark.parametrize(
    ("older", "newer", "asked", "nearest"),
    [
        ({"train_id": "x"}, {"train_id": "y"}, {"train_id": "x"}, "older"),
        ({"system": b"s"}, {"system": b"t"}, {"system": b"s"}, "older"),
        ({"train_id": "x", "system": b"t"}, {"system": b"s"}, {"train_id": "x", "system": b"s"}, "older"),
        ({}, {}, {}, "newer"),
        ({"train_id": "x"}, {"train_id": "x"}, {"train_id": "x"}, "newer"),
    ],
)
def test_of_several_that_say_the_same_the_nearest_one_is_gone_on_from(desk, older, newer, asked, nearest):
    said = {"older": desk.call(ONE, "first", **older), "newer": desk.call(ONE, "first", **newer)}
    assert said["older"].conversation_id != said["newer"].conversation_id
    assert desk.call(TWO, "second", **asked).conversation_id == said[nearest].conversation_id


def test_lost_turns_do_not_split_a_conversation(desk):
    first = desk.call(ONE, "first")
    late = desk.call([*THREE, assistant("third"), user("four")], "fourth")
    assert late.conversation_id == first.conversation_id
    assert late.parent_digest == fingerprint(ONE, "first").answered


def test_nothing_is_linked_across_spaces(desk):
    ours = desk.call(ONE, "first")
    theirs = desk.call(TWO, "second", space="theirs")
    assert theirs.conversation_id != ours.conversation_id
    assert theirs.source == "none"


def test_a_session_is_one_conversation_and_never_anothers(desk):
    key, other = SessionKey("s-1"), SessionKey("s-2")
    first = desk.call(ONE, "first", key=key)
    foreign = desk.call(ONE, "first", key=other)
    second = desk.call(TWO, "second", key=key)
    assert first.conversation_id == second.conversation_id != foreign.conversation_id
    assert (first.source, second.source, second.branch_id) == ("header", "header", MAIN)
    unrelated = desk.call([user("cleared")], "x", key=key)
    assert unrelated.conversation_id == first.conversation_id
    assert unrelated.branch_id.startswith("branch_")
    assert desk.call(TWO, "second", key=SessionKey("s-3")).conversation_id not in {
        first.conversation_id,
        foreign.conversation_id,
    }


def test_what_a_session_asks_on_the_side_does_not_take_its_main_branch(desk):
    key = SessionKey("s-1")
    assert desk.call([user("quota")], "x", key=key, side=True).branch_id == MAIN
    assert desk.call([user("a title?")], "x", key=key, side=True).branch_id == MAIN
    assert desk.call(ONE, "first", key=key).branch_id == MAIN
    assert desk.call(TWO, "second", key=key).branch_id == MAIN


def test_a_conversation_that_the_provider_keeps_is_one_chain(desk):
    key, ids = SessionKey("conversation:conv_1"), []
    for word, ok in (("one", True), ("two", True), ("yes", False), ("yes", True), ("yes", True)):
        link = desk.call([user(word)], f"after {word}" if ok else None, key=key, ok=ok)
        assert (link.branch_id, link.source) == (MAIN, "header")
        ids.append((desk.last, link.parent_id, link.retry_of))
    (one, *_), (two, *_), (failed, *_), (_again, *_), _ = ids
    assert ids[1] == (two, one, None)
    assert ids[2] == (failed, two, None)
    assert ids[3][1:] == (two, failed)  # another try
    assert ids[4][1:] == (failed, None)  # a node is known by its first try
    assert desk.call([user("one")], "x", key=SessionKey("conversation:conv_2")).parent_id is None


def test_calls_with_and_without_a_key_do_not_mix(desk):
    first = desk.call(ONE, "first", key=SessionKey("s-1"))
    assert desk.call(TWO, "second").conversation_id != first.conversation_id


@pytest.mark.parametrize("keyed", [False, True])
def test_a_compacted_conversation_goes_on_on_its_own_branch_where_forks_are_seen(desk, keyed):
    key = SessionKey("s-1") if keyed else None
    first = desk.call(ONE, "first", key=key)
    desk.call([*TWO, user("Summarise the conversation")], f"<summary>{SUMMARY}</summary>", key=key)
    summary = desk.last
    opening = [user([{"type": "text", "text": "continued"}, {"type": "text", "text": f"so far: {SUMMARY}"}])]
    compact = desk.call(opening, "I go on", key=key)
    assert compact.branch_id == "compact_120003"
    assert (compact.conversation_id, compact.parent_id) == (first.conversation_id, summary)
    assert compact.source == ("header" if keyed else "compact")
    more = desk.call([*opening, assistant("I go on"), user("a")], "b", key=key)
    fork = desk.call([*opening, assistant("I go on"), user("c")], "d", key=key)
    assert more.branch_id == compact.branch_id
    assert fork.branch_id == "branch_20261125120005"


def test_subtasks_are_numbered_by_the_order_of_their_tool_uses(desk):
    first = desk.call(ONE, [agent_use(1, "look"), agent_use(2, "same"), agent_use(3, "same")])
    master = desk.last
    found = [desk.call([user(prompt)], "done") for prompt in ("same", "look", "same")]
    assert [link.branch_id for link in found] == ["subtask_2", "subtask_1", "subtask_3"]
    assert {link.conversation_id for link in found} == {first.conversation_id}
    assert {(link.is_subtask, link.parent_task_id, link.source) for link in found} == {(True, master, "task")}
    later = desk.call([user("look"), assistant("done"), user("more")], "x")
    assert (later.branch_id, later.is_subtask, later.parent_task_id) == ("subtask_1", True, master)
    assert desk.call([user("look")], "x").conversation_id != first.conversation_id, "all were taken up"
    assert desk.call([*ONE, assistant([agent_use(1, "look")]), user("go on")], "x").is_subtask is False


def test_a_task_is_waited_for_a_day(desk):
    first = desk.call(ONE, [agent_use(1, "look"), agent_use(2, "search")])
    assert desk.call([user("search")], "x", after_s=23 * 3600).conversation_id == first.conversation_id
    assert desk.call([user("look")], "x", after_s=2 * 3600).conversation_id != first.conversation_id


def test_another_agent_of_a_session_is_a_subtask_of_the_one_it_works_for(desk):
    main = desk.call(ONE, [agent_use(1, "look"), agent_use(2, "search")], key=SessionKey("s"))
    master = desk.last
    search = desk.call([user("search")], "x", key=SessionKey("s", "agent-b"))
    unknown = desk.call([user("made up")], "x", key=SessionKey("s", "agent-c"))
    nested = desk.call([user("deeper")], "x", key=SessionKey("s", "agent-d", "agent-b"))
    assert [link.branch_id for link in (search, unknown, nested)] == ["subtask_2", "subtask_3", "subtask_4"]
    assert {link.conversation_id for link in (search, unknown, nested)} == {main.conversation_id}
    assert (search.parent_task_id, unknown.parent_task_id) == (master, master)
    assert nested.parent_task_id not in {None, master}
    assert {link.source for link in (main, search, unknown, nested)} == {"header"}
    later = desk.call([user("search"), assistant("x"), user("y")], "z", key=SessionKey("s", "agent-b"))
    assert (later.branch_id, later.is_subtask) == ("subtask_2", True)


def test_ids_have_the_form_that_clients_check(desk):
    assert desk.call(ONE, "first").conversation_id.version == 4
    assert desk.call(ONE, "first", key=SessionKey("s")).conversation_id.version == 4


def test_a_call_without_messages_is_in_no_conversation():
    call = Call(uuid.uuid4(), BEGIN, "default", "t", fingerprint(None, None), b"")
    assert place(call, Known()) is None


# ── random trees ──────────────────────────────────────────────────────────────────────────────────────
def rebuilt(world: World, steps: int, read: Callable[[Said], Fingerprint]) -> None:
    """Let the world talk, place what ``read`` finds in each of its calls, and look whether all of it was found."""
    for _ in range(steps):
        world.step()
    desk, placed = Desk(), {}
    for said in world.sent:
        if said.recorded:
            link = desk.place(read(said), body=repr(said.messages).encode(), key=said.key)
            placed[id(said)] = (desk.last, link, said)
    as_found: dict[object, object] = {}
    for call_id, link, said in placed.values():
        nearest = said.parent
        first = said.tries_of
        assert as_found.setdefault(said.conversation, link.conversation_id) == link.conversation_id
        assert as_found.setdefault(said.branch, link.branch_id) == link.branch_id
        assert link.parent_id == (placed[id(nearest)][0] if nearest else None), call_id
        assert link.retry_of == (placed[id(first)][0] if first else None)
        assert link.is_subtask == said.subtask
    conversations = {said.conversation for said in world.sent if said.recorded}
    branches = {(said.conversation, id(said.branch)) for said in world.sent if said.recorded}
    assert len({link.conversation_id for _, link, _ in placed.values()}) == len(conversations)
    assert len({(link.conversation_id, link.branch_id) for _, link, _ in placed.values()}) == len(branches)


def on_messages(said: Said) -> Fingerprint:
    return fingerprint(said.messages, said.answer)


def on_chat(said: Said) -> Fingerprint:
    request = {"messages": [{"role": "system", "content": "x"}, *(as_chat(one) for one in said.messages)]}
    answer = {"choices": [{"message": as_chat(assistant(said.answer))}]}
    return fingerprint(chat.asked(request)["messages"], chat.told(answer)["content"])


def on_responses(said: Said) -> Fingerprint:
    request = {"instructions": "x", "input": [item for one in said.messages for item in as_items(one)]}
    answer = {"output": [{"type": "reasoning", "summary": []}, *as_items(assistant(said.answer))]}
    return fingerprint(responses.asked(request)["messages"], responses.told(answer)["content"])


def on_named_responses(said: Said) -> Fingerprint:
    """Each request names the response before it, and says only what is new."""
    (newest,) = responses.asked({"input": as_items(said.messages[-1])})["messages"]
    answer = responses.told({"output": as_items(assistant(said.answer))})["content"]
    after = f"resp_{id(said.parent)}" if said.parent else None
    return fingerprint([newest], answer, after=after, answer_id=f"resp_{id(said)}")


SEEDS = st.integers(0, 2**32)


@settings(max_examples=100, deadline=None)
@given(SEEDS, st.integers(5, 80))
def test_random_conversations_are_rebuilt_exactly(seed, steps):
    rebuilt(World(random.Random(seed)), steps, on_messages)  # noqa: S311  a seed makes the run repeatable


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.integers(5, 60), st.sampled_from([on_chat, on_responses]))
def test_random_conversations_on_openais_wires_are_rebuilt_exactly(seed, steps, read):
    rebuilt(World(random.Random(seed)), steps, read)  # noqa: S311  see above


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.integers(5, 60))
def test_random_conversations_whose_calls_name_the_response_before_are_rebuilt_exactly(seed, steps):
    rebuilt(World(random.Random(seed), losses=False), steps, on_named_responses)  # noqa: S311  see above


def test_a_response_that_is_named_is_the_parent_and_siblings_of_few_words_stay_apart(desk):
    first = desk.place(fingerprint(ONE, "first", answer_id="r1"))
    first_id = desk.last
    silent = desk.place(fingerprint([], "second", after="r1", answer_id="r2"))
    other = desk.place(fingerprint([user("two")], "third", after="r1", answer_id="r3"))
    assert (silent.parent_id, other.parent_id) == (first_id, first_id)
    assert (silent.branch_id, silent.source) == (first.branch_id, "prefix")
    assert other.branch_id.startswith("branch_")
    assert silent.parent_digest == other.parent_digest == fingerprint(ONE, "first").answered
    unknown = desk.place(fingerprint([user("two")], "x", after="r9"))
    assert unknown.parent_id is None
    elsewhere = desk.place(fingerprint([user("two")], "x", after="r1"), space="other")
    assert elsewhere.parent_id is None


def test_prompts_are_compared_as_they_are_meant():
    assert text_digest("look\r\nhere ") == text_digest("look\nhere")
