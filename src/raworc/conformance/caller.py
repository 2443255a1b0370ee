"""The client of a gateway under test: it sends the bytes that it is told to, and keeps those that come."""

import asyncio
import ssl
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

import httptools

from raworc.conformance.standin import Headers

_READ_BYTES: Final = 262_144
_INFORMATIONAL: Final = frozenset(range(100, 200)) - {101}  # which is the last answer of a connection
_PORTS: Final = {"http": 80, "https": 443}


class BadAddress(Exception):
    """What was given is not the address of a gateway. The text says why."""


@dataclass(frozen=True)
class Address:
    """Where the gateway is. ``prefix`` goes before every path."""

    host: str
    port: int
    prefix: str
    authority: str
    tls: ssl.SSLContext | None

    @classmethod
    def parse(cls, url: str, ca_file: str | None = None) -> "Address":
        """Raises ``BadAddress``."""
        try:
            parts = urlsplit(url)
            port = parts.port or _PORTS[parts.scheme]
        except (ValueError, KeyError):
            raise BadAddress(f"'{url}' is not an address such as 'http://127.0.0.1:9000'") from None
        if not parts.hostname or parts.query or parts.fragment:
            raise BadAddress(f"'{url}' is not an address such as 'http://127.0.0.1:9000'")
        try:
            tls = ssl.create_default_context(cafile=ca_file) if parts.scheme == "https" else None
        except OSError as error:
            raise BadAddress(f"'{ca_file}' is no file of certificates (PEM): {error}") from None
        return cls(parts.hostname, port, parts.path.rstrip("/").removesuffix("/v1"), parts.netloc, tls)


@dataclass
class Answer:
    """An answer. Names of headers are in lower case; ``whole`` is False when the connection ended before it did."""

    status: int
    headers: Headers
    body: bytes = b""
    whole: bool = True
    keeps: bool = True

    def values(self, name: str) -> list[str]:
        """The values of one header, in order."""
        wanted = name.encode()
        return [value.decode("latin-1") for key, value in self.headers if key == wanted]


@dataclass
class _Coming:
    """An answer on its way: ``pieces`` are parts of the body that nobody has read."""

    answer: Answer
    pieces: deque[bytes] = field(default_factory=deque[bytes])
    ended: bool = False


class Line:
    """One connection to the gateway."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._parser = httptools.HttpResponseParser(self)
        self._headers: Headers = []
        self._coming: deque[_Coming] = deque()
        self._continues = False

    async def send(self, data: bytes) -> None:
        """Write."""
        self._writer.write(data)
        await self._writer.drain()

    async def raw(self) -> bytes:
        """All bytes until the gateway closes the connection."""
        return await self._reader.read()

    async def interim(self) -> None:
        """Wait for '100 Continue'. Raises ``ConnectionError`` when the connection ends before."""
        while not self._continues:
            if not await self._more():
                raise ConnectionError("the gateway closed the connection without '100 Continue'")

    async def head(self) -> Answer:
        """The head of the next answer. Raises ``ConnectionError`` when none comes."""
        while not self._coming:
            if not await self._more():
                raise ConnectionError("the gateway closed the connection without an answer")
        return self._coming[0].answer

    async def piece(self) -> bytes:
        """The next bytes of the body of the answer at hand; none at its end (see ``whole``)."""
        coming = self._coming[0]
        while not coming.pieces and not coming.ended:
            if not await self._more():
                answer = coming.answer
                framed = answer.values("content-length") or "chunked" in answer.values("transfer-encoding")
                answer.whole, answer.keeps, coming.ended = not framed, False, True
        return coming.pieces.popleft() if coming.pieces else b""

    async def take(self, size: int) -> bytes:
        """Exactly so many bytes of the body, or all there are if it ends before."""
        taken = b""
        while len(taken) < size and (piece := await self.piece()):
            taken += piece
        return taken

    async def answer(self) -> Answer:
        """The next answer with all of its body."""
        answer = await self.head()
        pieces: list[bytes] = []
        while piece := await self.piece():
            pieces.append(piece)
        answer.body = b"".join(pieces)
        self._coming.popleft()
        return answer

    def close(self) -> None:
        """Hang up at once, whatever is on its way."""
        self._writer.transport.abort()

    async def _more(self) -> bool:
        try:
            data = await self._reader.read(_READ_BYTES)
        except ConnectionError:
            return False
        if data:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade:
                pass  # what comes now is another protocol
            except httptools.HttpParserError as error:
                raise ConnectionError(f"what the gateway sent is not HTTP: {error}") from error
        return bool(data)

    def on_message_begin(self) -> None:
        """httptools': an answer begins."""
        self._headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        """httptools': one header line."""
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """httptools': the head is whole."""
        status = self._parser.get_status_code()
        if status in _INFORMATIONAL:
            self._continues = True
        else:
            answer = Answer(status, self._headers, keeps=self._parser.should_keep_alive())
            self._coming.append(_Coming(answer))

    def on_body(self, body: bytes) -> None:
        """httptools': a piece of the body."""
        self._coming[-1].pieces.append(body)

    def on_message_complete(self) -> None:
        """httptools': the answer is whole."""
        if self._parser.get_status_code() not in _INFORMATIONAL:
            self._coming[-1].ended = True


@asynccontextmanager
async def connected(address: Address) -> AsyncGenerator[Line]:
    """A connection of its own, ended at the end. Raises ``OSError`` when nobody listens there."""
    reader, writer = await asyncio.open_connection(address.host, address.port, ssl=address.tls)
    line = Line(reader, writer)
    try:
        yield line
    finally:
        line.close()
