"""One connection of the upstream client: HTTP/1.1 on asyncio and httptools, one call at a time.

Errors are one tree::

    UpstreamError
    ├── ConnectFailed       no connection: nothing was sent
    ├── UpstreamTimeout     nothing came for too long (``phase`` says connect, first byte or idle)
    ├── UpstreamClosed      the connection ended before the answer did
    └── UpstreamBroken      what came is not HTTP
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal, cast

import httptools

from raworc.wire.eager import Wake

_READ_AHEAD_BYTES = 256 * 1024
_KEEP_IDLE_S = 30.0
_INFORMATIONAL = range(100, 200)
_FRAMING = frozenset({b"content-length", b"transfer-encoding"})


class UpstreamError(Exception):
    """The other side could not be reached, or did not answer as it should. ``str()`` says what happened."""


class ConnectFailed(UpstreamError):
    """No connection could be made; nothing was sent."""


class UpstreamTimeout(UpstreamError):
    """Nothing came for too long."""

    def __init__(self, phase: Literal["connect", "first byte", "idle"], limit_s: float) -> None:
        super().__init__(f"No answer within {limit_s:g} s ({phase})")
        self.phase = phase


class UpstreamClosed(UpstreamError):
    """The connection ended before the answer did."""


class UpstreamBroken(UpstreamError):
    """What came is not HTTP."""


@dataclass(frozen=True)
class Timeouts:
    """Seconds to connect, from the request to the first byte of the answer, and between two bytes of it."""

    connect_s: float = 10.0
    first_byte_s: float = 600.0
    idle_s: float = 300.0


@dataclass
class Pool:
    """Connections that wait for their next call, newest last. Once ``closed``, none waits any more."""

    idle: list["Connection"] = field(default_factory=list["Connection"])
    closed: bool = False


class Response:
    """An answer whose head has come. ``headers`` are as sent, in order, with lower-case names; the body is read once.

    Its only owner must call ``close()``: a whole answer frees the connection for the next call, any other ends it.
    """

    def __init__(self, connection: "Connection") -> None:
        self._connection = connection
        self.status = connection.status
        self.headers = connection.headers

    @property
    def whole(self) -> bool:
        """True when all of the body has come and been read."""
        return self._connection.drained

    @property
    def ready(self) -> bool:
        """True when the next piece of the body, or its end, has come already."""
        return self._connection.ready

    def hand_on(self, take: Callable[[bytes], bool]) -> None:
        """Offer each piece that comes while a reader waits to ``take`` first, at once; False leaves it to the reader.

        The last piece is always the reader's.
        """
        self._connection.take = take

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes, never an empty piece.

        Raises:
            UpstreamError: it ended too early, paused for too long, or is not HTTP.
        """
        while chunk := await self._connection.next_chunk():
            yield chunk

    def next_chunk(self) -> Awaitable[bytes]:
        """The next piece of the body, none at its end. Raises as ``chunks()``."""
        return self._connection.next_chunk()

    async def read(self) -> bytes:
        """The whole (rest of the) body. Raises as ``chunks()``."""
        pieces: list[bytes] = []
        while chunk := await self._connection.next_chunk():
            pieces.append(chunk)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def close(self) -> None:
        """Give the connection back, or end it when the answer is not whole. Safe to call twice."""
        self._connection.release()


