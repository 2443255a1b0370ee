"""Whoever dies takes its sandboxes along, and whoever comes next finds nothing left."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import raworc
from raworc.ids import SessionId, new_id
from raworc.sandbox.bubblewrap import BubblewrapDriver, Places
from raworc.sandbox.conformance import Bench
from raworc.sandbox.conformance.bench import run
from raworc.sandbox.driver import SandboxDied, SandboxSpec, SandboxStartFailed, Workspace
from raworc.sandbox.ends import emptied
from raworc.sandbox.lives import Life, Lives, Process, process
from raworc.sandbox.spawner import Spawner
from waiting import until

pytestmark = pytest.mark.anyio

PROGRAM = Path(__file__).with_name("operate.py")


@dataclass
class Operating:
    """Another operator process with one open sandbox."""

    process: asyncio.subprocess.Process
    session_id: SessionId
    init: Process
    spawner: Process


@pytest.fixture
async def operating(places: Places, anyio_backend: str) -> AsyncIterator[Operating]:
    session_id = SessionId(new_id())
    started = await asyncio.create_subprocess_exec(
        *(sys.executable, str(PROGRAM), str(places.run_dir.parent), str(places.uid_base), str(session_id)),
        stdout=asyncio.subprocess.PIPE,
        env={"PATH": os.defpath},
    )
    assert started.stdout is not None
    while not (line := await started.stdout.readline()).startswith(b"{"):
        assert line, "the operator ended"
    said = json.loads(line)
    yield Operating(started, session_id, process(said["init"]), process(said["spawner"]))
    with contextlib.suppress(ProcessLookupError):
        started.kill()
    await started.wait()
    left = Lives(places.run_dir / "sandboxes").find(session_id)
    assert left is None or await emptied(left, may_kill=lambda: True, timeout_s=10)


async def test_a_killed_operator_takes_its_sandboxes_along(operating: Operating, places: Places):
    life = Lives(places.run_dir / "sandboxes").find(operating.session_id)
    assert life is not None
    killed = time.monotonic()
    operating.process.send_signal(signal.SIGKILL)
    await until(lambda: life.is_empty, limit_s=60)
    assert time.monotonic() - killed <= 1.0
    await until(lambda: operating.spawner.is_gone, limit_s=60)


async def test_a_killed_spawner_takes_its_sandboxes_along(operating: Operating):
    os.kill(operating.spawner.pid, signal.SIGKILL)
    await until(lambda: operating.init.is_gone, limit_s=1)


async def test_the_next_operator_finds_the_workspace_and_nobody_in_it(
    operating: Operating, driver: BubblewrapDriver, places: Places
):
    assert operating.session_id in await driver.list()
    operating.process.send_signal(signal.SIGKILL)
    sandbox = await driver.open(SandboxSpec(Workspace(operating.session_id, 1), epoch=2))
    assert operating.init.is_gone
    quiet = await run(sandbox, "cp tick before; sleep 0.2; cmp tick before && ls /proc | grep -c '^[0-9]'")
    assert int(quiet.text) < 8, "somebody else still runs in there"
    await sandbox.close()
    assert await driver.list() == []


async def test_a_sandbox_that_another_holds_is_not_taken(operating: Operating, driver: BubblewrapDriver):
    """As long as its holder lives, the next one waits; it does not kill."""
    opening = asyncio.create_task(driver.open(SandboxSpec(Workspace(operating.session_id, 1), epoch=2)))
    done, _ = await asyncio.wait([opening], timeout=0.5)
    assert not done
    assert not operating.init.is_gone
    operating.process.send_signal(signal.SIGKILL)
    await (await asyncio.wait_for(opening, 60)).close()


async def test_reaping_ends_a_frozen_one_too(operating: Operating, driver: BubblewrapDriver):
    os.kill(operating.init.pid, signal.SIGSTOP)
    await asyncio.wait_for(driver.reap(operating.session_id), 60)
    assert operating.init.is_gone
    assert await driver.list() == []


@pytest.mark.parametrize("victim", ["guest", "bwrap"])
async def test_a_command_hears_of_the_death_of_its_sandbox(bench: Bench, victim: str):
    workspace = bench.workspace()
    async with bench.sandbox(workspace) as sandbox:
        running = asyncio.create_task(run(sandbox, "echo kept > file; sync; touch started; sleep 60"))
        files = bench.driver.files(workspace)
        await until(lambda: any(entry.name == "started" for entry in files.list("", 0, 10).entries))
        life = life_of(bench, workspace)
        os.kill(life.init.pid if victim == "guest" else parent_of(life.init.pid), signal.SIGKILL)
        with pytest.raises(SandboxDied):
            await asyncio.wait_for(running, 60)
        await asyncio.wait_for(sandbox.wait_closed(), 60)
        assert life.is_empty
    async with bench.sandbox(workspace) as again:
        assert (await run(again, "cat file")).text == "kept"


async def test_a_dead_spawner_is_replaced(bench: Bench, spawner: Spawner):
    async with bench.sandbox() as sandbox:
        assert spawner.pid is not None
        os.kill(spawner.pid, signal.SIGKILL)
        await asyncio.wait_for(sandbox.wait_closed(), 60)
    async with bench.sandbox() as sandbox:
        assert (await run(sandbox, "echo again")).text == "again"


async def test_cancelling_an_opening_leaves_nothing(driver: BubblewrapDriver, bench: Bench):
    workspace = bench.workspace()
    for wait_s in (0.001, 0.01, 0.02, 0.03):
        opening = asyncio.create_task(driver.open(SandboxSpec(workspace, epoch=1)))
        await asyncio.wait([opening], timeout=wait_s)
        opening.cancel()
        for sandbox in await asyncio.gather(opening, return_exceptions=True):
            if not isinstance(sandbox, BaseException):
                await sandbox.close()
    async with bench.sandbox(workspace) as sandbox:
        assert (await run(sandbox, "ls /proc | grep -c '^[0-9]'")).exit.code == 0
    await until(lambda: not bwraps(), limit_s=60)


async def test_what_bwrap_says_is_passed_on(driver: BubblewrapDriver, bench: Bench, places: Places):
    """A home that the session's user may not pass through."""
    if os.geteuid() != 0:
        pytest.skip("not root: there is only one user")
    workspace = bench.workspace()
    async with bench.sandbox(workspace):
        pass
    places.sessions_dir.chmod(0o700)
    with pytest.raises(SandboxStartFailed, match="Permission denied"):
        await driver.open(SandboxSpec(workspace, epoch=1))
    assert await driver.list() == []


