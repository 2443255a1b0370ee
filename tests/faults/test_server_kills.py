"""The server killed while clients wait: what was stored goes on, and streams resume without gap or repeat."""

import threading
import time
from itertools import count
from typing import Any

import httpx2
import pytest

from faults.counts import Counts
from faults.ledger import EFFECTS
from raworc.client import Raworc
from raworc.client.errors import Unreachable
from raworc.client.shapes import DeltaEvent, Event, Response
from stack import Stack

_NUMBERS = count(1)
_DEADLINE_S = 15.0


@pytest.fixture(scope="module")
def client(stack: Stack) -> Raworc:
    return stack.client()


@pytest.fixture
def agent(client: Raworc) -> str:
    name = f"served-{next(_NUMBERS)}"
    client.agents.create(name)
    client.responses.ask(name, "hello")
    return name


def test_killed_during_a_blocking_request(stack: Stack, client: Raworc, agent: str) -> None:
    """The client gets no answer; the turn was stored, so it runs once and its answer can be fetched."""
    failures: list[Exception] = []

    def ask() -> None:
        try:
            client.responses.ask(agent, f"```bash\necho once >> {EFFECTS}; sleep 1; echo slow\n```")
        except Unreachable as error:
            failures.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    wait_for(lambda: any(turn.status == "processing" for turn in client.responses.list(agent)))
    stack.restart("server")
    asking.join(_DEADLINE_S)

    assert len(failures) == 1
    turn = wait_for(lambda: next(t for t in client.responses.list(agent)[-1:] if t.is_settled or None))
    assert (turn.status, turn.text) == ("completed", "slow")
    assert client.files.read(agent, EFFECTS) == b"once\n"


def test_a_stream_resumes_behind_the_last_event(stack: Stack, client: Raworc, agent: str, counts: Counts) -> None:
    tools = counts.streamed_tools
    prompt = "\n".join(f"```bash\necho {number}; sleep 0.1\n```" for number in range(tools))
    turn = client.responses.create(agent, prompt)
    seen: list[Event] = []
    kills = 0
    for event in client.responses.events(agent, turn.id):
        if isinstance(event, DeltaEvent):
            continue
        seen.append(event)
        if len(seen) in {3, 2 * tools}:
            stack.restart("server")
            kills += 1
    assert kills == 2
    again = [event for event in client.responses.events(agent, turn.id) if not isinstance(event, DeltaEvent)]
    assert [event.id for event in seen] == [event.id for event in again]
    assert seen == again
    assert client.responses.get(agent, turn.id).status == "completed"


def test_a_plain_client_resumes_with_last_event_id(stack: Stack, client: Raworc, agent: str) -> None:
    turn = client.responses.create(agent, "```bash\necho one; sleep 0.5\n```\n```bash\necho two\n```")
    path = f"/api/v0/agents/{agent}/responses/{turn.id}/events"
    headers = {"authorization": f"Bearer {client._transport.token}"}
    with httpx2.Client(base_url=stack.url, headers=headers, timeout=_DEADLINE_S, trust_env=False) as http:
        first = ids_until_cut(http, path, cut=lambda ids: len(ids) == 2 and stack.kill("server"))
        stack.start("server")
        rest = ids_until_cut(http, path, last=first[-1])
        whole = ids_until_cut(http, path)
    assert first + rest == whole
    assert len(set(whole)) == len(whole) == len(first) + len(rest)


def test_the_agents_own_stream_resumes_too(stack: Stack, client: Raworc, agent: str) -> None:
    turns = [client.responses.create(agent, f"```bash\necho {n}; sleep 0.1\n```").id for n in range(6)]
    ended: set[str] = set()
    ids: list[int] = []
    for event in client.responses.agent_events(agent, after=0):
        if isinstance(event, DeltaEvent):
            continue
        ids.append(event.id)
        if len(ids) == 12:
            stack.restart("server")
        response: Response | None = getattr(event, "response", None)
        ended |= {response.id} if response and response.is_settled else set()
        if ended >= set(turns):
            break
    assert ids == list(range(1, len(ids) + 1)), "every number once, in order"


def ids_until_cut(http: httpx2.Client, path: str, *, last: int | None = None, cut: Any = None) -> list[int]:
    """Event ids of one connection, until it ends or breaks; ``cut`` may break it."""
    ids: list[int] = []
    headers = {} if last is None else {"last-event-id": str(last)}
    try:
        with http.stream("GET", path, headers=headers) as answer:
            assert answer.status_code == 200
            for line in answer.iter_lines():
                if line.startswith("id: "):
                    ids.append(int(line[4:]))
                    if cut is not None:
                        cut(ids)
    except httpx2.TransportError:
        assert cut is not None
    return ids


def wait_for(condition: Any) -> Any:
    """Its first true value."""
    ends = time.monotonic() + _DEADLINE_S
    while True:
        try:
            if value := condition():
                return value
        except (StopIteration, Unreachable):
            pass
        assert time.monotonic() < ends, "it never happened"
        time.sleep(0.02)
