"""The attack: probes inside, bombs, and what the host sees of it all."""

import asyncio
import contextlib
import json
import os
import signal
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from raworc.sandbox import cgroups, seccomp, syscalls
from raworc.sandbox.attack.finding import Finding
from raworc.sandbox.attack.ground import Ground
from raworc.sandbox.bubble import Bubble
from raworc.sandbox.driver import (
    Command,
    Exit,
    FileError,
    Limits,
    Output,
    PolicyNotSupported,
    SandboxDied,
    SandboxError,
    SandboxSpec,
    Workspace,
)
from raworc.sandbox.files import session_uid
from raworc.sandbox.lives import Process

_INSIDE: Final = Path(__file__).parent / "inside"
_FOLDER: Final = ".attack"
_PACKAGE: Final = f"{_FOLDER}/raworc/sandbox/attack/inside"
_PROBES_TIMEOUT_S: Final = 300.0
_BOMB_TIMEOUT_S: Final = 1.5
_SMALL: Final = Limits(memory_mb=256, cpus=1.0, pids=64, disk_mb=64)
_GONE_S: Final = 1.0
_RACED_READS: Final = 2000

Check = Callable[[Ground], Awaitable[None]]


class Escaped(Exception):
    """A check that does not hold; the text says what happened."""


async def attack(ground: Ground) -> list[Finding]:
    """Every probe, inside and outside, each with its verdict."""
    inside = await probe_inside(ground, filtered=True)
    return [*inside, *[await check_outside(name, ground) for name in CHECKS]]


async def check_outside(name: str, ground: Ground) -> Finding:
    """One of ``CHECKS``."""
    try:
        await CHECKS[name](ground)
    except (Escaped, OSError, SandboxError, FileError) as error:
        return Finding(name, str(error) or type(error).__name__)
    return Finding(name)


async def probe_inside(ground: Ground, *, filtered: bool) -> list[Finding]:
    """The probes that run inside; without the filter many must fail, which shows that they can."""
    workspace = ground.workspace()
    open_one = ground.driver.open if filtered else ground.driver.open_unfiltered
    sandbox = await open_one(SandboxSpec(workspace, epoch=1, env={"AGENT_SECRET": "its own"}))
    try:
        _hand_in(ground, workspace)
        data, _ = await _run(sandbox, f"python3 -I {_PACKAGE}/run.py", timeout_s=_PROBES_TIMEOUT_S)
    finally:
        await sandbox.close()
    findings: list[Finding] = []
    for line in data.decode("utf-8", "replace").splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            said = json.loads(line)
            findings.append(Finding(said["name"], said["escape"]))
    if not findings or findings[-1].name != "sockets of the host by path":
        findings.append(Finding("the probes ran to their end", data[-500:].decode("utf-8", "replace")))
    return findings


def _hand_in(ground: Ground, workspace: Workspace) -> None:
    files = ground.driver.files(workspace)
    for source in _INSIDE.glob("*.py"):
        files.write(f"{_PACKAGE}/{source.name}", source.read_bytes())
    files.write(f"{_FOLDER}/context.json", json.dumps(_context(ground, workspace)).encode())


def _context(ground: Ground, workspace: Workspace) -> dict[str, Any]:
    column = 1 if seccomp.host_arch() == "aarch64" else 0

    def numbers(table: syscalls.Numbers) -> dict[str, int | None]:
        return {name: both[column] for name, both in table.items() if both[column] is not None}

    return {
        "refused": numbers(syscalls.REFUSED),
        "absent": numbers(syscalls.ABSENT),
        "judged": numbers(syscalls.JUDGED),
        "newest": syscalls.NEWEST_REVIEWED,
        "session_id": str(workspace.session_id),
        "host_paths": ground.host_paths(workspace.session_id),
        "host_sockets": [str(ground.gateway.path), "/run/docker.sock", "/run/postgresql/.s.PGSQL.5432"],
        "host_pids": ground.host_pids,
        "host_port": ground.port,
        "abstract_name": ground.abstract_name,
        "canary_backwards": ground.canary[::-1],
    }


async def nothing_of_the_host_was_reached(ground: Ground) -> None:
    _require(not ground.visitors, f"reached: {ground.visitors}")
    for pid in ground.host_pids:
        _require(os.getpgid(pid), f"process {pid} is gone")


async def every_connection_was_proven(ground: Ground) -> None:
    heard = ground.gateway.stand_in
    if heard is not None:
        _require(heard.sessions and not heard.unproven, f"{heard.unproven} connections came without a door's proof")


async def killing_everything(ground: Ground) -> None:
    async with _sandbox(ground) as sandbox:
        for shot in ("kill -9 -1", "kill -INT 1", "kill -9 1", "kill -STOP 1", "kill -TERM -1", "kill -SEGV 1"):
            await _run(sandbox, f"{shot}; true", timeout_s=5)
            await _expect_alive(sandbox, shot)
    await nothing_of_the_host_was_reached(ground)


