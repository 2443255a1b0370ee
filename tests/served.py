"""An application behind the real HTTP edge, inside the test's own event loop."""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp, Send

from raworc.api.edge import EdgeOptions, edge_protocol


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes
    closed: bool


class Wire:
    """One connection, spoken to in bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def rest(self, limit_s: float = 60) -> bytes:
        """Everything until the server closes the connection."""
        try:
            return await asyncio.wait_for(self.reader.read(), limit_s)
        except ConnectionError:
            return b""

    async def answer(self, limit_s: float = 60) -> Answer:
        """One answer with its body, which must announce its length or be chunked."""
        async with asyncio.timeout(limit_s):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            lines = head.split("\r\n")
            headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:] if line)}
            if "content-length" in headers:
                body = await self.reader.readexactly(int(headers["content-length"]))
            else:
                body = await self._chunks()
        return Answer(int(lines[0].split()[1]), headers, body, headers.get("connection") == "close")

    async def _chunks(self) -> bytes:
        body = b""
        while size := int(await self.reader.readuntil(b"\r\n"), 16):
            body += await self.reader.readexactly(size)
            await self.reader.readexactly(2)
        await self.reader.readexactly(2)
        return body

    async def close(self) -> None:
        self.writer.close()
        await asyncio.gather(self.writer.wait_closed(), return_exceptions=True)


@dataclass
class Served:
    port: int
    folder: Path
    server: uvicorn.Server

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @asynccontextmanager
    async def wire(self, name: str | None = None) -> AsyncIterator[Wire]:
        """A connection to the port, or to the named socket."""
        if name is None:
            pair = await asyncio.open_connection("127.0.0.1", self.port, limit=2**22)
        else:
            pair = await asyncio.open_unix_connection(str(self.folder / name), limit=2**22)
        wire = Wire(*pair)
        try:
            yield wire
        finally:
            await wire.close()

    async def ask(self, request: bytes) -> Answer:
        """One request on a connection of its own."""
        async with self.wire() as wire:
            await wire.send(request)
            return await wire.answer()


async def reply(send: Send, body: bytes) -> None:
    """A whole answer, for applications that tests make up."""
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def serve(
    app: ASGIApp, options: EdgeOptions, sockets: Sequence[str] = (), *, keep_alive_s: float = 300
) -> AsyncIterator[Served]:
    """Serve ``app`` on a free port and on Unix sockets of these names beside ``options.door_socket``.

    Connections rest for longer than clients keep them, who would otherwise meet one that closes just then.
    """
    folder = Path(options.door_socket).parent
    bound = [socket.create_server(("127.0.0.1", 0))]
    bound[0].setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as uvloop does; asyncio leaves it here
    for name in sockets:
        bound.append(socket.socket(socket.AF_UNIX))
        bound[-1].bind(str(folder / name))
    config = uvicorn.Config(
        app,
        http=edge_protocol(options),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=keep_alive_s,
        timeout_graceful_shutdown=5,
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server._serve(bound))
    try:
        async with asyncio.timeout(60):
            while not server.started:  # noqa: ASYNC110  uvicorn tells it by a flag only
                await asyncio.sleep(0.005)
        yield Served(bound[0].getsockname()[1], folder, server)
    finally:
        server.should_exit = True
        await task


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]
