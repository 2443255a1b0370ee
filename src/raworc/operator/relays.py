"""HTTP that is spoken from inside a sandbox: what is reached is what a program there reaches, and nothing else.

Each connection is a small program in the sandbox that connects to host and port and copies bytes. Names are resolved
there, too; this process opens no connection of its own. Answers are hostile: their size and number are bounded.
"""

import asyncio
import shlex
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import httpcore2
import httpx2

from raworc.sandbox.driver import Command, Dialogue, Sandbox, SandboxError
from raworc.sandbox.recipe import PYTHON

MAX_ANSWER_BYTES: Final = 4_194_304
MAX_LIFE_BYTES: Final = 268_435_456
MAX_REQUESTS: Final = 20_000
LIFE_S: Final = 7 * 24 * 3600.0
PATIENCE_S: Final = 5.0
"""How long a first connection waits for a server that a setup script has just started."""
_CONNECTIONS: Final = 8
_CONNECT_S: Final = 20.0
_READ_S: Final = 300.0
_PIECES: Final = 16
_MAX_NEWS_BYTES: Final = 500
_PROGRAM: Final = """
import os, socket, sys, threading, time
host, port, latest = sys.argv[1], int(sys.argv[2]), time.monotonic() + float(sys.argv[3])
def say(data):
    while data:
        data = data[os.write(1, data):]
while True:
    try:
        link = socket.create_connection((host, port), 10)
        break
    except OSError as error:
        if not isinstance(error, ConnectionRefusedError) or time.monotonic() > latest:
            say((str(error.strerror or error) + "\\n").encode())
            os._exit(1)
        time.sleep(0.05)
link.settimeout(None)
link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
say(b"\\n")
def hear():
    try:
        while data := os.read(0, 65536):
            link.sendall(data)
        link.shutdown(socket.SHUT_WR)
    except OSError:
        pass
threading.Thread(target=hear, daemon=True).start()
try:
    while data := link.recv(65536):
        say(data)
except OSError:
    pass
os._exit(0)
"""
"""Says one line first: empty once it is connected, else why not."""


class Misbehaved(Exception):
    """A server said more than it may."""


class Relays(httpcore2.AsyncNetworkBackend):
    """Connections that begin inside a sandbox. ``aclose`` ends those that are left."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._tasks: set[asyncio.Task[None]] = set()
        self._patience_s = PATIENCE_S
        self._room = MAX_LIFE_BYTES

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  the library's
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> "Relay":
        """Connect from inside; the options of sockets are the sandbox's own affair."""
        del local_address, socket_options
        words = shlex.join([PYTHON, "-I", "-S", "-c", _PROGRAM, host, str(port), str(self._patience_s)])
        command = Command(f"exec {words} 2>/dev/null", timeout_s=LIFE_S, max_output_bytes=MAX_LIFE_BYTES)
        relay = Relay(self)
        task = asyncio.create_task(relay.live(self._sandbox, command), name=f"relay to {host}:{port}")
        relay.ends_with(task)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            async with asyncio.timeout(timeout):
                news = await relay.news()
        except TimeoutError:
            news = "it did not answer"
        if news:
            await relay.aclose()
            raise httpcore2.ConnectError(f"'{host}:{port}' is not reached from inside the sandbox: {news}")
        self._patience_s = 0.0
        return relay

    async def sleep(self, seconds: float) -> None:
        """Wait, for the library."""
        await asyncio.sleep(seconds)

    def take(self, size: int) -> bool:
        """Count bytes that were heard; whether they still fit."""
        self._room -= size
        return self._room >= 0

    async def aclose(self) -> None:
        """End every connection and wait for that."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Relay(httpcore2.AsyncNetworkStream):
    """One of them. A task of its own holds the dialogue, so that no time limit of the library's breaks into it."""

    def __init__(self, relays: Relays) -> None:
        self._relays = relays
        self._heard: asyncio.Queue[bytes] = asyncio.Queue(_PIECES)
        self._rest = b""
        self._since_asked = 0
        self._dialogue: Dialogue | None = None
        self._task: asyncio.Task[None] | None = None

    def ends_with(self, task: asyncio.Task[None]) -> None:
        """Name the task of ``live``."""
        self._task = task

    async def live(self, sandbox: Sandbox, command: Command) -> None:
        """Hear what comes until it ends; empty bytes say so."""
        try:
            async with sandbox.talk(command) as dialogue:
                self._dialogue = dialogue
                while data := await dialogue.receive():
                    await self._heard.put(data)
            await self._heard.put(b"")
        except SandboxError:
            await self._heard.put(b"")

    async def news(self) -> str:
        """What the program says of the connection: nothing once there is one."""
        line = bytearray()
        while b"\n" not in line and len(line) < _MAX_NEWS_BYTES:
            data = await self._heard.get()
            if not data:
                return "it could not be tried"
            line += data
        said, _, self._rest = bytes(line).partition(b"\n")
        return said.decode("utf-8", "replace")

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109  the library's
        """Some of what the server says."""
        if not self._rest:
            try:
                async with asyncio.timeout(timeout):
                    self._rest = await self._heard.get()
            except TimeoutError as error:
                raise httpcore2.ReadTimeout("the server says nothing") from error
        data, self._rest = self._rest[:max_bytes], self._rest[max_bytes:]
        self._since_asked += len(data)
        if self._since_asked > MAX_ANSWER_BYTES or not self._relays.take(len(data)):
            raise Misbehaved("it said more than a server may say")
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109  the library's
        """Say something to the server."""
        self._since_asked = 0
        if self._dialogue is None or self._task is None or self._task.done():
            raise httpcore2.WriteError("the connection has ended")
        try:
            async with asyncio.timeout(timeout):
                await self._dialogue.send(buffer)
        except TimeoutError as error:
            raise httpcore2.WriteTimeout("the server takes nothing") from error

    async def aclose(self) -> None:
        """End it; nobody waits for that."""
        if self._task is not None:
            self._task.cancel()

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401  the library's
        """Whether it may be used once more: not when it said something unasked, its end included."""
        return bool(self._rest) or not self._heard.empty() if info == "is_readable" else None


class _Transport(httpx2.AsyncHTTPTransport):
    """The library's, over connections of ours: plain HTTP, not compressed, so many requests and no more."""

    def __init__(self, relays: Relays) -> None:
        self._left = MAX_REQUESTS
        self._pool = httpcore2.AsyncConnectionPool(max_connections=_CONNECTIONS, network_backend=relays)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Ask once."""
        self._left -= 1
        if self._left < 0:
            raise Misbehaved("it has been asked more often than a server may want")
        if request.url.scheme != "http":
            raise httpx2.UnsupportedProtocol("only 'http' is spoken inside the sandbox", request=request)
        answer = await super().handle_async_request(request)
        if answer.headers.get("content-encoding", "identity").lower() != "identity":
            await answer.aclose()
            raise Misbehaved("it answers compressed, which it was not asked for")
        return answer


@asynccontextmanager
async def relayed(sandbox: Sandbox, headers: Mapping[str, str]) -> AsyncGenerator[httpx2.AsyncClient]:
    """A client whose every connection begins inside the sandbox, and sends ``headers`` with each request."""
    relays = Relays(sandbox)
    limits = httpx2.Timeout(_CONNECT_S, read=_READ_S)
    sent = {**headers, "accept-encoding": "identity"}
    try:
        async with httpx2.AsyncClient(
            transport=_Transport(relays), timeout=limits, headers=sent, trust_env=False, follow_redirects=False
        ) as client:
            yield client
    finally:
        await relays.aclose()
