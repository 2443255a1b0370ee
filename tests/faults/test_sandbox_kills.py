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


def test_killed_again_and_again_each_next_tool_has_a_new_one(client: Raworc, agent: str) -> None:
    commands = [command for number in range(4) for command in (f"sleep 8638{number}", "cat kept")]
    turn = client.responses.create(agent, "\n".join(f"```bash\n{command}\n```" for command in commands))
    for number in range(4):
        host.kill_sandbox_of(host.wait_running(f"sleep 8638{number}"))
    for _ in client.responses.events(agent, turn.id):
        pass
    ended = client.responses.get(agent, turn.id)
    results = [segment["output"] for segment in ended.segments if segment["type"] == "tool_result"]
    assert results[1::2] == ["kept"] * 4
    assert all("the sandbox stopped" in output for output in results[0::2])
