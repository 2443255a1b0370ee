"""The operator's side of a sandbox's only way out: accepts inside, leads to the gateway's own socket.

The listener lies in the sandbox's network namespace, so who accepts here knows whose connection it is. That is
said to the gateway in one line with a keyed digest, then bytes are copied both ways, neither read nor kept.
"""

import asyncio
import contextlib
import hashlib
import hmac
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from raworc.ids import SessionId

MAX_CONNECTIONS: Final = 64
_CHUNK_BYTES: Final = 65_536
_NOT_NOW: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nContent-Length: 33\r\n"
    b"Retry-After: 1\r\nConnection: close\r\n\r\nThe gateway is away. Try it again"
)

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class DoorPlate:
    """What is announced: whose door it is, under which hold, and the key (of the home) that proves it."""

    session_id: SessionId
    epoch: int
    key: bytes

    @property
    def line(self) -> bytes:
        """``RAWORC-DOOR 1 <session> <epoch> <hex HMAC-SHA256 of "session epoch">`` and a newline."""
        said = f"{self.session_id} {self.epoch}"
        proof = hmac.new(self.key, said.encode(), hashlib.sha256).hexdigest()
        return f"RAWORC-DOOR 1 {said} {proof}\n".encode()


class Door:
    """Copies between the door of one sandbox and the gateway until closed."""

    def __init__(self, listener: socket.socket, gateway: Path, plate: DoorPlate) -> None:
        self._listener = listener
        self._gateway = gateway
        self._plate = plate
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
                log.debug("door accept failed", session_id=str(self._plate.session_id), error=str(error))
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

    async def _lead(self, connection: socket.socket) -> None:
        inside = await asyncio.open_connection(sock=connection, limit=_CHUNK_BYTES)
        try:
            outside = await asyncio.open_unix_connection(str(self._gateway), limit=_CHUNK_BYTES)
        except OSError as error:
            log.warning("gateway away", session_id=str(self._plate.session_id), error=str(error))
            await _refuse(inside[1])
            return
        try:
            outside[1].write(self._plate.line)
            async with asyncio.TaskGroup() as both:
                both.create_task(_copy(inside[0], outside[1]))
                both.create_task(_copy(outside[0], inside[1]))
        except* OSError as cut:
            log.debug("door connection cut", session_id=str(self._plate.session_id), errors=len(cut.exceptions))
        finally:
            inside[1].close()
            outside[1].close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Everything in one direction, then its end. A full buffer on the far side stops the reading."""
    while part := await reader.read(_CHUNK_BYTES):
        writer.write(part)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()


async def _refuse(writer: asyncio.StreamWriter) -> None:
    writer.write(_NOT_NOW)
    with contextlib.suppress(OSError):
        await writer.drain()
    writer.close()
