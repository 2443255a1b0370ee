"""Listeners that lie inside a sandbox's network namespace: who accepts there knows whose connection it is."""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from raworc.ids import SessionId

MAX_CONNECTIONS: Final = 64
CHUNK_BYTES: Final = 65_536
Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]

log = structlog.get_logger(__name__)


class Accepting:
    """Accepts connections of one sandbox until closed, and has each of them led somewhere by ``lead``."""

    def __init__(
        self, listener: socket.socket, session_id: SessionId, lead: Callable[[socket.socket], Awaitable[None]]
    ) -> None:
        self._listener = listener
        self._session_id = session_id
        self._lead = lead
        self._free = asyncio.Semaphore(MAX_CONNECTIONS)
        self._connections: set[asyncio.Task[None]] = set()
        self._accepting = asyncio.create_task(self._accept())

    async def close(self) -> None:
        """Cut every connection and stop listening."""
        tasks = [self._accepting, *self._connections]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._listener.close()

    async def _accept(self) -> None:
        """One at a time, at most ``MAX_CONNECTIONS`` open: the others wait in the backlog."""
        loop = asyncio.get_running_loop()
        self._listener.settimeout(0)
        while True:
            await self._free.acquire()
            try:
                connection, _ = await loop.sock_accept(self._listener)
            except OSError as error:  # it was cut before we took it
                log.debug("accept failed", session_id=str(self._session_id), error=str(error))
                self._free.release()
                continue
            except asyncio.CancelledError:
                self._free.release()
                raise
            task = asyncio.create_task(self._serve(connection))
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)

    async def _serve(self, connection: socket.socket) -> None:
        try:
            with contextlib.suppress(OSError):  # either end may cut the connection at any time
                await self._lead(connection)
        finally:
            connection.close()
            self._free.release()


async def exchange(one: Ends, other: Ends) -> None:
    """Copy both ways until both have ended, or one is cut."""
    try:
        async with asyncio.TaskGroup() as both:
            both.create_task(_copy(one[0], other[1]))
            both.create_task(_copy(other[0], one[1]))
    except* OSError as cut:
        log.debug("connection cut", errors=len(cut.exceptions))
    finally:
        one[1].close()
        other[1].close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Everything in one direction, then its end. A full buffer on the far side stops the reading."""
    while part := await reader.read(CHUNK_BYTES):
        writer.write(part)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
