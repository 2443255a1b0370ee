"""Operators killed without warning while agents work: nothing acknowledged is lost, nothing is done twice."""

import random
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from faults.counts import Counts
from faults.ledger import Ledger, settle, unknown_outcomes, violations
from faults.load import Load, working
from raworc.client import Raworc
from stack import Stack

SEED = 20_261_122
AGENTS = [f"worker-{number}" for number in range(4)]
OPERATORS = ("operator", "operator-2")
UNFENCED = str(Path(__file__).with_name("unfenced.py"))
_RECOVERY_S = 5.0
_SETTLE_S = 60.0


@pytest.mark.timeout(1800)
def test_kills_at_random_points_lose_nothing_and_double_nothing(stack: Stack, tmp_path: Path, counts: Counts) -> None:
    stack.start("operator-2")
    client = stack.client()
    with created(client, AGENTS), closing(Ledger(tmp_path / "acknowledged")) as ledger:
        load = Load(ledger, linger_s=0.3)
        with working(load, client, AGENTS):
            recoveries = kill_at_random(stack, load, kills=counts.operator_kills)
        settle(client, ledger, deadline_s=_SETTLE_S)
        assert violations(client, ledger) == []
        assert load.refusals == []
        assert load.refused == 0, "the server lives: every turn is acknowledged"
        assert load.completed == len(ledger.promises())
        assert max(recoveries) < _RECOVERY_S, recoveries
        assert unknown_outcomes(client, AGENTS) > 0, "no kill hit a running tool: the test has no teeth"


@pytest.mark.timeout(300)
def test_the_judge_notices_when_the_promises_are_broken(stack: Stack, tmp_path: Path) -> None:
    client = stack.client()
    agents = [f"broken-{number}" for number in range(4)]
    for name in OPERATORS:
        if stack.runs(name):
            stack.kill(name)
    stack.start(*OPERATORS, program=[UNFENCED])
    with created(client, agents), closing(Ledger(tmp_path / "acknowledged")) as ledger:
        load = Load(ledger, linger_s=0.3)
        with working(load, client, agents):
            kill_at_random(stack, load, kills=5, program=[UNFENCED])
        settle(client, ledger, deadline_s=_SETTLE_S)
        found = violations(client, ledger)
    assert any("was done 2 times" in line for line in found), found


def test_a_second_operator_takes_over(stack: Stack, tmp_path: Path) -> None:
    client = stack.client()
    for name in OPERATORS:
        if stack.runs(name):
            stack.kill(name)
    stack.start("operator")
    agents = [f"heir-{number}" for number in range(2)]
    with created(client, agents), closing(Ledger(tmp_path / "acknowledged")) as ledger:
        load = Load(ledger)
        with working(load, client, agents):
            assert load.wait_for_progress(deadline_s=_RECOVERY_S)
            stack.start("operator-2")
            stack.kill("operator")
            killed = time.monotonic()
            done = load.completed
            while load.completed < done + len(agents):
                assert load.wait_for_progress(deadline_s=_RECOVERY_S), "nobody took over"
        assert time.monotonic() - killed < _RECOVERY_S
        settle(client, ledger, deadline_s=_SETTLE_S)
        assert violations(client, ledger) == []


def kill_at_random(stack: Stack, load: Load, *, kills: int, program: Sequence[str] | None = None) -> list[float]:
    """Kill one of the two operators at a random moment and start it again; seconds until work was seen to go on."""
    dice = random.Random(SEED)  # noqa: S311  a seed makes the run repeatable
    recoveries: list[float] = []
    for _ in range(kills):
        load.stop.wait(dice.uniform(0, 0.6))
        victim = dice.choice(OPERATORS)
        stack.kill(victim)
        killed = time.monotonic()
        assert load.wait_for_progress(deadline_s=2 * _RECOVERY_S), f"no progress after '{victim}' was killed"
        recoveries.append(time.monotonic() - killed)
        stack.start(victim, program=program)
    return recoveries


@contextmanager
def created(client: Raworc, agents: Sequence[str]) -> Iterator[None]:
    """Agents for one test, with small limits so that many fit."""
    for agent in agents:
        client.agents.create(agent)
    yield
    for agent in agents:
        client.agents.delete(agent)
