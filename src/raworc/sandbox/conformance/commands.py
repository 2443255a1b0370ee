"""Running commands: output, exits, streams, stopping."""

import asyncio
from typing import Final

from raworc.sandbox.conformance.bench import Bench, Case, closing, collect, count, expect, raising, run, same, until
from raworc.sandbox.driver import Command, Output, Sandbox, SandboxError

_EVERYDAY: Final = """
import multiprocessing, pty, socket, sqlite3, subprocess, tempfile, threading
def work(number):
    return number * number
if __name__ == "__main__":
    with multiprocessing.Pool(2) as pool:
        assert pool.map(work, range(5)) == [0, 1, 4, 9, 16]
    with sqlite3.connect("data.sqlite") as database:
        database.execute("create table t (x)")
    server = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=lambda: server.accept()[0].sendall(b"hello")).start()
    assert socket.create_connection(server.getsockname()).recv(5) == b"hello"
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["ls", "-l", folder], check=True, capture_output=True)
    pty.openpty()
    print("done")
"""
_STOPPED_S: Final = 8.0
"""Five seconds of grace, and a busy machine."""


async def output_and_exit_code(bench: Bench) -> None:
    async with bench.sandbox() as sandbox:
        done = await run(sandbox, "echo hello; exit 3")
    same(done.data, b"hello\n", "the output")
    same((done.exit.code, done.exit.reason), (3, "exited"), "the exit")
    same((done.exit.left_out_bytes, done.exit.head_bytes), (0, 6), "what is said about the output")


async def standard_error_is_interleaved(bench: Bench) -> None:
    async with bench.sandbox() as sandbox:
        done = await run(sandbox, "echo one; echo two >&2; echo three; echo four >&2")
    same(done.text, "one\ntwo\nthree\nfour", "the order")


async def output_comes_while_the_command_runs(bench: Bench) -> None:
    async with bench.sandbox() as sandbox, closing(sandbox.run(Command("echo now; sleep 60"))) as events:
        first = await asyncio.wait_for(anext(events), 5)
    same(first, Output(b"now\n"), "the first event")


async def runs_in_the_workspace(bench: Bench) -> None:
    async with bench.sandbox() as sandbox:
        done = await run(sandbox, "pwd; echo $HOME; touch here; ls")
    same(done.text, "/agent\n/agent\nhere", "where it runs")


async def standard_input_is_empty(bench: Bench) -> None:
    async with bench.sandbox() as sandbox:
        done = await run(sandbox, "cat; read line; echo $?", timeout_s=10)
    same(done.text, "1", "reading from stdin")


async def environment_is_exact(bench: Bench) -> None:
    async with bench.sandbox(env={"TOKEN": "a=b c\n'd'", "EMPTY": ""}) as sandbox:
        done = await run(sandbox, "env -0 | cut -z -d= -f1 | tr '\\0' '\\n' | sort; printf %s \"$TOKEN\"")
    names = {"TOKEN", "EMPTY", "PATH", "HOME", "LANG", "TERM", "TMPDIR"}
    found = set(done.text.removesuffix("a=b c\n'd'").split())
    same(found - {"PWD", "SHLVL", "_", "OLDPWD"}, names, "the environment")
    expect(done.text.endswith("a=b c\n'd'"), "a value changes on its way")


async def a_command_has_variables_of_its_own(bench: Bench) -> None:
    async with bench.sandbox(env={"WHO": "session", "KEPT": "1"}) as sandbox:
        done = await collect(sandbox.run(Command("echo $WHO $KEPT", env={"WHO": "command"})))
        after = await run(sandbox, "echo $WHO")
    same((done.text, after.text), ("command 1", "session"), "the variable")


async def bytes_pass_unchanged(bench: Bench) -> None:
    async with bench.sandbox() as sandbox:
        done = await run(sandbox, "printf '\\377\\000\\360\\237x\\r\\033[31m'")
    same(done.data, b"\xff\x00\xf0\x9fx\r\x1b[31m", "the output")


