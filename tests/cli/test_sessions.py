"""Sessions of spaces by the command line: looked after, talked with, and what is not answered."""

import json
import uuid
from collections.abc import Iterator

import pytest

from stack import Stack
from terminal import Shell


@pytest.fixture(scope="module")
def space(person: Shell, steady_stack: Stack) -> Iterator[str]:
    """A space of its own, with a secret."""
    name = f"talk-{uuid.uuid4().hex[:8]}"
    with steady_stack.client() as client:
        client.spaces.create(name)
        client.spaces.create_secret(name, "GREETING", "from-the-space")
        yield name
        for one in client.sessions.list(space=name):
            if one.state != "TERMINATED":
                client.sessions.terminate(one.id)


def test_a_session_lives_its_life(person: Shell, space: str):
    session = person.here("sessions", "create", "--space", space, "--metadata", '{"team": "a"}').strip()
    assert session in person.here("sessions", "list", "--space", space)
    assert "from-the-space" in person.here("sessions", "send", session, "```bash\necho $GREETING > kept; cat kept\n```")
    assert (
        json.loads(person.here("sessions", "send", session, "-", "--json", typed="hello"))["content"]
        == "You said: hello"
    )
    told = person.here("sessions", "messages", session, "--limit", "2")
    assert told == "user  hello\nassistant  You said: hello\n"
    assert "PAUSED" in person.here("sessions", "pause", session)
    sent = person.here("sessions", "send", session, "while it is paused", "--background").strip()
    assert uuid.UUID(sent)
    person.here("sessions", "resume", session)
    assert "You said: more" in person.here("sessions", "send", session, "more")
    assert "SUSPENDED" in person.here("sessions", "suspend", session)
    copy = person.here("sessions", "remix", session).strip()
    assert "from-the-space" in person.here("sessions", "send", copy, "```bash\ncat kept\n```")
    shown = json.loads(person.here("sessions", "get", copy, "--json"))
    assert (shown["space"], shown["metadata"], shown["parent_session_id"]) == (space, {"team": "a"}, session)
    assert '"team": "b"' in person.here("sessions", "update", copy, "--metadata", '{"team": "b"}')
    assert "Removed " in person.here("sessions", "clear", copy)
    assert "Ended" in person.here("sessions", "terminate", session, "--yes")
    assert "TERMINATED" in person.here("sessions", "get", session)
    assert "is terminated: start a new one" in person.here("sessions", "send", session, "x", code=1)


def test_what_is_not_answered_says_why_and_fails(person: Shell, space: str):
    session = person.here("sessions", "create", "--space", space).strip()
    fault = '```fault\n{"status": 400, "times": 9}\n```'
    assert "the message was not answered" in person.here("sessions", "send", session, fault, code=1)
    assert "'--metadata' must be a JSON object" in person.here(
        "sessions", "update", session, "--metadata", "[]", code=1
    )
    assert "not found" in person.here("sessions", "get", str(uuid.uuid4()), code=1)


def test_a_script_talks_in_a_session_of_its_own_and_goes_on_in_it(person: Shell, space: str):
    assert person.here("session", space, typed="hello\n") == "You said: hello\n"
    (session, *_) = [one["id"] for one in json.loads(person.here("sessions", "list", "--space", space, "--json"))]
    assert person.here("session", "--session", session, typed="again\n\nmore\n/quit\nnever\n") == (
        "You said: again\nYou said: more\n"
    )
    said = json.loads(person.here("sessions", "messages", session, "--json"))
    assert [one["content"] for one in said if one["role"] == "user"] == ["hello", "again", "more"]
    fault = '```fault\n{"status": 400, "times": 9}\n```\nnever\n'
    assert "the rest was not sent" in person.here("session", "--session", session, typed=fault, code=1)


def test_a_person_talks_at_a_terminal(person: Shell, space: str):
    with person.open("session", space) as terminal:
        assert f"of space '{space}'" in terminal.until(f"{space}>")
        terminal.type("hello\r")
        terminal.until("You said: hello")
        terminal.until(f"{space}>")
        terminal.type("/quit\r")
        assert "raworc session --session " in terminal.until("'.")
        assert terminal.ended() == 0