async def a_fork_bomb(ground: Ground) -> None:
    await _bomb(ground, "f() { f | f & }; f; sleep 60")


async def a_memory_bomb(ground: Ground) -> None:
    await _bomb(ground, 'python3 -c "x = [bytearray(10_000_000) for _ in range(10**6)]"')


async def a_bomb_of_temporary_files(ground: Ground) -> None:
    await _bomb(ground, "cat /dev/zero > /tmp/x; cat /dev/zero > /dev/shm/x; rm -f /tmp/x /dev/shm/x")


async def a_disk_bomb(ground: Ground) -> None:
    async with _sandbox(ground) as sandbox:
        script = "for i in $(seq 100000); do head -c 4M /dev/zero > f$i; sleep 0.02; done"
        _, done = await _run(sandbox, script, timeout_s=30)
        _require(done.reason == "disk", f"it ends by {done.reason}")
        await _run(sandbox, "rm -f f*")
        await _expect_alive(sandbox, "the bomb")


async def an_output_bomb(ground: Ground) -> None:
    async with _sandbox(ground) as sandbox:
        data, done = await _run(sandbox, "yes", timeout_s=_BOMB_TIMEOUT_S)
        _require(len(data) <= Command("").max_output_bytes, f"{len(data)} bytes are delivered")
        _require(done.left_out_bytes > 0, "nothing is left out")


async def a_descriptor_bomb(ground: Ground) -> None:
    await _bomb(ground, "python3 -c \"import os\nwhile True: os.open('/dev/null', 0)\"")


async def orphans(ground: Ground) -> None:
    """What hides from its command dies with the sandbox."""
    workspace = ground.workspace()
    uid = session_uid(ground.places.uid_base, workspace)
    async with _sandbox(ground, workspace) as sandbox:
        await _run(sandbox, "(setsid setsid sleep 1011 &); (nohup sleep 1012 &) ; sleep 1013 & kill -STOP $!")
        life = sandbox.life
    _require(life.is_empty, "something of the sandbox is left")
    _require(not _processes_of(uid), f"processes of user {uid} are left")
    _require(life.group is None or cgroups.remove(life.group), "its control group is left")
    _require(await ground.driver.list() == [], "its record is left")


async def death_of_bwrap(ground: Ground) -> None:
    """A killed bwrap takes everything inside with it."""
    async with _sandbox(ground) as sandbox:
        running = asyncio.create_task(_run(sandbox, "sleep 60"))
        await _run(sandbox, "setsid sleep 60 &")
        parent = int(_status(sandbox.life.init.pid)["PPid"])
        os.kill(parent, signal.SIGKILL)
        await _until_gone(sandbox.life.init)
        try:
            await running
        except SandboxDied:
            return
        raise Escaped("the command was not ended")


async def environment_outside(ground: Ground) -> None:
    """The agent's variables act inside only: bwrap, which runs outside, has none."""
    spec = SandboxSpec(ground.workspace(), epoch=1, env={"LD_PRELOAD": "/agent/x.so", "AGENT_SECRET": ground.canary})
    sandbox = await ground.driver.open(spec)
    try:
        for pid in (sandbox.life.init.pid, int(_status(sandbox.life.init.pid)["PPid"])):
            for file in ("environ", "cmdline"):
                held = _proc(pid, file)
                _require(ground.canary.encode() not in held and b"LD_PRELOAD" not in held, f"{file} of {pid} holds it")
                _require(str(ground.places.sessions_dir).encode() not in held, f"{file} of {pid} shows host paths")
    finally:
        await sandbox.close()


async def links_through_the_files(ground: Ground) -> None:
    """What an agent links to is not read for it by the server, which may read more."""
    workspace = ground.workspace()
    async with _sandbox(ground, workspace) as sandbox:
        targets = (
            "/etc/shadow",
            "../../../../etc/passwd",
            "/proc/self/environ",
            str(ground.secret),
            "/agent/../etc/passwd",
        )
        for number, target in enumerate(targets):
            await _run(sandbox, f"ln -s {target} l{number}; mkdir d{number}; ln -s / d{number}/up")
        files = ground.driver.files(workspace)
        paths = [f"l{n}" for n in range(len(targets))] + ["d0/up/etc/passwd", "../x", "/etc/passwd"]
        for path in paths:
            with contextlib.suppress(FileError):
                raise Escaped(f"'{path}' is read: {files.read(path)[:20]!r}")


