"""Operators killed while sessions of spaces are paused, or end: what was said stays, what had to go goes."""

import time
from collections.abc import Callable

import psycopg

from raworc.client import Raworc
from stack import Stack

WAIT_S = 60.0


def until(there: Callable[[], bool], told: Callable[[], object]) -> None:
    ends = time.monotonic() + WAIT_S
    while not there():
        assert time.monotonic() < ends, told()


def working(client: Raworc, stack: Stack) -> str:
    """A session with a command that does not end."""
    session_id = client.sessions.create().id
    client.sessions.send(session_id, "```bash\ntouch begun; sleep 1000\n```")
    folder = stack.settings.sessions_dir / session_id
    until((folder / "begun").exists, lambda: client.sessions.get(session_id))
    return session_id


def is_frozen(stack: Stack, session_id: str) -> bool:
    """Whether an operator keeps its memory: it is called paused before."""
    with psycopg.connect(str(stack.settings.database_url)) as conn:
        row = conn.execute("SELECT paused_epoch = hold_epoch FROM sessions WHERE id = %s", [session_id]).fetchone()
    return row is not None and row[0] is True


def test_a_killed_operator_loses_frozen_memory_and_nothing_else(stack: Stack):
    client = stack.client()
    paused, ending = working(client, stack), working(client, stack)
    client.sessions.pause(paused)
    client.sessions.send(paused, "and then?")
    until(lambda: is_frozen(stack, paused), lambda: client.sessions.get(paused))
    stack.kill("operator")
    client.sessions.terminate(ending)
    stack.start("operator")
    until(lambda: client.sessions.get(paused).state == "SUSPENDED", lambda: client.sessions.get(paused))
    assert client.sessions.count_messages(paused) == 2
    client.sessions.resume(paused)
    until(lambda: client.sessions.count_messages(paused) == 4, lambda: client.sessions.messages(paused))
    unknown, last = client.sessions.messages(paused)[2:]
    assert "outcome unknown" in unknown.content
    assert last.content == "You said: and then?"
    folder = stack.settings.sessions_dir / ending
    until(lambda: not folder.exists(), lambda: client.sessions.get(ending))
    assert client.sessions.get(ending).state == "TERMINATED"
    assert [one.role for one in client.sessions.messages(ending)] == ["user", "system"]
