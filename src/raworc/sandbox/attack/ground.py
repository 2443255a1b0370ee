"""What an attack runs on: a home of its own, and things of the host that must not be reached from inside."""

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
import socket
import tempfile
from collections.abc import AsyncGenerator, Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path

from raworc.ids import SessionId, new_id
from raworc.sandbox.attack.standin import StandIn
from raworc.sandbox.bubblewrap import BubblewrapDriver, Places
from raworc.sandbox.driver import Workspace
from raworc.sandbox.spawner import Spawner


@dataclass(frozen=True)
class Gateway:
    """Where the doors lead, and the key that proves them; ``stand_in`` when no server runs."""

    path: Path
    door_key: bytes
    stand_in: StandIn | None = None


@dataclass
class Ground:
    """Everything that the probes need to know of the host."""

    driver: BubblewrapDriver
    spawner: Spawner
    places: Places
    gateway: Gateway
    canary: str
    secret: Path
    port: int
    abstract_name: str
    host_pids: list[int]
    visitors: list[str] = field(default_factory=list[str])
    _numbers: int = 0

    def workspace(self) -> Workspace:
        """A new one."""
        self._numbers += 1
        return Workspace(SessionId(new_id()), self._numbers)

    def host_paths(self, session_id: SessionId) -> list[str]:
        """Paths of the host that must not exist inside. What lies below ``/usr`` is everybody's."""
        own = [self.secret, self.places.run_dir, self.places.sessions_dir / str(session_id), Path(__file__).parent]
        return [str(path) for path in own if not path.is_relative_to("/usr")]


@contextlib.asynccontextmanager
async def prepared(spawner: Spawner, places: Places, gateway: Gateway) -> AsyncGenerator[Ground]:
    """A ground whose traps are set: a listening port, a socket without a file, a secret file, a canary process."""
    canary = f"canary-{secrets.token_hex(8)}"
    visitors: list[str] = []
    async with contextlib.AsyncExitStack() as stack:
        port = await stack.enter_async_context(_listener(("127.0.0.1", 0), lambda: visitors.append("port")))
        abstract = f"raworc-{canary}"
        await stack.enter_async_context(_listener(f"\0{abstract}", lambda: visitors.append("abstract socket")))
        secret = stack.enter_context(_secret_file(canary))
        sleeper = await stack.enter_async_context(_canary_process(canary))
        yield Ground(
            driver=BubblewrapDriver(places, spawner, gateway.door_key),
            spawner=spawner,
            places=places,
            gateway=gateway,
            canary=canary,
            secret=secret,
            port=port,
            abstract_name=abstract,
            host_pids=[os.getpid(), sleeper, *([spawner.pid] if spawner.pid else [])],
            visitors=visitors,
        )


@contextlib.asynccontextmanager
async def _listener(address: tuple[str, int] | str, on_visit: Callable[[], None]) -> AsyncGenerator[int]:
    """Somebody who listens on the host and must never hear anything; yields the port, if it has one."""

    async def visited(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        on_visit()
        writer.close()

    listener = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
    listener.bind(address)
    listener.listen()
    listener.settimeout(0)
    unix = isinstance(address, str)
    server = await (asyncio.start_unix_server if unix else asyncio.start_server)(visited, sock=listener)
    async with server:
        yield 0 if unix else listener.getsockname()[1]


@contextlib.contextmanager
def _secret_file(canary: str) -> Generator[Path, None, None]:
    folder = Path(tempfile.mkdtemp(prefix="raworc-secret-"))
    try:
        (folder / "secret").write_text(canary, encoding="ascii")
        yield folder / "secret"
    finally:
        shutil.rmtree(folder)


@contextlib.asynccontextmanager
async def _canary_process(canary: str) -> AsyncGenerator[int]:
    """A process of the host whose environment holds the canary, and who must not be killed from inside."""
    process = await asyncio.create_subprocess_exec(
        "/usr/bin/python3", "-ISc", "import signal; signal.pause()", env={"CANARY": canary}
    )
    try:
        yield process.pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGKILL)
        await process.wait()
