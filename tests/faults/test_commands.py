"""Commands that misbehave, each through the whole product: the turn says what happened, and neighbours still answer."""

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

import pytest

from faults import host
from raworc.client import Raworc
from raworc.client.shapes import Json, Response

_NUMBERS = count(1)
_KEPT = 1_048_576
_SLACK_S = 10.0


@dataclass(frozen=True)
class Case:
    """A command, what its result must say, and whether it counts as an error. ``limits`` are the agent's."""

    name: str
    command: str
    says: tuple[str, ...]
    is_error: bool = True
    timeout_s: float = 20
    limits: Json | None = None


CASES = [
    Case("ignores SIGTERM", "trap '' TERM; echo on; while :; do sleep 0.2; done", ("on", "1 s"), timeout_s=1),
    Case("forks without end", ":(){ :|:& };:; sleep 60", ("2 s",), timeout_s=2, limits={"pids": 64}),
    Case("fills memory", "python3 -c 'bytearray(1 << 32)'", ("memory",), limits={"memory_mb": 128}),
    Case("grows slowly", "python3 -c '[bytearray(1 << 20) for _ in range(4096)]'", ("memory",),
         limits={"memory_mb": 128}),
    Case("fills the disk", "head -c 256M /dev/zero > big", (), limits={"disk_mb": 32}),
    Case("fills the disk by many files", "for n in $(seq 64); do head -c 8M /dev/zero > big$n || exit 1; done", (),
         limits={"disk_mb": 64}),
    Case("reads stdin", "cat; echo end of input", ("end of input",), is_error=False),
    Case("asks for a password", "read -r -p 'password: ' word; echo \"got '$word' and $?\"", ("got ''",),
         is_error=False),
    Case("exits while its children hold the pipe", "sleep 300 & echo done", ("done",), is_error=False),
]  # fmt: skip


@pytest.fixture
def neighbour(client: Raworc) -> str:
    """An agent with work of its own to answer."""
    name = f"neighbour-{next(_NUMBERS)}"
    client.agents.create(name)
    client.responses.ask(name, "```bash\ntrue\n```")
    return name


@pytest.fixture
def victim(client: Raworc) -> Iterator[str]:
    name = f"victim-{next(_NUMBERS)}"
    yield name
    client.agents.delete(name)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_command_gone_wrong_is_told_and_contained(client: Raworc, neighbour: str, victim: str, case: Case) -> None:
    client.agents.create(victim, **({"limits": case.limits} if case.limits else {}))
    turn: list[Response] = []
    started = time.monotonic()
    asking = threading.Thread(target=lambda: turn.append(run(client, victim, case.command, case.timeout_s)))
    asking.start()

    answer = client.responses.ask(neighbour, "```bash\necho still here\n```")
    assert answer.text == "still here"
    assert client.agents.get(victim).name == victim

    asking.join(case.timeout_s + 30)
    assert time.monotonic() - started < case.timeout_s + _SLACK_S
    result = tool_result(turn[0])
    assert result["is_error"] is case.is_error, result
    assert all(word in result["output"].lower() for word in case.says), result
    assert result["output"], "an error says what happened"
    after = client.responses.ask(victim, "```bash\necho fine\n```")
    assert after.text == "fine"


def test_a_gigabyte_of_output_is_cut_in_the_middle(client: Raworc, neighbour: str, victim: str) -> None:
    client.agents.create(victim)
    turn = run(client, victim, "echo first; head -c 1073741824 /dev/zero | tr '\\0' x; echo; echo last", 60)
    result = tool_result(turn)
    assert result["truncated"] is True
    assert len(result["output"]) < _KEPT + 200
    assert result["output"].startswith("first\nxxx")
    assert result["output"].endswith("xxx\nlast")
    assert "characters left out" in result["output"]
    assert client.responses.ask(neighbour, "hello").text == "You said: hello"


def test_a_stubborn_command_dies_with_its_turn(client: Raworc, victim: str) -> None:
    client.agents.create(victim)
    turn = client.responses.create(victim, "```bash\ntrap '' TERM; while :; do sleep 86399; done\n```")
    host.wait_running("sleep 86399")
    assert client.agents.cancel(victim).cancelled
    events = list(client.responses.events(victim, turn.id))
    assert client.responses.get(victim, turn.id).status == "cancelled", events[-1]
    host.wait_gone("sleep 86399")
    assert client.responses.ask(victim, "```bash\necho fine\n```").text == "fine"


def run(client: Raworc, agent: str, command: str, timeout_s: float) -> Response:
    """One turn with this command."""
    call = {"name": "bash", "input": {"command": command, "timeout_s": timeout_s}}
    return client.responses.ask(agent, f"```tool\n{json.dumps(call)}\n```")


def tool_result(turn: Response) -> Json:
    """The turn's only tool result; the turn itself is complete."""
    assert turn.status == "completed", turn.segments
    results = [segment for segment in turn.segments if segment["type"] == "tool_result"]
    assert len(results) == 1
    return results[0]
