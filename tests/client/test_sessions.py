"""The life of a session of a space, through the client, on processes of an installation."""

import time
from datetime import UTC, datetime

import pytest

from raworc.client import Raworc
from raworc.client.errors import Conflict, NotFound, StillWorking
from raworc.client.session_shapes import Message
from raworc.client.sessions import unanswered
from stack import Stack

WAIT_S = 60.0


def until_said(client: Raworc, session_id: str, count: int) -> str:
    """The newest message once there are so many."""
    ends = time.monotonic() + WAIT_S
    while client.sessions.count_messages(session_id) < count:
        assert time.monotonic() < ends, client.sessions.get(session_id)
    return client.sessions.messages(session_id)[-1].content


def test_a_session_lives_through_the_client(steady_stack: Stack):
    client = steady_stack.client()
    sessions = client.sessions
    made = sessions.create(metadata={"a": 1})
    assert (made.state, made.space, made.metadata) == ("INIT", "default", {"a": 1})
    assert sessions.send(made.id, "hello").role == "user"
    assert until_said(client, made.id, 2) == "You said: hello"
    assert [one.role for one in sessions.messages(made.id, limit=1, offset=0)] == ["user"]
    assert sessions.pause(made.id).state == "PAUSED"
    with pytest.raises(Conflict):
        sessions.pause(made.id)
    assert sessions.resume(made.id).state == "IDLE"
    assert sessions.set_state(made.id, "SUSPENDED").state == "SUSPENDED"
    assert sessions.suspend(sessions.remix(made.id).id).parent_session_id == made.id
    assert sessions.update(made.id, metadata={"b": 2}).metadata == {"b": 2}
    assert sessions.clear_messages(made.id) == 2
    assert made.id in {one.id for one in sessions.list(state="SUSPENDED")}
    sessions.terminate(made.id)
    assert sessions.get(made.id).termination_reason == "terminated by admin"


def said(roles: str) -> list[Message]:
    """Messages by the first letters of their roles."""
    roles_of = {"u": "user", "a": "assistant", "s": "system"}
    at = datetime(2026, 1, 1, tzinfo=UTC)
    return [Message(str(number), "s", roles_of[letter], "", at) for number, letter in enumerate(roles)]


@pytest.mark.parametrize(
    ("roles", "waiting"), [("", 0), ("u", 1), ("ua", 0), ("uus", 1), ("uuaa", 0), ("auu", 2), ("aau", 1)]
)
def test_messages_that_wait_for_an_answer_are_counted(roles: str, waiting: int):
    assert unanswered(said(roles)) == waiting


def test_an_answer_is_waited_for_and_is_that_of_its_message(steady_stack: Stack):
    sessions = steady_stack.client().sessions
    made = sessions.create()
    first = sessions.send(made.id, "first")
    assert sessions.ask(made.id, "second").content == "You said: second"
    assert sessions.answer(first).content == "You said: first"
    sessions.pause(made.id)
    with pytest.raises(StillWorking, match="goes on"):
        sessions.ask(made.id, "later", patience_s=0.1)
    sessions.resume(made.id)
    assert sessions.ask(made.id, "more").content == "You said: more"
    sessions.clear_messages(made.id)
    with pytest.raises(NotFound, match="not there any more"):
        sessions.answer(first)
    sessions.terminate(made.id)
