"""Bombs: each hurts only the command that throws it, and the sandbox works on."""

from dataclasses import replace
from typing import Final

from raworc.sandbox.conformance.bench import Bench, Case, count, expect, raising, run, same
from raworc.sandbox.driver import Limits, Sandbox, SandboxDied, WorkspaceFull

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
        same((await run(sandbox, "echo > small && echo written")).text, "written", "writing after that")


async def a_full_workspace_can_only_shrink(bench: Bench) -> None:
    """However short the command was that filled it."""
    async with bench.sandbox(limits=_SMALL) as sandbox:
        filled = await run(sandbox, "for i in 1 2 3; do head -c 30M /dev/zero > f$i; done; echo done")
        same(filled.exit.reason, "disk", "how the command ends that fills it")
        for script in ("echo more > g", "head -c 1M /dev/zero >> f1", "truncate -s 1G g", "cp f1 g", "echo > /tmp/g"):
            expect((await run(sandbox, script)).exit.code != 0, f"'{script}' succeeds")
        same((await run(sandbox, "cat f1 | wc -c && ls")).exit.code, 0, "the end of reading")
        same((await run(sandbox, ": > f1 && rm -f f2 g && echo freed")).text, "freed", "making room")
        same((await run(sandbox, "echo more > g && cat g")).text, "more", "writing after that")


async def a_command_that_fills_it_is_ended_soon(bench: Bench) -> None:
    script = "import os\nb = bytes(1 << 20)\nfor i in range(20000):\n open(f'f{i}', 'wb').write(b)"
    async with bench.sandbox(limits=_SMALL) as sandbox:
        done = await run(sandbox, f'python3 -c "{script}"', timeout_s=50)
        same(done.exit.reason, "disk", "why it ends")
        expect(done.seconds < 5, f"it takes {done.seconds} s")
        size = int((await run(sandbox, "du -sm . | cut -f1")).text)
    expect(size < 1500, f"it holds {size} MiB")


async def what_ignores_its_end_does_not_fill_it_either(bench: Bench) -> None:
    script = "trap '' TERM; i=0; while :; do i=$((i+1)); head -c 1M /dev/zero > f$i; sleep 0.01; done"
    async with bench.sandbox(limits=_SMALL) as sandbox:
        with raising(SandboxDied, "a command that goes on filling the workspace"):
            await run(sandbox, script, timeout_s=50)


async def files_are_not_written_to_a_full_workspace(bench: Bench) -> None:
    workspace = replace(bench.workspace(), disk_mb=16)
    async with bench.sandbox(workspace, limits=Limits(disk_mb=16)) as sandbox:
        await run(sandbox, "head -c 15M /dev/zero > big")
        files = bench.driver.files(workspace)
        files.write("small", b"x" * 1000)
        with raising(WorkspaceFull, "writing more than there is room for"):
            files.write("new", b"x" * 2_000_000)
        same({entry.name for entry in files.list("", 0, 10).entries}, {"big", "small"}, "what is there")
        files.write("big", b"x" * 14_000_000)
        files.delete("big")
        files.write("new", b"x" * 2_000_000)


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
    a_full_workspace_can_only_shrink,
    a_command_that_fills_it_is_ended_soon,
    what_ignores_its_end_does_not_fill_it_either,
    files_are_not_written_to_a_full_workspace,
    a_workspace_filled_by_many_files_is_limited,
    open_files_are_limited,
    no_core_is_written,
    endless_output_comes_to_an_end,
    endless_output_in_the_background_is_thrown_away,
)
