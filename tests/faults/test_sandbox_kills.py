"""A sandbox that dies under its turn: the turn says so and goes on in a new one, on the same files."""

from itertools import count

import pytest

from faults import host
from raworc.client import Raworc

_NUMBERS = count(1)


@pytest.fixture
def agent(client: Raworc) -> str:
    name = f"mortal-{next(_NUMBERS)}"
    client.agents.create(name)
    client.responses.ask(name, "```bash\necho kept > kept\n```")
    return name


def test_killed_under_a_running_tool(client: Raworc, agent: str) -> None:
    turn = client.responses.create(agent, "```bash\nsleep 86391\n```\n```bash\ncat kept\n```")
    host.kill_sandbox_of(host.wait_running("sleep 86391"))
    for _ in client.responses.events(agent, turn.id):
        pass
    ended = client.responses.get(agent, turn.id)
    assert ended.status == "completed"
    died, went_on = [segment for segment in ended.segments if segment["type"] == "tool_result"]
    assert died["is_error"]
    assert "the sandbox stopped" in died["output"]
    assert (went_on["output"], went_on["is_error"]) == ("kept", False)
    host.wait_gone("sleep 86391")


def test_killed_between_two_turns(client: Raworc, agent: str) -> None:
    client.responses.ask(agent, "```bash\nsetsid sleep 86390 > /dev/null 2>&1 &\n```")
    host.kill_sandbox_of(host.wait_running("sleep 86390"))
    host.wait_gone("sleep 86390")
    assert client.responses.ask(agent, "```bash\ncat kept\n```").text == "kept"
    assert client.files.read(agent, "kept") == b"kept\n"


def test_killed_again_and_again(client: Raworc, agent: str) -> None:
    for number in range(3):
        turn = client.responses.create(agent, f"```bash\nsleep 8638{number}\n```")
        host.kill_sandbox_of(host.wait_running(f"sleep 8638{number}"))
        for _ in client.responses.events(agent, turn.id):
            pass
        assert client.responses.get(agent, turn.id).status == "completed"
    assert client.responses.ask(agent, "```bash\ncat kept\n```").text == "kept"
