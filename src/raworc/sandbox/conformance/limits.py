"""Bombs: each hurts only the command that throws it, and the sandbox works on."""

from typing import Final

from raworc.sandbox.conformance.bench import Bench, Case, count, expect, run, same
from raworc.sandbox.driver import Limits, Sandbox

_SMALL: Final = Limits(memory_mb=256, cpus=1.0, pids=64, disk_mb=64)


async def a_fork_bomb_stays_inside(bench: Bench) -> None:
    async with bench.sandbox(limits=_SMALL) as bomb, bench.sandbox(limits=_SMALL) as other:
        done = await run(bomb, "f() { f | f & }; f; sleep 60", timeout_s=1)
        same((await run(other, "(echo fine)")).text, "fine", "the neighbour's command")
        expect(done.exit.reason in ("timeout", "exited"), f"the bomb ends by {done.exit}")
        await _works_on(bomb)


async def a_bomb_in_the_background_can_be_stopped(bench: Bench) -> None:
    """When no process is left to be had, the shell's own ``kill`` is."""
    async with bench.sandbox(limits=_SMALL) as sandbox:
        script = "import os\nwhile True:\n try: os.fork()\n except OSError: pass"
        await run(sandbox, f"setsid python3 -c '{script}' > /dev/null 2>&1 & sleep 1")
        await run(sandbox, "kill -9 -1", timeout_s=10)
        await _works_on(sandbox)


async def processes_and_threads_are_limited(bench: Bench) -> None:
    script = """
import threading, time
started = 0
try:
    for _ in range(1000):
        threading.Thread(target=time.sleep, args=(2,), daemon=True).start()
        started += 1
except RuntimeError:
    pass
print(started)
"""
    async with bench.sandbox(limits=_SMALL) as sandbox:
        done = await run(sandbox, f"python3 -c '{script}'")
    expect(10 <= int(done.text.splitlines()[-1]) <= _SMALL.pids, f"{done.text} threads were started")


async def memory_is_limited(bench: Bench) -> None:
    async with bench.sandbox(limits=_SMALL) as sandbox:
        done = await run(sandbox, "python3 -c 'x = bytearray(2_000_000_000); print(len(x))'")
        expect(done.exit.code != 0, f"two gigabytes are had: {done}")
        expect(done.exit.reason in ("memory", "exited"), f"it ends by {done.exit.reason}")
        await _works_on(sandbox)


async def many_small_processes_meet_the_memory_limit_too(bench: Bench) -> None:
    script = "for i in $(seq 40); do python3 -c \"x = b'x' * 40_000_000; import time; time.sleep(20)\" & done; wait"
    async with bench.sandbox(limits=_SMALL) as sandbox:
        await run(sandbox, script, timeout_s=2)
        await _works_on(sandbox)


async def temporary_files_are_limited(bench: Bench) -> None:
    async with bench.sandbox(limits=_SMALL) as sandbox:
        tmp = await run(sandbox, "head -c 500M /dev/zero > /tmp/x; stat -c %s /tmp/x")
        shm = await run(
            sandbox, "rm -f /tmp/x; head -c 500M /dev/zero > /dev/shm/x; stat -c %s /dev/shm/x; rm /dev/shm/x"
        )
        await _works_on(sandbox)
    held = [int(done.text.splitlines()[-1]) for done in (tmp, shm)]
    expect(sum(held) <= _SMALL.memory_mb * 1_048_576 // 2, f"the folders in memory hold {held} bytes")


async def one_file_is_limited(bench: Bench) -> None:
    async with bench.sandbox(limits=_SMALL) as sandbox:
        done = await run(sandbox, "head -c 200M /dev/zero > big")
        size = await run(sandbox, "stat -c %s big")
    expect(done.exit.code != 0 and done.exit.reason == "disk", f"it ends by {done.exit}")
    expect(int(size.text) <= _SMALL.disk_mb * 1_048_576, f"the file has {size.text} bytes")


async def the_workspace_is_limited(bench: Bench) -> None:
    async with bench.sandbox(limits=_SMALL) as sandbox:
        done = await run(
            sandbox, "for i in $(seq 100000); do head -c 4M /dev/zero > f$i; sleep 0.02; done", timeout_s=50
        )
        same(done.exit.reason, "disk", "why it ends")
        freed = await run(sandbox, "rm -f f*; echo freed")
        same(freed.text, "freed", "making room afterwards")
        same((await run(sandbox, "sleep 1.5; echo > small && echo written")).text, "written", "writing after that")


async def a_workspace_filled_by_many_files_is_limited(bench: Bench) -> None:
    small = Limits(memory_mb=256, pids=64, disk_mb=1)
    script = "import os\nfor i in range(10**7):\n os.close(os.open(f'f{i}', os.O_CREAT))"
    async with bench.sandbox(limits=small) as sandbox:
        done = await run(sandbox, f'python3 -c "{script}"', timeout_s=50)
        same(done.exit.reason, "disk", "why it ends")


async def open_files_are_limited(bench: Bench) -> None:
    script = "import os\nn = 0\ntry:\n while True: n = os.open('/dev/null', 0)\nexcept OSError: print(n)"
    async with bench.sandbox() as sandbox:
        done = await run(sandbox, f'python3 -c "{script}"')
        expect(int(done.text) <= 65_536, f"{done.text} files were opened")
        await _works_on(sandbox)


async def no_core_is_written(bench: Bench) -> None:
    async with bench.sandbox() as sandbox:
        done = await run(sandbox, "bash -c 'kill -SEGV $$'; ulimit -c; ls")
    expect(done.text.endswith("0"), f"a core may be written: {done.text}")


async def endless_output_comes_to_an_end(bench: Bench) -> None:
    async with bench.sandbox() as sandbox:
        done = await run(sandbox, "yes", timeout_s=1, max_output_bytes=10_000)
        same((len(done.data), done.exit.reason), (10_000, "timeout"), "the result")
        await _works_on(sandbox)


async def endless_output_in_the_background_is_thrown_away(bench: Bench) -> None:
    async with bench.sandbox() as sandbox:
        await run(sandbox, "yes &")
        same((await run(sandbox, "echo fine")).data, b"fine\n", "the next command's output")
        same(await count(sandbox, "yes"), 1, "the number of them running")


async def _works_on(sandbox: Sandbox) -> None:
    """Perhaps after the shell has tried again to fork, while the dead are still being collected."""
    done = await run(sandbox, "echo $(echo works)", timeout_s=30)
    same((done.text.splitlines()[-1:], done.exit.code), (["works"], 0), "the sandbox afterwards")


CASES: tuple[Case, ...] = (
    a_fork_bomb_stays_inside,
    a_bomb_in_the_background_can_be_stopped,
    processes_and_threads_are_limited,
    memory_is_limited,
    many_small_processes_meet_the_memory_limit_too,
    temporary_files_are_limited,
    one_file_is_limited,
    the_workspace_is_limited,
    a_workspace_filled_by_many_files_is_limited,
    open_files_are_limited,
    no_core_is_written,
    endless_output_comes_to_an_end,
    endless_output_in_the_background_is_thrown_away,
)