async def no_output_is_no_output(bench: Bench) -> None:
    async with bench.sandbox() as sandbox:
        done = await run(sandbox, "true")
    same((done.data, done.exit.code), (b"", 0), "the result")


async def a_signal_shows_in_the_code(bench: Bench) -> None:
    async with bench.sandbox() as sandbox:
        done = await run(sandbox, "kill -9 $$")
    same((done.exit.code, done.exit.reason), (137, "exited"), "the exit")


async def shell_failures_have_the_shells_codes(bench: Bench) -> None:
    async with bench.sandbox() as sandbox:
        codes = [(await run(sandbox, script)).exit.code for script in ("no-such-program", "if", "/etc")]
    same(codes, [127, 2, 126], "the codes")


async def a_long_script_runs(bench: Bench) -> None:
    filler = "# " + "x" * 100 + "\n"
    async with bench.sandbox() as sandbox:
        done = await run(sandbox, filler * 4000 + "echo $((40 + 2)); ls /proc/self/fd | wc -l")
        short = await run(sandbox, "ls /proc/self/fd | wc -l")
    same(done.text.split()[0], "42", "the output of 400 KB of script")
    same(done.text.split()[1], short.text, "the number of open files")


async def too_large_an_environment_is_the_commands_failure(bench: Bench) -> None:
    async with bench.sandbox(env={"BIG": "x" * 200_000}) as sandbox:
        done = await run(sandbox, "echo hello")
    expect(done.exit.code == 126 and "too long" in done.text, f"the result is {done}")


async def nul_is_refused(bench: Bench) -> None:
    async with bench.sandbox() as sandbox:
        with raising(SandboxError, "a NUL in a script"):
            await run(sandbox, "echo a\0b")
        same((await run(sandbox, "echo fine")).text, "fine", "the next command")


async def a_time_limit_ends_a_command(bench: Bench) -> None:
    async with bench.sandbox() as sandbox:
        done = await run(sandbox, "echo before; sleep 60; echo after", timeout_s=0.5)
    same((done.text, done.exit.reason), ("before", "timeout"), "the result")
    expect(done.seconds < _STOPPED_S / 2, f"it takes {done.seconds} s")


async def ignoring_sigterm_does_not_help(bench: Bench) -> None:
    async with bench.sandbox() as sandbox:
        done = await run(sandbox, "trap '' TERM; while :; do sleep 1; done", timeout_s=0.5)
        same((await run(sandbox, "echo alive")).text, "alive", "the next command")
    same((done.exit.code, done.exit.reason), (137, "timeout"), "the exit")
    expect(done.seconds < _STOPPED_S, f"it takes {done.seconds} s")


async def a_command_may_clean_up_when_asked_to_end(bench: Bench) -> None:
    async with bench.sandbox() as sandbox:
        script = "trap 'sleep 0.3; echo cleaned; exit 7' TERM; echo on; sleep 60 & wait"
        done = await run(sandbox, script, timeout_s=0.5)
    same((done.text, done.exit.code, done.exit.reason), ("on\ncleaned", 7, "timeout"), "the result")


async def stopping_reaches_all_of_a_command(bench: Bench) -> None:
    """Children in groups of their own (as ``timeout`` makes) and stopped ones included."""
    async with bench.sandbox() as sandbox:
        script = "timeout 1000 sleep 1001 & (sleep 1002; :) | cat & sleep 1003 & kill -STOP $!; wait"
        await run(sandbox, script, timeout_s=0.5)
        left = [await count(sandbox, f"sleep 100{n}") for n in (1, 2, 3)]
    same(left, [0, 0, 0], "the number of processes left")


async def closing_the_iterator_stops_the_command(bench: Bench) -> None:
    async with bench.sandbox() as sandbox:
        async with closing(sandbox.run(Command("echo on; sleep 1004"))) as events:
            await anext(events)
        same(await count(sandbox, "sleep 1004"), 0, "the number of its processes left")


