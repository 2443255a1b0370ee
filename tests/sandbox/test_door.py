"""The door alone, between real sockets."""

import asyncio
import contextlib
import resource
import socket
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from raworc.api.preamble import read_preamble
from raworc.ids import SessionId, new_id
from raworc.sandbox.accepting import MAX_CONNECTIONS
from raworc.sandbox.door import Door, DoorPlate

pytestmark = pytest.mark.anyio

KEY = b"k" * 32
SESSION = SessionId(new_id())


@contextlib.asynccontextmanager
async def opened(gateway: Path) -> AsyncGenerator[int]:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(128)
    door = Door(listener, gateway, DoorPlate(SESSION, 7, KEY))
    try:
        yield listener.getsockname()[1]
    finally:
        await door.close()


@contextlib.asynccontextmanager
async def gateway_at(path: Path, serve) -> AsyncGenerator[list[bytes]]:
    lines: list[bytes] = []

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines.append(await reader.readline())
        with contextlib.suppress(OSError):
            await serve(reader, writer)
        writer.close()

    async with await asyncio.start_unix_server(connected, str(path)):
        yield lines


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Say it all back, and the end too."""
    while part := await reader.read(65_536):
        writer.write(part)
        await writer.drain()


async def test_the_line_is_what_the_edge_verifies():
    door = read_preamble(KEY, DoorPlate(SESSION, 7, KEY).line.removesuffix(b"\n"))
    assert door is not None
    assert (door.session_id, door.epoch) == (SESSION, 7)
    assert read_preamble(b"x" * 32, DoorPlate(SESSION, 7, KEY).line.removesuffix(b"\n")) is None


async def test_bytes_pass_both_ways_and_so_does_the_end(home: Path):
    data = bytes(range(256)) * 4000
    async with gateway_at(home / "g", echo) as lines, opened(home / "g") as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        reading = asyncio.create_task(reader.read(-1))
        writer.write(data)
        writer.write_eof()
        assert await asyncio.wait_for(reading, 60) == data
        writer.close()
    assert lines == [DoorPlate(SESSION, 7, KEY).line]


async def test_a_gateway_that_is_away_is_said_to_be_and_comes_back(home: Path):
    async with opened(home / "g") as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        answer = await asyncio.wait_for(reader.read(-1), 60)
        assert answer.startswith(b"HTTP/1.1 503 ")
        head, _, body = answer.partition(b"\r\n\r\n")
        assert f"Content-Length: {len(body)}".encode() in head
        writer.close()
        async with gateway_at(home / "g", echo):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"hello")
            assert await asyncio.wait_for(reader.readexactly(5), 60) == b"hello"
            writer.close()


async def test_so_many_connections_and_no_more(home: Path):
    async with gateway_at(home / "g", echo) as lines, opened(home / "g") as port, contextlib.AsyncExitStack() as stack:
        writers: list[asyncio.StreamWriter] = []
        for _ in range(MAX_CONNECTIONS + 5):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            stack.callback(writer.close)
            writers.append(writer)
            writer.write(b"x")
            if len(writers) <= MAX_CONNECTIONS:
                await asyncio.wait_for(reader.readexactly(1), 60)
        assert len(lines) == MAX_CONNECTIONS
        last = asyncio.create_task(reader.readexactly(1))
        done, _ = await asyncio.wait([last], timeout=0.3)
        assert not done, "one more is served"
        for earlier in writers[:5]:
            earlier.close()
        assert await asyncio.wait_for(last, 60) == b"x"


async def test_a_reader_who_stops_stops_the_writer_too(home: Path):
    sent = 0

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        while True:
            writer.write(bytes(65_536))
            await writer.drain()
            sent += 65_536

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async with gateway_at(home / "g", flood), opened(home / "g") as port:
        with socket.create_connection(("127.0.0.1", port)):
            halted, former = 0, -1
            while halted < 10:  # looks without a byte more
                halted, former = (halted + 1 if sent == former else 0), sent
                await asyncio.sleep(0.02)
            assert 0 < sent < 50_000_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 65_536, "KiB more than before"


async def test_a_client_that_goes_is_told_to_the_gateway(home: Path):
    told = asyncio.Event()

    async def wait(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read(1)
        told.set()

    async with gateway_at(home / "g", wait), opened(home / "g") as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
        await asyncio.wait_for(told.wait(), 60)


async def test_closing_the_door_cuts_what_is_open(home: Path):
    async with gateway_at(home / "g", echo):
        async with opened(home / "g") as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"x")
            await asyncio.wait_for(reader.readexactly(1), 60)
        assert await asyncio.wait_for(reader.read(-1), 60) == b""
        writer.close()
