"""What one agent throws must not be felt by the operator."""

import asyncio
import os
import time
from pathlib import Path

import pytest

from raworc.sandbox.conformance import Bench
from raworc.sandbox.conformance.bench import run
from raworc.sandbox.driver import Command, Exit, Limits, Output, Sandbox

pytestmark = pytest.mark.anyio

MEBIBYTE = 1_048_576


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


async def test_a_gigabyte_of_output(bench: Bench):
    async with bench.sandbox() as sandbox:
        await run(sandbox, "echo warm")
        before, highest, delivered = resident_bytes(), 0, 0
        done: Exit | None = None
        async for event in sandbox.run(Command("head -c 1000000000 /dev/zero", timeout_s=90)):
            highest = max(highest, resident_bytes())
            if isinstance(event, Output):
                delivered += len(event.data)
            else:
                done = event
    assert done is not None
    assert (done.reason, done.code) == ("exited", 0)
    assert (delivered, done.left_out_bytes) == (MEBIBYTE, 1_000_000_000 - MEBIBYTE)
    assert done.head_bytes == MEBIBYTE // 2
    assert highest - before < 16 * MEBIBYTE


async def test_the_memory_of_all_together_is_limited(bench: Bench):
    async with bench.sandbox(limits=Limits(memory_mb=128)) as sandbox:
        done = await run(sandbox, "python3 -c 'x = b\"x\" * 400_000_000; print(len(x))'")
        if os.geteuid() == 0:
            assert done.exit.reason == "memory"
        assert done.exit.code != 0
        assert (await run(sandbox, "echo works")).text == "works"


async def test_the_event_loop_stays_quick(bench: Bench):
    """While a sandbox floods its output, forks and fills its disk at once."""
    slowest = 0.0

    async def tick() -> None:
        nonlocal slowest
        while True:
            started = time.monotonic()
            await asyncio.sleep(0.01)
            slowest = max(slowest, time.monotonic() - started - 0.01)

    limits = Limits(memory_mb=256, pids=32, disk_mb=32)
    async with bench.sandbox(limits=limits) as one, bench.sandbox(limits=limits) as two:
        ticking = asyncio.create_task(tick())
        await asyncio.gather(
            run(one, "yes & yes & yes", timeout_s=1),
            run(two, "for i in 1 2 3 4; do (while :; do echo > $RANDOM; done) & done; wait", timeout_s=1),
        )
        ticking.cancel()
    assert slowest < 0.5


async def test_a_background_process_that_fills_the_disk_ends_its_sandbox(bench: Bench):
    """Nothing runs that could be told why, so the sandbox itself goes; the workspace stays."""
    workspace = bench.workspace()
    async with bench.sandbox(workspace, limits=Limits(disk_mb=64)) as sandbox:
        fill = "i=0; while :; do i=$((i + 1)); head -c 4M /dev/zero > f$i; sleep 0.1; done"
        await run(sandbox, f"({fill}) > /dev/null 2>&1 &")
        await asyncio.wait_for(sandbox.wait_closed(), 40)
    assert bench.driver.files(workspace).list("", 0, 1).total >= 16


async def test_commands_that_end_and_are_dropped_at_the_same_moment(bench: Bench):
    """What ends, is dropped and begins together is told to the guest in one go: each must be told apart."""

    async def dropped(sandbox: Sandbox, number: int) -> None:
        async with sandbox.talk(Command(f"echo {number}; sleep 0.0{number % 5}; echo more")) as dialogue:
            assert await dialogue.receive()

    async def kept(sandbox: Sandbox, number: int) -> None:
        assert (await run(sandbox, f"sleep 0.0{number % 5}; echo {number}")).text == str(number)

    async with bench.sandbox() as sandbox:
        for _ in range(6):
            await asyncio.gather(*(work(sandbox, number) for number in range(10) for work in (dropped, kept)))


async def test_who_ran_out_of_processes_or_memory_is_told_so(bench: Bench):
    many = 'python3 -c \'import subprocess\nfor _ in range(60): subprocess.Popen(["sleep", "20"])\''
    async with bench.sandbox(limits=Limits(memory_mb=64, pids=32)) as sandbox:
        fine = await run(sandbox, "true")
        failed = await run(sandbox, many)
        hung = await run(sandbox, "sleep 9", timeout_s=0.3)
        eaten = await run(sandbox, "python3 -c 'print(len(b\"x\" * 200_000_000))'")
    assert fine.exit.met is None
    if os.geteuid() == 0:
        assert (failed.exit.reason, failed.exit.met) == ("exited", "out of processes: the limit is 32")
        assert (hung.exit.reason, hung.exit.met) == ("timeout", "out of processes: the limit is 32")
        assert (eaten.exit.reason, eaten.exit.met) == ("memory", "out of memory: the limit is 64 MB")
