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
from raworc.sandbox.accepting import CHUNK_BYTES, Accepting, exchange

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
        self._gateway = gateway
        self._plate = plate
        self._accepting = Accepting(listener, plate.session_id, self._lead)

    async def close(self) -> None:
        """Cut every connection and stop listening."""
        await self._accepting.close()

    async def _lead(self, connection: socket.socket) -> None:
        inside = await asyncio.open_connection(sock=connection, limit=CHUNK_BYTES)
        try:
            outside = await asyncio.open_unix_connection(str(self._gateway), limit=CHUNK_BYTES)
        except OSError as error:
            log.warning("gateway away", session_id=str(self._plate.session_id), error=str(error))
            await _refuse(inside[1])
            return
        outside[1].write(self._plate.line)
        await exchange(inside, outside)


async def _refuse(writer: asyncio.StreamWriter) -> None:
    writer.write(_NOT_NOW)
    with contextlib.suppress(OSError):
        await writer.drain()
    writer.close()
