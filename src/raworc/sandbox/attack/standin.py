"""A gateway that serves nobody, for attacks where no server runs: it hears what comes through the doors."""

import asyncio
import contextlib
import hashlib
import hmac
import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_LINE: Final = re.compile(rb"RAWORC-DOOR 1 ([0-9a-f-]{36}) ([0-9]+) ([0-9a-f]{64})\n")
_REQUEST: Final = re.compile(rb"([A-Z]+) (\S+) HTTP/1\.[01]\r\n")
_TIMEOUT_S: Final = 10


@dataclass
class StandIn:
    """What came: the sessions whose doors were proven, and how many connections proved none."""

    key: bytes
    sessions: set[str] = field(default_factory=set[str])
    unproven: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, one answer: 401 below ``/v1/``, 404 elsewhere, 400 to what is no request."""
        with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError, ValueError):
            async with asyncio.timeout(_TIMEOUT_S):
                self._hear(await reader.readline())
                head = await reader.readuntil(b"\r\n\r\n")
            status = _status(head)
            writer.write(b"HTTP/1.1 %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % status)
            await writer.drain()
        writer.close()

    def _hear(self, line: bytes) -> None:
        match = _LINE.fullmatch(line)
        said = b" ".join(match.group(1, 2)) if match else b""
        if match and hmac.compare_digest(hmac.new(self.key, said, hashlib.sha256).hexdigest(), match[3].decode()):
            self.sessions.add(match[1].decode())
        else:
            self.unproven += 1


@contextlib.asynccontextmanager
async def standing_in(path: Path, key: bytes) -> AsyncGenerator[StandIn]:
    """Listen on ``path`` as a gateway would."""
    heard = StandIn(key)
    server = await asyncio.start_unix_server(heard.serve, str(path))
    async with server:
        yield heard


def _status(head: bytes) -> bytes:
    match = _REQUEST.match(head)
    if match is None:
        return b"400 Bad Request"
    path = match[2].lower()
    inside = match[2].startswith(b"/v1/") and b".." not in path and b"%2e" not in path
    return b"401 Unauthorized" if inside else b"404 Not Found"