class Connection(asyncio.Protocol):
    """One kept-alive connection: one call at a time, no pipelining."""

    def __init__(self, pool: Pool, timeouts: Timeouts, keep: int) -> None:
        self._pool = pool
        self._timeouts = timeouts
        self._keep = keep
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._waiter: Wake | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._idle_since = 0.0
        self._in_pool = False
        self._parser = httptools.HttpResponseParser(self)  # between two answers it stands as it began
        self._begin()

    def _begin(self) -> None:
        """Forget the last call."""
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.answered = False
        self.complete = False
        self._head_done = False
        self._reusable = False
        self._surplus = False
        self._released = False
        self._bodiless = False
        self._error: UpstreamError | None = None
        self._body: list[bytes] = []
        self._buffered = 0
        self._paused = False
        self._seen = 0.0
        self.take: Callable[[bytes], bool] | None = None

    # ── the caller's side ─────────────────────────────────────────────────────────────────────────────
    async def exchange(self, request: bytes) -> Response:
        """Send the bytes of one request and wait for the head of its answer. Raises as the tree above."""
        self._begin()
        self._bodiless = request.startswith(b"HEAD ")
        if self._transport is None:
            raise UpstreamClosed("The connection is closed")
        self._seen = self._loop.time()
        self._transport.write(request)
        if self._timer is None:
            limit_s = min(self._timeouts.first_byte_s, self._timeouts.idle_s)
            self._timer = self._loop.call_later(limit_s, self._check)
        try:
            while not self._head_done:
                await self._wait()
        except BaseException:
            self.abort()
            raise
        return Response(self)

    async def next_chunk(self) -> bytes:
        """The next piece of the body, ``b""`` at its end."""
        while not self._body:
            if self.complete:
                return b""
            await self._wait()
        chunk = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body.clear()
        self._buffered = 0
        if self._paused and self._transport is not None:
            self._paused = False
            self._seen = self._loop.time()
            self._transport.resume_reading()
        return chunk

    @property
    def ready(self) -> bool:
        """``next_chunk`` will not wait."""
        return self.complete or bool(self._body)

    @property
    def drained(self) -> bool:
        """``next_chunk`` will give nothing more."""
        return self.complete and not self._body

    def usable(self) -> bool:
        """Taken from the pool: True when another call may be tried on it."""
        fresh = self._loop.time() - self._idle_since < _KEEP_IDLE_S
        self._in_pool = False
        return fresh and self._transport is not None and not self._transport.is_closing()

    def release(self) -> None:
        """The call is over: back to the pool, or closed when it cannot serve another."""
        if self._released:
            return
        self._released = True
        reusable = self.complete and self._reusable and not self._surplus and not self._pool.closed
        if reusable and self._transport is not None and len(self._pool.idle) < self._keep:
            self._body.clear()
            if self._paused:
                self._transport.resume_reading()
            self._idle_since = self._loop.time()
            self._in_pool = True
            self._pool.idle.append(self)
        else:
            self.abort()

    def abort(self) -> None:
        """Close at once, whatever is under way."""
        self._released = True
        self._in_pool = False
        self._stop_timer()
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    async def _wait(self) -> None:
        if self._error is not None:
            raise self._error
        self._waiter = Wake(self._loop)
        try:
            await self._waiter
        finally:
            self._waiter = None
        if self._error is not None and not self._body and not (self._head_done and self.complete):
            raise self._error

    def _wake(self) -> None:
        if self._waiter is not None:
            self._waiter.set()

    def _fail(self, error: UpstreamError) -> None:
        if self._error is None:
            self._error = error
        self._reusable = False
        self._wake()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check(self) -> None:
        """One timer for many calls: late enough means failed, else look again when it could be."""
        self._timer = None
        if self._released:
            return
        limit = self._timeouts.idle_s if self.answered else self._timeouts.first_byte_s
        left = self._seen + limit - self._loop.time()
        if self._paused or self.complete:
            left = limit
        if left <= 0:
            self._fail(UpstreamTimeout("idle" if self.answered else "first byte", limit))
        else:
            self._timer = self._loop.call_later(left, self._check)

    # ── the event loop's side ─────────────────────────────────────────────────────────────────────────
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio's: connected."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are no subclasses, yet have all of it

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio's: the other side is gone."""
        self._stop_timer()
        self._transport = None
        if self._in_pool:
            self._pool.idle.remove(self)
            self._in_pool = False
        if self.complete or self._released:
            return
        is_framed = any(name in _FRAMING for name, _ in self.headers)
        if self._head_done and not is_framed and exc is None:
            self.complete = True  # an answer without length ends with its connection
            self._wake()
        else:
            self._fail(UpstreamClosed(f"The connection ended before the answer did{f': {exc}' if exc else ''}"))

    def data_received(self, data: bytes) -> None:
        """asyncio's: bytes came."""
        self._seen = self._loop.time()
        if self._in_pool:
            self.abort()  # nobody asked: not a connection to trust with the next call
            return
        self.answered = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(UpstreamBroken(f"The answer is not HTTP: {error}"))
            self.abort()
            return
        if self._head_done and not self._was_taken():
            self._wake()
        if self._buffered > _READ_AHEAD_BYTES and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def _was_taken(self) -> bool:
        """Hand a piece on without waking its reader."""
        if self.take is None or self._waiter is None or not self._body or self.complete:
            return False
        if not self.take(self._body[0] if len(self._body) == 1 else b"".join(self._body)):
            return False
        self._body.clear()
        self._buffered = 0
        return True

    def on_message_begin(self) -> None:
        """httptools': an answer begins."""
        if self.complete:
            self._surplus = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """httptools': one header line, or one trailer."""
        if self._head_done:
            return  # a trailer, or an answer that nobody asked for
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """httptools': the head is whole."""
        if self._head_done:
            return
        self.status = self._parser.get_status_code()
        if self.status not in _INFORMATIONAL:
            self._head_done = True
            self.complete = self._bodiless  # the parser would wait for a body, so this connection serves no other

    def on_body(self, body: bytes) -> None:
        """httptools': a piece of the body."""
        if self._surplus:
            return
        self._body.append(body)
        self._buffered += len(body)

    def on_message_complete(self) -> None:
        """httptools': the answer is whole."""
        if not self._head_done:  # 100 Continue, 103 Early Hints: the real answer follows
            self.headers = []
            return
        self.complete = True
        self._reusable = not self._surplus and self._parser.should_keep_alive()
