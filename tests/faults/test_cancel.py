"""Cancel, in every phase that a turn can be in."""

import time
from itertools import count

import pytest

from faults import host
from raworc.client import Raworc
from raworc.client.shapes import Response

_NUMBERS = count(1)


@pytest.fixture
def agent(client: Raworc) -> str:
    name = f"cancel-{next(_NUMBERS)}"
    client.agents.create(name)
    client.responses.ask(name, "hello")
    return name


def test_before_the_model_answered(client: Raworc, agent: str) -> None:
    turn = client.responses.create(agent, '```fault\n{"delay_ms": 30000}\n```\nhello')
    wait_status(client, agent, turn, "processing")
    started = time.monotonic()
    assert client.agents.cancel(agent).cancelled
    settled = ended(client, agent, turn)
    assert settled.status == "cancelled"
    assert time.monotonic() - started < 3
    assert [segment["type"] for segment in settled.segments] == ["cancelled"]
    assert_works(client, agent)


def test_in_a_tool(client: Raworc, agent: str) -> None:
    turn = client.responses.create(agent, "```bash\nsleep 86398 & sleep 86398\n```")
    host.wait_running("sleep 86398")
    assert client.agents.cancel(agent).cancelled
    settled = ended(client, agent, turn)
    assert settled.status == "cancelled"
    assert settled.segments[-1]["type"] == "cancelled"
    host.wait_gone("sleep 86398")
    assert_works(client, agent)


def test_with_another_behind_it_the_queue_goes_on(client: Raworc, agent: str) -> None:
    first = client.responses.create(agent, "```bash\nsleep 86397\n```")
    second = client.responses.create(agent, "second")
    host.wait_running("sleep 86397")
    assert client.responses.get(agent, second.id).status == "pending"
    assert client.agents.cancel(agent).cancelled
    assert ended(client, agent, first).status == "cancelled"
    assert ended(client, agent, second).text == "You said: second"


def test_while_it_waits_for_the_first_sandbox(client: Raworc) -> None:
    name = f"cancel-{next(_NUMBERS)}"
    client.agents.create(name, setup="sleep 1.5")
    kept = client.responses.create(name, "kept")
    dropped = client.responses.create(name, "dropped")
    assert client.agents.cancel(name).cancelled
    assert ended(client, name, dropped).status == "cancelled"
    assert ended(client, name, kept).text == "You said: kept"


def test_after_the_end(client: Raworc, agent: str) -> None:
    turn = client.responses.ask(agent, "done")
    assert client.agents.cancel(agent).cancelled is False
    assert client.responses.get(agent, turn.id) == turn


def test_twice_is_harmless(client: Raworc, agent: str) -> None:
    turn = client.responses.create(agent, "```bash\nsleep 86396\n```")
    host.wait_running("sleep 86396")
    assert client.agents.cancel(agent).cancelled
    client.agents.cancel(agent)
    assert ended(client, agent, turn).status == "cancelled"
    assert_works(client, agent)


def assert_works(client: Raworc, agent: str) -> None:
    assert client.responses.ask(agent, "```bash\necho fine\n```").text == "fine"
    assert client.agents.get(agent).state == "idle"


def ended(client: Raworc, agent: str, turn: Response) -> Response:
    """The response once its event stream has ended."""
    for _ in client.responses.events(agent, turn.id):
        pass
    return client.responses.get(agent, turn.id)


def wait_status(client: Raworc, agent: str, turn: Response, status: str) -> None:
    ends = time.monotonic() + 10
    while (now := client.responses.get(agent, turn.id)).status != status:
        assert time.monotonic() < ends, now
        time.sleep(0.02)