async def races_through_the_files(ground: Ground) -> None:
    """A folder that becomes a link to the outside at the wrong moment."""
    workspace = ground.workspace()
    swap = "import ctypes\nr = ctypes.CDLL(None).renameat2\nwhile True: r(-100, b'd', -100, b'l', 2)"
    async with _sandbox(ground, workspace) as sandbox:
        files = ground.driver.files(workspace)
        files.write("d/secret", b"inside")
        await _run(sandbox, f'ln -s {ground.secret.parent} l; python3 -c "{swap}" > /dev/null 2>&1 & sleep 0.2')

        def read_all() -> None:
            for _ in range(_RACED_READS):
                with contextlib.suppress(FileError):
                    _require(files.read("d/secret") == b"inside", "a file outside is read")

        await asyncio.to_thread(read_all)


async def meeting_a_neighbour(ground: Ground) -> None:
    async with _sandbox(ground) as one, _sandbox(ground) as other:
        server = "import socket, time; s = socket.socket(1); s.bind('\\0meet'); s.listen(); time.sleep(60)"
        await _run(one, f'echo met > /tmp/meet; echo met > /dev/shm/meet; python3 -c "{server}" & sleep 0.2')
        for script in (
            "cat /tmp/meet /dev/shm/meet /agent/meet",
            "python3 -c \"import socket; socket.socket(1).connect('\\0meet')\"",
            "cat /proc/*/cmdline | tr '\\0' ' ' | grep '[t]ime.sleep'",
        ):
            data, done = await _run(other, script)
            _require(done.code != 0, f"'{script}' finds {data[:50]!r}")


async def other_network_policies(ground: Ground) -> None:
    with contextlib.suppress(PolicyNotSupported):
        sandbox = await ground.driver.open(SandboxSpec(ground.workspace(), epoch=1, network="open"))
        await sandbox.close()
        raise Escaped("a sandbox with network 'open' is opened")


CHECKS: Final[dict[str, Check]] = {
    "kill -9 -1, kill -INT 1 and others": killing_everything,
    "a fork bomb": a_fork_bomb,
    "a memory bomb": a_memory_bomb,
    "a bomb of temporary files": a_bomb_of_temporary_files,
    "a disk bomb": a_disk_bomb,
    "an output bomb": an_output_bomb,
    "a descriptor bomb": a_descriptor_bomb,
    "orphans after the end": orphans,
    "killing bwrap from outside": death_of_bwrap,
    "variables that would act on bwrap": environment_outside,
    "links read through the files": links_through_the_files,
    "races with the files": races_through_the_files,
    "meeting a neighbour": meeting_a_neighbour,
    "other network policies": other_network_policies,
    "door: every connection proven": every_connection_was_proven,
    "the host's port, sockets and processes": nothing_of_the_host_was_reached,
}


async def _bomb(ground: Ground, script: str) -> None:
    """It ends, its neighbour hardly notices, and its own sandbox works on."""
    async with _sandbox(ground) as sandbox, _sandbox(ground) as neighbour:
        running = asyncio.create_task(_run(sandbox, script, timeout_s=_BOMB_TIMEOUT_S))
        await _expect_alive(neighbour, "the neighbour's bomb")
        await running
        await _expect_alive(sandbox, "its own bomb")


@contextlib.asynccontextmanager
async def _sandbox(ground: Ground, workspace: Workspace | None = None) -> AsyncGenerator[Bubble]:
    sandbox = await ground.driver.open(SandboxSpec(workspace or ground.workspace(), epoch=1, limits=_SMALL))
    try:
        yield sandbox
    finally:
        await sandbox.close()


async def _run(sandbox: Bubble, script: str, *, timeout_s: float = 30.0) -> tuple[bytes, Exit]:
    data = bytearray()
    async for event in sandbox.run(Command(script, timeout_s=timeout_s)):
        if isinstance(event, Output):
            data += event.data
        else:
            return bytes(data), event
    raise Escaped(f"'{script}' has no end")


async def _expect_alive(sandbox: Bubble, after: str) -> None:
    data, done = await _run(sandbox, "echo $(echo alive)")
    _require(data == b"alive\n", f"after {after} the sandbox says {data[:100]!r} and ends with {done.code}")


async def _until_gone(process: Process) -> None:
    latest = time.monotonic() + _GONE_S
    while not process.is_gone:
        _require(time.monotonic() < latest, f"process {process.pid} still runs after {_GONE_S} s")
        await asyncio.sleep(0.005)


def _processes_of(uid: int | None) -> list[int]:
    """Living processes of a session's user, where it has one of its own."""
    found: list[int] = []
    for entry in Path("/proc").iterdir() if uid is not None else ():
        with contextlib.suppress(OSError, ValueError):
            if entry.stat().st_uid == uid and not _status(int(entry.name))["State"].startswith("Z"):
                found.append(int(entry.name))
    return found


def _status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def _proc(pid: int, file: str) -> bytes:
    """As far as we may read it: pid 1 of a sandbox hides from its own user."""
    try:
        return Path(f"/proc/{pid}/{file}").read_bytes()
    except PermissionError:
        return b""


def _require(holds: object, otherwise: str) -> None:
    if not holds:
        raise Escaped(otherwise)