async def test_a_workspace_of_another_user_is_refused(driver: BubblewrapDriver, bench: Bench, places: Places):
    if os.geteuid() != 0:
        pytest.skip("not root: there is only one user")
    workspace = bench.workspace()
    async with bench.sandbox(workspace):
        pass
    other = Workspace(workspace.session_id, workspace.number + 500)
    with pytest.raises(SandboxStartFailed, match="belongs to user"):
        await driver.open(SandboxSpec(other, epoch=1))


def test_a_life_of_another_boot_is_over(tmp_path: Path):
    lives = Lives(tmp_path / "sandboxes")
    lives.create_folder()
    session_id = SessionId(new_id())
    lives.record(session_id, Life("x", process(os.getpid()), process(os.getpid()), None, "another boot"))
    found = lives.find(session_id)
    assert found is not None
    assert found.is_empty
    found.kill()
    lives.forget(session_id, "other")
    assert list(lives.sessions()) == [session_id]
    lives.forget(session_id, "x")
    assert list(lives.sessions()) == []


def test_a_torn_record_stands_in_nobodys_way(tmp_path: Path):
    session_id = SessionId(new_id())
    for torn in ("", '{"sandbox_id":', "[]", "{}"):
        (tmp_path / str(session_id)).write_text(torn)
        assert Lives(tmp_path).find(session_id) is None


def life_of(bench: Bench, workspace: Workspace) -> Life:
    assert isinstance(bench.driver, BubblewrapDriver)
    life = bench.driver._lives.find(workspace.session_id)
    assert life is not None
    return life


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def bwraps() -> list[int]:
    """Children of our spawners that still live."""
    found: list[int] = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            name, _, rest = entry.read_text().partition(")")
            is_ours = parent_of(parent_of(int(entry.parent.name))) == os.getpid()
            if name.endswith("(bwrap") and rest.split()[0] != "Z" and is_ours:
                found.append(int(entry.parent.name))
    return found


def test_the_spawner_loads_no_event_loop():
    program = "import sys; sys.path.insert(0, sys.argv[1]); import raworc.sandbox.spawner_process; print(*sys.modules)"
    command = [sys.executable, "-I", "-S", "-c", program, str(Path(raworc.__file__).parents[1])]
    loaded = subprocess.run(command, env={}, capture_output=True, text=True, check=True).stdout.split()
    assert "raworc.sandbox.spawner_process" in loaded
    assert "asyncio" not in loaded
