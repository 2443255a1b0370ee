"""How long a sandbox takes: to open, to run a command, to close; and many at once.

usage: .venv/bin/python bench/sandboxes.py [--runs 50] [--crowd 32]

The driver alone, as an operator uses it: no server, no database. Milliseconds as the caller sees them.
"""

import argparse
import asyncio
import logging
import statistics
import tempfile
import time
from contextlib import closing
from pathlib import Path

import structlog

from raworc.ids import SessionId, new_id
from raworc.sandbox import host
from raworc.sandbox.bubblewrap import BubblewrapDriver, Places
from raworc.sandbox.driver import Command, Exit, Sandbox, SandboxSpec, Workspace
from raworc.sandbox.spawner import Spawner

UID_BASE = 1_620_000_000


async def measure(driver: BubblewrapDriver, runs: int, crowd: int) -> None:
    times: dict[str, list[float]] = {"open": [], "first command": [], "next command": [], "close": []}
    for number in range(runs):
        spec = SandboxSpec(Workspace(SessionId(new_id()), number + 1), epoch=1)
        marks = [time.perf_counter()]
        sandbox = await driver.open(spec)
        marks.append(time.perf_counter())
        for _ in range(2):
            await echo(sandbox)
            marks.append(time.perf_counter())
        await sandbox.close()
        marks.append(time.perf_counter())
        for name, before, after in zip(times, marks, marks[1:], strict=False):
            times[name].append((after - before) * 1000)
    for name, taken in times.items():
        cuts = statistics.quantiles(taken, n=100, method="inclusive")
        print(f"{name:<16} p50 {cuts[49]:7.1f} ms   p95 {cuts[94]:7.1f} ms   fastest {min(taken):7.1f} ms")
    await together(driver, crowd, runs + 1)


async def together(driver: BubblewrapDriver, crowd: int, first: int) -> None:
    specs = [SandboxSpec(Workspace(SessionId(new_id()), first + n), epoch=1) for n in range(crowd)]
    started = time.perf_counter()
    opened = await asyncio.gather(*(driver.open(spec) for spec in specs))
    await asyncio.gather(*(echo(sandbox) for sandbox in opened))
    took = time.perf_counter() - started
    await asyncio.gather(*(sandbox.close() for sandbox in opened))
    ended = time.perf_counter() - started - took
    print(f"{crowd} at once      opened and answered in {took:.2f} s, closed in {ended:.2f} s")


async def echo(sandbox: Sandbox) -> None:
    async for event in sandbox.run(Command("echo hello")):
        if isinstance(event, Exit):
            return


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--runs", type=int, default=50)
    arguments.add_argument("--crowd", type=int, default=32)
    given = arguments.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    host.require()
    with tempfile.TemporaryDirectory(prefix="rw-bench-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        home.chmod(0o755)
        (home / "run").mkdir(mode=0o700)
        places = Places(home / "run", home / "sessions", home / "run" / "gateway.sock", UID_BASE)
        with closing(Spawner.fork(places.run_dir)) as spawner:
            asyncio.run(measure(BubblewrapDriver(places, spawner, b"k" * 32), given.runs, given.crowd))


if __name__ == "__main__":
    main()
