"""Sandboxes as such: opening, isolation from each other, signals, the door, ending."""

import asyncio
import contextlib

from raworc.sandbox.conformance.bench import Bench, Case, expect, raising, run, same, until
from raworc.sandbox.driver import PolicyNotSupported, Sandbox, SandboxDied, SandboxError, SandboxSpec


async def every_life_has_an_id_of_its_own(bench: Bench) -> None:
    workspace = bench.workspace()
    ids: set[str] = set()
    for _ in range(3):
        async with bench.sandbox(workspace) as sandbox:
            ids.add(sandbox.sandbox_id)
    same(len(ids), 3, "the number of ids")


async def what_is_written_to_the_workspace_stays(bench: Bench) -> None:
    workspace = bench.workspace()
    async with bench.sandbox(workspace) as sandbox:
        await run(sandbox, "echo kept > file; echo gone > /tmp/file; sleep 1006 &")
    async with bench.sandbox(workspace) as sandbox:
        done = await run(sandbox, "cat file; ls /tmp; cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -c '[s]leep 1006'")
    same(done.text, "kept\n0", "what is left after a new start")


async def an_agent_cannot_lock_itself_out(bench: Bench) -> None:
    workspace = bench.workspace()
    async with bench.sandbox(workspace) as sandbox:
        await run(sandbox, "echo kept > file; chmod 000 /agent")
    async with bench.sandbox(workspace) as sandbox:
        same((await run(sandbox, "cat file")).text, "kept", "what is left after a new start")


async def several_open_at_once(bench: Bench) -> None:
    async with contextlib.AsyncExitStack() as stack:
        opened = await asyncio.gather(*(stack.enter_async_context(bench.sandbox()) for _ in range(8)))
        done = await asyncio.gather(*(run(sandbox, "echo $((6 * 7))") for sandbox in opened))
    same({each.text for each in done}, {"42"}, "the answers")


async def closing_is_final_and_may_be_repeated(bench: Bench) -> None:
    async with bench.sandbox() as sandbox:
        await sandbox.close()
        await sandbox.close()
        await asyncio.wait_for(sandbox.wait_closed(), 5)
        with raising(SandboxDied, "a command after the end"):
            await run(sandbox, "echo hello")


async def closing_ends_a_running_command(bench: Bench) -> None:
    async with bench.sandbox() as sandbox:
        running = asyncio.create_task(run(sandbox, "touch started; sleep 60"))
        await until(lambda: _succeeds(sandbox, "test -e started"), "the command's start")
        await sandbox.close()
        with raising(SandboxDied, "the command"):
            await asyncio.wait_for(running, 5)


async def neighbours_do_not_meet(bench: Bench) -> None:
    server = "import socket, time; s = socket.socket(1); s.bind('\\0meeting'); s.listen(); time.sleep(60)"
    client = "import socket; socket.socket(1).connect('\\0meeting')"
    async with bench.sandbox(env={"SECRET": "canary"}) as one, bench.sandbox() as other:
        await run(one, f'echo canary > /tmp/meeting; echo canary > secret; python3 -c "{server}" & sleep 1007 &')
        await run(one, "python3 -m http.server 8000 --bind 127.0.0.1 > /dev/null 2>&1 &")
        found = await run(
            other, "cat /tmp/meeting /agent/secret; cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline | tr '\\0' ' '"
        )
        abstract = await run(other, f'python3 -c "{client}"')
        port = await run(other, "(: < /dev/tcp/127.0.0.1/8000)")
    expect("canary" not in found.text and "sleep 1007" not in found.text, "one sees the other's files or processes")
    expect(abstract.exit.code != 0, "an abstract socket is shared")
    expect(port.exit.code != 0, "a port is shared")


async def killing_everything_inside_kills_only_commands(bench: Bench) -> None:
    async with bench.sandbox() as sandbox, bench.sandbox() as other:
        for signal in ("KILL", "INT", "TERM", "HUP", "STOP", "CHLD", "USR1"):
            await run(sandbox, f"kill -{signal} -1; kill -{signal} 1; true", timeout_s=5)
            same((await run(sandbox, "echo alive")).text, "alive", f"the sandbox after kill -{signal}")
        same((await run(other, "echo alive")).text, "alive", "the neighbour")


async def the_list_names_what_is_open(bench: Bench) -> None:
    workspace = bench.workspace()
    async with bench.sandbox(workspace):
        expect(workspace.session_id in await bench.driver.list(), "an open sandbox is not listed")
    expect(workspace.session_id not in await bench.driver.list(), "a closed sandbox is listed")


async def reaping_ends_what_is_left(bench: Bench) -> None:
    workspace = bench.workspace()
    await bench.driver.reap(workspace.session_id)
    async with bench.sandbox(workspace) as sandbox:
        await run(sandbox, "setsid sleep 1008 &")
        await bench.driver.reap(workspace.session_id)
        await asyncio.wait_for(sandbox.wait_closed(), 5)
        with raising(SandboxDied, "a command after reaping"):
            await run(sandbox, "echo hello")
    expect(workspace.session_id not in await bench.driver.list(), "a reaped sandbox is listed")


async def a_second_sandbox_never_shares_the_workspace(bench: Bench) -> None:
    """The former of the same holder ends before the new one begins."""
    workspace = bench.workspace()
    async with bench.sandbox(workspace) as former:
        await run(former, "date > ticks; while :; do date +%N > ticks; done &")
        async with bench.sandbox(workspace) as sandbox:
            await asyncio.wait_for(former.wait_closed(), 5)
            ticks = await run(sandbox, "cat ticks > a; sleep 0.2; cmp ticks a && echo still")
    same(ticks.text, "still", "what the former wrote")


