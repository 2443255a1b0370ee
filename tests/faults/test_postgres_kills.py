"""Postgres killed under load, in a whole installation that has to bring it back by itself."""

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from faults import host
from faults.counts import Counts
from faults.installation import raworc_up
from faults.ledger import Ledger, settle, violations
from faults.load import Load, working
from raworc.client import Raworc
from raworc.settings import Settings

SEED = 20_261_122
AGENTS = [f"patient-{number}" for number in range(3)]
_BACK_S = 10.0
_START_S = 60.0
_SETTLE_S = 60.0


@pytest.fixture(scope="module")
def installed() -> Iterator[tuple[Raworc, Path]]:
    """``raworc up`` on a home of its own: a logged-in client, and the home."""
    with TemporaryDirectory(prefix="rw-", dir="/tmp") as folder:
        home = Path(folder)
        home.chmod(0o755)
        with raworc_up(Settings(home=home)) as client:
            for agent in AGENTS:
                client.agents.create(agent)
            yield client, home


@pytest.mark.timeout(900)
def test_a_backend_killed_under_load_loses_nothing(
    installed: tuple[Raworc, Path], tmp_path: Path, counts: Counts
) -> None:
    client, home = installed
    dice = random.Random(SEED)  # noqa: S311  a seed makes the run repeatable
    with closing(Ledger(tmp_path / "acknowledged")) as ledger:
        load = Load(ledger)
        with working(load, client, AGENTS):
            for _ in range(counts.backend_kills):
                assert load.wait_for_progress(deadline_s=_BACK_S), "Postgres or its users did not come back"
                load.stop.wait(dice.uniform(0, 0.5))
                os.kill(dice.choice(backends(home)), signal.SIGKILL)
            assert load.wait_for_progress(deadline_s=_BACK_S), "Postgres or its users did not come back"
        settle(client, ledger, deadline_s=_SETTLE_S)
        assert load.refusals == []
        assert violations(client, ledger) == []
        assert ledger.promises()


def test_the_postmaster_killed_under_load_comes_back(installed: tuple[Raworc, Path], tmp_path: Path) -> None:
    client, home = installed
    with closing(Ledger(tmp_path / "acknowledged")) as ledger:
        load = Load(ledger)
        with working(load, client, AGENTS):
            assert load.wait_for_progress(deadline_s=_BACK_S)
            os.kill(postmaster(home), signal.SIGKILL)
            done = load.completed
            while load.completed < done + 2 * len(AGENTS):
                assert load.wait_for_progress(deadline_s=2 * _BACK_S), "Postgres did not come back"
        settle(client, ledger, deadline_s=_SETTLE_S)
        assert load.refusals == []
        assert violations(client, ledger) == []


def postmaster(home: Path) -> int:
    return int((home / "pg" / "data" / "postmaster.pid").read_text().splitlines()[0])


def backends(home: Path) -> list[int]:
    """Pids of the processes that serve our connections, once there are some."""
    ends = time.monotonic() + _BACK_S
    while True:
        serving = set(host.running("postgres: raworc ")) & set(host.children(postmaster(home)))
        if serving:
            return sorted(serving)
        assert time.monotonic() < ends
        time.sleep(0.02)
