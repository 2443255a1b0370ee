"""An operator killed once at each labelled point of a turn and of a remix's copy: the next goes on as promised."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import pytest

from faults.counts import Counts
from faults.mortal import POINTS
from raworc.client import Raworc
from raworc.client.shapes import Response
from raworc.domain.turns import UNKNOWN_OUTCOME
from stack import Stack

MORTAL = str(Path(__file__).with_name("mortal.py"))
SMALL_LIMIT, LARGE_LIMIT = "300", "100000"
ALWAYS = {
    "mid-stream",
    "before the tool's result is stored",
    "the middle of a turn is compacted",
    "amid a remix's files",
}
_NUMBERS = count(1)
_DEADLINE_S = 20.0


@pytest.mark.timeout(120)
@pytest.mark.parametrize("point", POINTS)
def test_killed_at(stack: Stack, counts: Counts, point: str) -> None:
    if point not in ALWAYS and not counts.every_point:
        pytest.skip("only with --faults: the same point is hit inside one process by tests/operator")
    client, agent = stack.client(), f"mortal-{next(_NUMBERS)}"
    client.agents.create(agent)
    wait_state(client, agent, "idle")
    in_compaction, in_the_middle = "a compaction" in point, "the middle" in point
    if in_compaction:
        client.responses.ask(agent, "remember the boat")
    if "a remix's files" in point:
        remixing(stack, client, agent, point)
        return
    limit = SMALL_LIMIT if in_the_middle else LARGE_LIMIT
    stack.kill("operator")
    start_mortal(stack, point, limit)
    if in_compaction:
        compacting(stack, client, agent)
        return
    turn_id = client.responses.create(agent, work(5 if in_the_middle else 1)).id
    died(stack)
    start_mortal(stack, "none", limit)
    turn = settled(client, agent, turn_id)
    ran = client.responses.ask(agent, "```bash\ncat ran 2>/dev/null || echo none\n```").text
    assert turn.status == "completed", turn.segments
    if in_the_middle:
        assert ran == "01234"
        assert "context_compacted" in kinds(turn)
    elif point == "the tool is marked as started":
        assert (turn.text, ran) == (UNKNOWN_OUTCOME, "none")
    elif point == "before the tool's result is stored":
        assert (turn.text, ran) == (UNKNOWN_OUTCOME, "0")
    else:
        assert ran == "0"
        assert turn.text == "0" * 300
    assert [kind for kind in kinds(turn) if kind.startswith("tool")] == ["tool_call", "tool_result"] * (
        5 if in_the_middle else 1
    )
    assert client.agents.get(agent).state == "idle"


def compacting(stack: Stack, client: Raworc, agent: str) -> None:
    """The request that waits does not notice that its operator died."""
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(client.context.compact, agent)
        died(stack)
        start_mortal(stack, "none", LARGE_LIMIT)
        assert asking.result(_DEADLINE_S).total_messages_considered == 1
    markers = [turn for turn in client.responses.list(agent) if "context_compacted" in kinds(turn)]
    assert [turn.status for turn in markers] == ["completed"]
    assert client.responses.ask(agent, "next").text == "You said: next"


def remixing(stack: Stack, client: Raworc, agent: str, point: str) -> None:
    """The remix has all files, and nothing of a copy that was begun is left."""
    client.responses.ask(agent, "```bash\nfor n in 1 2 3 4; do echo $n > file$n; done\n```")
    stack.kill("operator")
    start_mortal(stack, point, LARGE_LIMIT)
    client.agents.remix(agent, remix := f"{agent}-remix")
    died(stack)
    start_mortal(stack, "none", LARGE_LIMIT)
    wait_state(client, remix, "idle")
    for name in (agent, remix):
        assert client.responses.ask(name, "```bash\ncat file*\n```").text == "1\n2\n3\n4"
    client.files.write(remix, "file1", b"changed")
    assert client.files.read(agent, "file1") == b"1\n"
    assert list(stack.settings.sessions_dir.glob(".copy-*")) == []


def start_mortal(stack: Stack, point: str, soft_limit: str) -> None:
    stack.start("operator", program=[MORTAL, point, soft_limit])


def died(stack: Stack) -> None:
    """Return when the operator has killed itself."""
    until(lambda: not stack.runs("operator"), "the operator never reached the point")
    stack.kill("operator")


def settled(client: Raworc, agent: str, turn_id: str) -> Response:
    until(lambda: client.responses.get(agent, turn_id).is_settled, "nobody went on with the turn")
    return client.responses.get(agent, turn_id)


def wait_state(client: Raworc, agent: str, state: str) -> None:
    until(lambda: client.agents.get(agent).state == state, f"never {state}")


def work(tools: int) -> str:
    """A prompt that leaves a mark for each time that one of its tools runs."""
    commands = (f"printf {number} >> ran; printf {str(number) * 300}" for number in range(tools))
    return "\n".join(f"```bash\n{command}\n```" for command in commands)


def kinds(turn: Response) -> list[str]:
    return [str(segment["type"]) for segment in turn.segments]


def until(reached: Callable[[], bool], otherwise: str) -> None:
    ends = time.monotonic() + _DEADLINE_S
    while not reached():
        assert time.monotonic() < ends, otherwise
        time.sleep(0.02)