async def cancelling_the_task_stops_the_command(bench: Bench) -> None:
    async with bench.sandbox() as sandbox:
        task = asyncio.create_task(run(sandbox, "touch started; sleep 1005"))
        await until(lambda: _succeeds(sandbox, "test -e started"), "the command's start")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        expect(task.cancelled(), "the task is not cancelled")
        same(await count(sandbox, "sleep 1005"), 0, "the number of its processes left")


async def commands_run_at_once(bench: Bench) -> None:
    async with bench.sandbox() as sandbox:
        scripts = [f"mkfifo f{n}; echo {n} > f{n}" for n in range(10)] + [f"cat f{n}" for n in range(10)]
        await run(sandbox, "; ".join(f"mkfifo f{n}" for n in range(10)))
        done = await asyncio.gather(*(run(sandbox, script.split("; ")[-1], timeout_s=10) for script in scripts))
    same([each.text for each in done[10:]], [str(n) for n in range(10)], "what they told each other")


async def the_background_lives_on(bench: Bench) -> None:
    async with bench.sandbox() as sandbox:
        done = await run(sandbox, "(while :; do echo tick; date +%s%N > tick; sleep 0.05; done) & echo started")
        expect(done.seconds < _STOPPED_S / 2 and "started" in done.text, f"the command waits: {done}")
        first = (await run(sandbox, "until test -s tick; do sleep 0.01; done; cat tick")).text
        moves = f'until test "$(cat tick)" != "{first}" -a -s tick; do sleep 0.01; done'
        same((await run(sandbox, moves, timeout_s=10)).exit.reason, "exited", "the background process's tick")
        same((await run(sandbox, "sleep 0.2")).data, b"", "the next command's output")


async def orphans_are_collected(bench: Bench) -> None:
    async with bench.sandbox() as sandbox:
        await run(sandbox, "for i in $(seq 20); do (setsid true &) ; done; sleep 0.2")
        zombies = await run(sandbox, "cat /proc/[0-9]*/stat 2>/dev/null | grep -c ') Z ' || true")
    same(zombies.text, "0", "the number of zombies")


async def long_output_keeps_both_ends(bench: Bench) -> None:
    async with bench.sandbox() as sandbox:
        done = await run(sandbox, "seq -w 100000", max_output_bytes=1000)
    whole = "".join(f"{n:06}\n" for n in range(1, 100_001)).encode()
    same(done.data, whole[:500] + whole[-500:], "what is kept")
    same((done.exit.head_bytes, done.exit.left_out_bytes), (500, len(whole) - 1000), "what is said about the rest")


async def output_that_just_fits_is_whole(bench: Bench) -> None:
    async with bench.sandbox() as sandbox:
        exact = await run(sandbox, "head -c 100001 /dev/zero", max_output_bytes=100_001)
        over = await run(sandbox, "head -c 100002 /dev/zero", max_output_bytes=100_001)
        none = await run(sandbox, "echo hello", max_output_bytes=0)
    same((len(exact.data), exact.exit.left_out_bytes), (100_001, 0), "exactly as much as fits")
    same((len(over.data), over.exit.left_out_bytes), (100_001, 1), "one byte more")
    same((none.data, none.exit.left_out_bytes), (b"", 6), "no room at all")


async def a_slow_reader_gets_everything(bench: Bench) -> None:
    async with bench.sandbox() as sandbox:
        data = bytearray()
        async for event in sandbox.run(Command("seq 1 150000", max_output_bytes=4_000_000)):
            if isinstance(event, Output):
                data += event.data
                await asyncio.sleep(0.01)
    same(bytes(data), "".join(f"{n}\n" for n in range(1, 150_001)).encode(), "the output")


async def many_small_writes_arrive(bench: Bench) -> None:
    async with bench.sandbox() as sandbox:
        done = await run(sandbox, "python3 -c 'import os\nfor i in range(50000): os.write(1, b\"x\")'")
    same((len(done.data), done.exit.code), (50_000, 0), "the output")


async def a_command_meets_no_terminal(bench: Bench) -> None:
    async with bench.sandbox() as sandbox:
        done = await run(sandbox, "test -t 1 || echo none; (: < /dev/tty) 2>/dev/null || echo none")
    same(done.text, "none\nnone", "the terminal")


