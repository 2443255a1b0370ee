"""The provider behind a gateway under test: it answers with exactly the bytes that a check tells it to."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import httptools

Headers = list[tuple[bytes, bytes]]
_READ_BYTES: Final = 262_144
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


@dataclass(frozen=True)
class Seen:
    """One request as it arrived; names of headers as they were spelled."""

    method: str
    target: str
    headers: Headers
    body: bytes

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    def values(self, name: str) -> list[str]:
        """The values of one header, in order."""
        wanted = name.encode()
        return [value.decode("latin-1") for key, value in self.headers if key.lower() == wanted]

    def holds(self, secret: bytes) -> bool:
        """Whether ``secret`` stands anywhere in it."""
        lines = [part for header in self.headers for part in header]
        return any(secret in part for part in (self.target.encode(), self.body, *lines))


class Reply:
    """How a script answers one request: raw bytes, and the end of the connection."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    async def send(self, *pieces: bytes) -> None:
        """Write each piece by itself."""
        for piece in pieces:
            self._writer.write(piece)
            await self._writer.drain()

    def cut(self) -> None:
        """End the connection as a crash would."""
        self._writer.transport.abort()

    def close(self) -> None:
        """End the connection behind what was sent."""
        self._writer.close()


Script = Callable[[Seen, Reply], Awaitable[None]]


class Unreached(ConnectionError):
    """No call came to the provider."""


@dataclass
class Stage:
    """What is played at one path, and what came there. ``left``: the gateway closed amid a script."""

    script: Script
    seen: list[Seen] = field(default_factory=list[Seen])
    left: asyncio.Event = field(default_factory=asyncio.Event)
    playing: set[asyncio.Future[None]] = field(default_factory=set[asyncio.Future[None]])

    @property
    def last(self) -> Seen:
        """The newest call. Raises ``Unreached``."""
        if not self.seen:
            raise Unreached("no call reached the provider")
        return self.seen[-1]


class Standin:
    """Serves what is on its stages; everything else is not found."""

    def __init__(self) -> None:
        self._stages: dict[str, Stage] = {}
        self._connections: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def listening(self, host: str, port: int) -> AsyncGenerator[int]:
        """Serve on this address; yields the port. Raises ``OSError`` when it is taken."""
        server = await asyncio.start_server(self._connected, host, port)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            for connection in self._connections:
                connection.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)

    @asynccontextmanager
    async def staged(self, path: str, script: Script) -> AsyncGenerator[Stage]:
        """Play ``script`` for every request to ``path`` meanwhile; what still plays at the end is cut off."""
        stage = self._stages[path] = Stage(script)
        try:
            yield stage
        finally:
            if self._stages.get(path) is stage:
                del self._stages[path]
            for playing in stage.playing:
                playing.cancel()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            return
        self._connections.add(task)
        incoming = _Incoming(writer)
        reading = asyncio.create_task(incoming.read(reader))
        try:
            while (seen := await incoming.requests.get()) is not None:
                await self._play(seen, Reply(writer), reading)
        except ConnectionError:
            pass  # the gateway left: its stage knows
        finally:
            self._connections.discard(task)
            reading.cancel()
            writer.close()

    async def _play(self, seen: Seen, reply: Reply, reading: asyncio.Task[None]) -> None:
        stage = next((self._stages[path] for path in self._stages if seen.path.endswith(path)), None)
        if stage is None:
            await reply.send(json_answer(b'{"error":{"message":"not staged"}}', "404 Not Found"))
            return
        stage.seen.append(seen)
        playing = asyncio.ensure_future(stage.script(seen, reply))
        stage.playing.add(playing)
        try:
            await asyncio.wait([playing, reading], return_when=asyncio.FIRST_COMPLETED)
            if not playing.done():
                stage.left.set()
            elif playing.cancelled():
                reply.cut()
            else:
                await playing
        except ConnectionError:
            stage.left.set()
        finally:
            stage.playing.discard(playing)
            playing.cancel()


class _Incoming:
    """Parses what a gateway sends on one connection into ``requests``; None is its end."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.requests: asyncio.Queue[Seen | None] = asyncio.Queue()
        self._writer = writer
        self._parser = httptools.HttpRequestParser(self)
        self._url, self._body = b"", bytearray()
        self._headers: Headers = []

    async def read(self, reader: asyncio.StreamReader) -> None:
        try:
            while data := await reader.read(_READ_BYTES):
                self._parser.feed_data(data)
        except (ConnectionError, httptools.HttpParserError):
            pass  # both end the connection
        self.requests.put_nowait(None)

    def on_message_begin(self) -> None:
        self._url, self._headers, self._body = b"", [], bytearray()

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        if any(name.lower() == b"expect" for name, _ in self._headers):
            self._writer.write(_CONTINUE)

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        method, target = self._parser.get_method().decode(), self._url.decode("latin-1")
        self.requests.put_nowait(Seen(method, target, self._headers, bytes(self._body)))


def json_answer(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    """The bytes of a whole answer whose length is told."""
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", *headers]
    if not any(line.lower().startswith("content-type:") for line in headers):
        lines.append("content-type: application/json")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def stream_head(*headers: str, kind: str = "text/event-stream; charset=utf-8") -> bytes:
    """The head of a chunked answer."""
    lines = ["HTTP/1.1 200 OK", f"content-type: {kind}", "transfer-encoding: chunked", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1")


def chunk(data: bytes) -> bytes:
    """A piece of a chunked body; of no bytes, its end."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def plays(*pieces: bytes) -> Script:
    """A script that writes these pieces, whatever it was asked."""

    async def play(_seen: Seen, reply: Reply) -> None:
        await reply.send(*pieces)

    return play


def streams(*events: bytes, head: bytes | None = None) -> Script:
    """A script that streams these pieces, each as a chunk of its own."""
    return plays(head or stream_head(), *(chunk(event) for event in events), chunk(b""))