async def an_unknown_network_policy_is_refused(bench: Bench) -> None:
    for policy in ("open", "allow", ""):
        with raising(PolicyNotSupported, f"the policy '{policy}'"):
            await bench.driver.open(SandboxSpec(bench.workspace(), epoch=1, network=policy))


async def there_is_no_network_but_the_door(bench: Bench) -> None:
    tries = ("1.1.1.1/443", "8.8.8.8/53", "169.254.169.254/80", "10.0.0.1/22", "172.17.0.1/80", "127.0.0.1/5432")
    async with bench.sandbox() as sandbox:
        for address in tries:
            done = await run(sandbox, f"timeout 5 bash -c ': < /dev/tcp/{address}'")
            expect(done.exit.code not in (0, 124), f"{address} can be reached: {done}")
        done = await run(sandbox, "python3 -c 'import socket; socket.getaddrinfo(\"example.com\", 80)'")
        expect(done.exit.code != 0, "names are resolved")


async def the_door_leads_to_the_gateway(bench: Bench) -> None:
    heard: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
        await writer.drain()
        writer.close()

    workspace = bench.workspace()
    async with bench.gateway_turn:
        bench.gateway.unlink(missing_ok=True)
        async with await asyncio.start_unix_server(answer, str(bench.gateway)), bench.sandbox(workspace) as sandbox:
            done = await run(sandbox, _fetch("/v1/models"))
        bench.gateway.unlink(missing_ok=True)
    same(done.text, "200 hello", "the answer")
    line, _, rest = heard[0].partition(b"\n")
    expect(line.startswith(f"RAWORC-DOOR 1 {workspace.session_id} 1 ".encode()), f"the door says {line!r}")
    expect(rest.startswith(b"GET /v1/models HTTP/1.1\r\n"), f"the request arrives as {rest[:50]!r}")


async def a_gateway_that_is_away_is_said_to_be(bench: Bench) -> None:
    async with bench.gateway_turn, bench.sandbox() as sandbox:
        bench.gateway.unlink(missing_ok=True)
        done = await run(sandbox, _fetch("/v1/models"))
    expect(done.text.startswith("503 "), f"the answer is {done.text}")


async def freezing_stops_and_thawing_continues(bench: Bench) -> None:
    async with bench.sandbox() as sandbox:
        try:
            await sandbox.freeze()
        except SandboxError:
            return  # the contract allows it
        running = asyncio.create_task(run(sandbox, "echo done"))
        await asyncio.wait([running], timeout=0.5)
        expect(not running.done(), "a frozen sandbox runs")
        await sandbox.thaw()
        same((await asyncio.wait_for(running, 10)).text, "done", "the output after thawing")


async def what_multiplies_is_frozen_whole_and_what_stood_still_does_so_afterwards(bench: Bench) -> None:
    workspace = bench.workspace()
    script = """
        sleep 1000 & echo $! > still; kill -STOP $!
        for n in 1 2 3; do (while :; do date +%s%N >> moving; done) & done
    """
    async with bench.sandbox(workspace) as sandbox:
        await run(sandbox, script)
        try:
            await sandbox.freeze()
        except SandboxError:
            return  # the contract allows it
        files = bench.driver.files(workspace)
        before = files.read("moving")
        await asyncio.sleep(0.3)
        same(len(files.read("moving")), len(before), "what was written meanwhile")
        await sandbox.thaw()
        await until(lambda: _succeeds(sandbox, f"test $(stat -c %s moving) -gt {len(before)}"), "going on")
        same((await run(sandbox, "cut -d' ' -f3 /proc/$(cat still)/stat")).text, "T", "the state of who stood still")


async def a_frozen_sandbox_can_be_closed(bench: Bench) -> None:
    async with bench.sandbox() as sandbox:
        with contextlib.suppress(SandboxError):
            await sandbox.freeze()
        await asyncio.wait_for(sandbox.close(), 10)


def _fetch(path: str) -> str:
    script = (
        "import http.client; c = http.client.HTTPConnection('127.0.0.1', 8787, timeout=10); "
        f"c.request('GET', '{path}'); r = c.getresponse(); print(r.status, r.read().decode())"
    )
    return f'python3 -c "{script}"'


async def _succeeds(sandbox: Sandbox, script: str) -> bool:
    return (await run(sandbox, script)).exit.code == 0


CASES: tuple[Case, ...] = (
    every_life_has_an_id_of_its_own,
    what_is_written_to_the_workspace_stays,
    an_agent_cannot_lock_itself_out,
    several_open_at_once,
    closing_is_final_and_may_be_repeated,
    closing_ends_a_running_command,
    neighbours_do_not_meet,
    killing_everything_inside_kills_only_commands,
    the_list_names_what_is_open,
    reaping_ends_what_is_left,
    a_second_sandbox_never_shares_the_workspace,
    an_unknown_network_policy_is_refused,
    there_is_no_network_but_the_door,
    the_door_leads_to_the_gateway,
    a_gateway_that_is_away_is_said_to_be,
    freezing_stops_and_thawing_continues,
    what_multiplies_is_frozen_whole_and_what_stood_still_does_so_afterwards,
    a_frozen_sandbox_can_be_closed,
)