async def everyday_programs_work(bench: Bench) -> None:
    """Threads, processes with locks, a database, a local server, temporary files: nothing of it meets the filter."""
    async with bench.sandbox() as sandbox:
        done = await run(
            sandbox, f"cat > day.py << 'END'\n{_EVERYDAY}\nEND\npython3 day.py && bash -c 'echo $(date +%Y)'"
        )
    same(done.text.split()[:-1], ["done"], "what they say")


async def stopped_is_an_exit_too(bench: Bench) -> None:
    """Every ended command says how long it took."""
    async with bench.sandbox() as sandbox:
        done = await run(sandbox, "sleep 0.3")
    expect(250 <= done.exit.duration_ms <= 5000, f"it took {done.exit.duration_ms} ms")


async def a_command_can_be_talked_to(bench: Bench) -> None:
    async with bench.sandbox() as sandbox:
        async with sandbox.talk(Command("sleep 60 & while read -r line; do echo got $line; done")) as dialogue:
            for word in (b"one", b"two"):
                await dialogue.send(word + b"\n")
                same(await asyncio.wait_for(dialogue.receive(), 10), b"got " + word + b"\n", "the answer")
        same(await count(sandbox, "sleep 60"), 0, "what is left of it")


async def what_ends_says_so_to_who_talks(bench: Bench) -> None:
    async with bench.sandbox() as sandbox, sandbox.talk(Command("echo last; exec >&-")) as dialogue:
        same(await asyncio.wait_for(dialogue.receive(), 10), b"last\n", "what it said")
        same(await asyncio.wait_for(dialogue.receive(), 10), b"", "its end")
        await asyncio.wait_for(dialogue.send(b"x" * 1_000_000), 10)


async def what_is_not_read_waits(bench: Bench) -> None:
    async with bench.sandbox() as sandbox, sandbox.talk(Command("sleep 60")) as dialogue:
        with raising(TimeoutError, "sending what nobody reads"):
            await asyncio.wait_for(dialogue.send(b"x" * 4_000_000), 0.5)
        same((await run(sandbox, "echo fine")).text, "fine", "another command meanwhile")


async def who_talks_hears_the_beginning(bench: Bench) -> None:
    command = Command("head -c 300000 /dev/zero", max_output_bytes=100_000)
    async with bench.sandbox() as sandbox, sandbox.talk(command) as dialogue:
        heard = 0
        while data := await asyncio.wait_for(dialogue.receive(), 10):
            heard += len(data)
    same(heard, 100_000, "what was delivered")


async def _succeeds(sandbox: Sandbox, script: str) -> bool:
    return (await run(sandbox, script)).exit.code == 0


CASES: tuple[Case, ...] = (
    output_and_exit_code,
    standard_error_is_interleaved,
    output_comes_while_the_command_runs,
    runs_in_the_workspace,
    standard_input_is_empty,
    environment_is_exact,
    a_command_has_variables_of_its_own,
    bytes_pass_unchanged,
    no_output_is_no_output,
    a_signal_shows_in_the_code,
    shell_failures_have_the_shells_codes,
    a_long_script_runs,
    too_large_an_environment_is_the_commands_failure,
    nul_is_refused,
    a_time_limit_ends_a_command,
    ignoring_sigterm_does_not_help,
    a_command_may_clean_up_when_asked_to_end,
    stopping_reaches_all_of_a_command,
    closing_the_iterator_stops_the_command,
    cancelling_the_task_stops_the_command,
    commands_run_at_once,
    the_background_lives_on,
    orphans_are_collected,
    long_output_keeps_both_ends,
    output_that_just_fits_is_whole,
    a_slow_reader_gets_everything,
    many_small_writes_arrive,
    a_command_meets_no_terminal,
    everyday_programs_work,
    stopped_is_an_exit_too,
    a_command_can_be_talked_to,
    what_ends_says_so_to_who_talks,
    what_is_not_read_waits,
    who_talks_hears_the_beginning,
)
