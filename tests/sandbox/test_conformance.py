import asyncio
import contextlib
import itertools
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
import uvloop

import raworc
from raworc.sandbox.bubblewrap import BubblewrapDriver, Places
from raworc.sandbox.conformance import CASES, Bench, Case, commands, life
from raworc.sandbox.spawner import Spawner

pytestmark = pytest.mark.anyio

PROGRAM = Path(__file__).with_name("conform.py")
DOOR_KEY = b"k" * 32
ORDINARY_UID = 60_000 + secrets.randbelow(5_000)
ORDINARY = {"user": ORDINARY_UID, "group": ORDINARY_UID, "extra_groups": ()}


def test_the_suite_has_what_it_promises():
    assert len({case.__name__ for case in CASES}) == len(CASES) >= 40


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
async def test_bubblewrap(bench: Bench, case: Case):
    await case(bench)


def test_bubblewrap_on_the_event_loop_that_operators_use(driver_parts: Bench):
    """A sample: what touches descriptors, streams and sockets in ways that loops do differently."""
    sample = (
        commands.output_and_exit_code,
        commands.closing_the_iterator_stops_the_command,
        commands.cancelling_the_task_stops_the_command,
        commands.a_slow_reader_gets_everything,
        commands.commands_run_at_once,
        life.several_open_at_once,
        life.closing_ends_a_running_command,
        life.reaping_ends_what_is_left,
        life.the_door_leads_to_the_gateway,
        life.a_gateway_that_is_away_is_said_to_be,
    )

    async def run_all() -> None:
        for case in sample:
            await case(driver_parts)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run_all())


@pytest.fixture
def driver_parts(places: Places, spawner: Spawner) -> Bench:
    """A bench for a loop of one's own."""
    return Bench(BubblewrapDriver(places, spawner, DOOR_KEY), places.gateway_socket, itertools.count(1))


@pytest.fixture
def sources() -> Iterator[Path]:
    """Our sources and what they import, where any user may read them: a checkout may lie in a private folder."""
    with tempfile.TemporaryDirectory(prefix="rw-src-") as folder:
        Path(folder).chmod(0o755)
        shutil.copytree(Path(raworc.__file__).parent, Path(folder) / "raworc")
        shutil.copytree(Path(structlog.__file__).parent, Path(folder) / "structlog")
        shutil.copy(PROGRAM, folder)
        yield Path(folder)


@pytest.mark.timeout(300)
@pytest.mark.skipif(os.geteuid() != 0, reason="not root: the test above runs as an ordinary user already")
async def test_bubblewrap_as_an_ordinary_user(home: Path, sources: Path):
    os.chown(home, ORDINARY_UID, ORDINARY_UID)
    process = await asyncio.create_subprocess_exec(
        *(python_for_anyone(), str(sources / PROGRAM.name), str(home), "0"),
        **ORDINARY,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={"PYTHONPATH": str(sources), "PATH": os.defpath},
        cwd="/",
    )
    said, _ = await process.communicate()
    lines = [line.partition("\t") for line in said.decode().splitlines() if "\t" in line]
    failed = {name: text for name, _, text in lines if text != "ok"}
    assert failed == {}, said.decode()
    assert {name for name, _, _ in lines} >= {case.__name__ for case in CASES}, said.decode()
    assert len(lines) >= len(CASES) + 100, said.decode()


def python_for_anyone() -> str:
    """A Python that the ordinary user may run: ours may lie in root's home."""
    check = "import sys; sys.exit(sys.version_info < (3, 11))"
    for candidate in (sys.executable, "/usr/bin/python3"):
        with contextlib.suppress(OSError):
            if subprocess.run([candidate, "-c", check], capture_output=True, check=False, **ORDINARY).returncode == 0:
                return candidate
    pytest.skip("no Python >= 3.11 that an ordinary user may run")
