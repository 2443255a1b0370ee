"""Postgres killed under load, in a whole installation that has to bring it back by itself."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from faults import host
from faults.counts import Counts
from faults.ledger import Ledger, settle, violations
from faults.load import Load, working
from raworc.client import Raworc
from raworc.client.errors import Unreachable
from raworc.settings import Settings, child_environ

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
        with raworc_up(home) as client:
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


@contextmanager
def raworc_up(home: Path) -> Iterator[Raworc]:
    command = [sys.executable, "-m", "raworc", "up", "--home", str(home), "--port", "0"]
    with (home / "up.out").open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env=child_environ(Settings(home=home)))
    try:
        with Raworc(address(process, home)) as client:
            login(client, process, home)
            yield client
    finally:
        process.terminate()
        process.wait(_START_S)


def address(process: subprocess.Popen[bytes], home: Path) -> str:
    """Where it serves, as it tells whoever starts a second one."""
    ends = time.monotonic() + _START_S
    while True:
        try:
            said = json.loads((home / "run" / "up.lock").read_text())["address"]
        except (FileNotFoundError, ValueError):
            said = ""
        if said.startswith("http"):
            return said
        assert process.poll() is None, (home / "up.out").read_text()
        assert time.monotonic() < ends
        time.sleep(0.05)


def login(client: Raworc, process: subprocess.Popen[bytes], home: Path) -> None:
    ends = time.monotonic() + _START_S
    while True:
        try:
            client.login("admin", "admin")
        except Unreachable:
            assert process.poll() is None, (home / "up.out").read_text()
            assert time.monotonic() < ends
            time.sleep(0.05)
        else:
            return
