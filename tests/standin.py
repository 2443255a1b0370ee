"""A stand-in provider that answers with exactly the bytes it is told to, as slowly and as badly as wanted."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass
class Seen:
    """One request as it arrived: its first line, its header lines, its body."""

    line: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes

    def header(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.headers if key.lower() == name]


Script = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Standin:
    url: str
    seen: list[Seen] = field(default_factory=list)
    gone: asyncio.Event = field(default_factory=asyncio.Event)


@asynccontextmanager
async def standin(play: Script, tls: ssl.SSLContext | None = None) -> AsyncIterator[Standin]:
    """Serve ``play`` for every request; ``gone`` is set when the gateway closes a connection."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ahead = b""  # a client sends nothing while it waits, but for the first byte of its next request
        try:
            while True:
                seen.seen.append(await _request(reader, ahead))
                playing = asyncio.ensure_future(play(writer))
                leaving = asyncio.ensure_future(reader.read(1))
                try:
                    await asyncio.wait([playing, leaving], return_when=asyncio.FIRST_COMPLETED)
                    if leaving.done() and not leaving.result():
                        seen.gone.set()
                        return
                    await playing
                    if not leaving.done():
                        leaving.cancel()
                        await asyncio.wait([leaving])
                    ahead = b"" if leaving.cancelled() else leaving.result()
                finally:
                    playing.cancel()
                    leaving.cancel()
                    await asyncio.gather(playing, leaving, return_exceptions=True)
        except (asyncio.IncompleteReadError, ConnectionError):
            seen.gone.set()
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, limit=2**26, ssl=tls)
    seen = Standin(f"http{'s' if tls else ''}://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    try:
        yield seen
    finally:
        server.close()


def answers(*pieces: bytes, delay_s: float = 0, close: bool = False, abort: bool = False) -> Script:
    """Write these pieces, each by itself."""

    async def play(writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(delay_s)
        if abort:
            writer.transport.abort()
        elif close:
            writer.close()

    return play


def json_answer(body: bytes, status: str = "200 OK", *headers: bytes) -> bytes:
    """The bytes of an answer whose length is told."""
    lines = [b"HTTP/1.1 " + status.encode(), b"content-type: application/json", b"content-length: %d" % len(body)]
    return b"\r\n".join([*lines, *headers, b"", body])


def stream_head(*headers: bytes) -> bytes:
    """The head of an event stream."""
    lines = [b"HTTP/1.1 200 OK", b"content-type: text/event-stream; charset=utf-8", b"transfer-encoding: chunked"]
    return b"\r\n".join([*lines, *headers, b"", b""])


def chunk(data: bytes) -> bytes:
    """A piece of a chunked body; of no bytes, its end."""
    return b"%x\r\n%b\r\n" % (len(data), data)


async def _request(reader: asyncio.StreamReader, ahead: bytes) -> Seen:
    head = ahead + await reader.readuntil(b"\r\n\r\n")
    lines = head[:-4].split(b"\r\n")
    headers = [(name, value.strip()) for name, _, value in (line.partition(b":") for line in lines[1:])]
    length = next((int(value) for name, value in headers if name.lower() == b"content-length"), 0)
    return Seen(lines[0], headers, await reader.readexactly(length))
