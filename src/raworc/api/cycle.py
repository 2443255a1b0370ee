"""A model call on its connection: its request and its answer, without ASGI's messages in between.

It stands where uvicorn's protocol has a ``RequestResponseCycle``, and is the gateway's ``wire.peer.Line``.
"""

import asyncio
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol
from urllib.parse import unquote

import httptools
import structlog
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from raworc.api.corked import Corked
from raworc.errors import RaworcError
from raworc.logs import frames
from raworc.wire.eager import EagerTask, Wake
from raworc.wire.heading import Header, Heading
from raworc.wire.peer import Left, Line, Peer, TooLarge

Target = tuple[str, str, bytes]
"""The path, decoded; the path as it came, with the query; the query."""

FEW_TASKS: Final = 4
"""With more, calls that come in one turn of the event loop go on together in the next: so do then their answers."""
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_INTERNAL: Final = b"Internal Server Error"
_BODILESS: Final = frozenset({204, 304})
log = structlog.get_logger()


class Calls(Protocol):
    """Who serves model calls; see ``gateway.app``."""

    async def serve(self, line: Line, /) -> None:
        """Answer one."""
        ...


@dataclass(slots=True)
class Way:
    """What calls of one connection have in common. ``answered`` is called whenever one of them is.

    ``tasks``: all that serve requests; a call's own leaves them at its end.
    """

    transport: Corked
    flow: FlowControl
    loop: asyncio.AbstractEventLoop
    tasks: set[EagerTask]
    answered: Callable[[], None]
    heading: Heading | None = None  # the last call's

    def heading_of(self, headers: list[Header]) -> Heading:
        """That of the call before where it is the same."""
        heading = self.heading
        if heading is None or not heading.fits(headers):
            heading = self.heading = Heading(headers)
        return heading


class CallCycle:
    """One model call. The connection's protocol sets what becomes of it: ``more_body``, ``disconnected``, ``refusal``.

    ``every_answer``: headers that each has.
    """

    disconnected = False
    refusal: RaworcError | None = None
    on_left: Callable[[], None] | None = None
    keep_alive = True
    more_body = True
    response_started = False
    response_complete = False
    _size = 0
    _waiter: Wake | None = None
    _left_bytes: int | None = None  # None: the answer comes in chunks

    def __init__(
        self, way: Way, method: str, target: Target, headers: list[Header], every_answer: list[Header]
    ) -> None:
        self.method = method
        self.path, self.target, self.query = target
        self.headers = headers
        self.heading = way.heading_of(headers)
        self.named = dict(headers)
        self.peer: Peer
        self.call: EagerTask
        self.expects_continue = self.named.get(b"expect", b"").lower() == b"100-continue"
        self._way = way
        self._transport = way.transport
        self._every_answer = every_answer
        self._pieces: list[bytes] = []

    # ── what the protocol calls ──────────────────────────────────────────────────────────────────────
    async def run_asgi(self, calls: Calls) -> None:
        """Have ``calls`` serve it; whatever goes wrong in that ends here."""
        try:
            await calls.serve(self)
        except Exception as error:  # noqa: BLE001  one call's defect must not reach another one
            log.error("model call failed", error=type(error).__name__, at=frames(error))  # noqa: TRY400  as in app.py
        finally:
            self._way.tasks.discard(self.call)
            self._end()

    def take(self, piece: bytes) -> None:
        """A piece of the request's body."""
        self._pieces.append(piece)
        self._size += len(piece)
        if self._size > HIGH_WATER_LIMIT and self._waiter is None:
            self._way.flow.pause_reading()
        self.set()

    @property
    def message_event(self) -> "CallCycle":
        """What uvicorn's protocol calls ``set`` of."""
        return self

    def set(self) -> None:
        """Something came, or will not come any more."""
        if self._waiter is not None:
            self._way.loop.call_soon(self._waiter.set)  # not while the connection's bytes are parsed

    def leave(self, refusal: RaworcError | None) -> None:
        """The client is gone, or cut off."""
        self.disconnected = True
        self.refusal = self.refusal or refusal
        self.set()
        on_left, self.on_left = self.on_left, None
        if on_left is not None:
            on_left()

    # ── what the gateway calls: see ``Line`` ─────────────────────────────────────────────────────────
    async def body(self, limit_bytes: int) -> bytes:
        """See ``Line``."""
        if self.expects_continue and not self._transport.is_closing():
            self.expects_continue = False
            self._transport.write(_CONTINUE)
        while self.more_body and not self.disconnected and self._size <= limit_bytes:
            self._waiter = Wake(self._way.loop)
            self._way.flow.resume_reading()
            await self._waiter
        self._waiter = None
        if self.disconnected:
            raise Left
        pieces, self._pieces = self._pieces, []
        if self._size > limit_bytes:
            raise TooLarge
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def start(self, status: int, headers: Sequence[Header]) -> None:
        """See ``Line``."""
        head = self._head(status, headers)
        if not self.disconnected:
            self._transport.write(head)

    def answer(self, status: int, headers: Sequence[Header], body: bytes, *, at_once: bool) -> None:
        """See ``Line``."""
        head = self._head(status, headers)
        if self.disconnected:
            return
        write = self._transport.write_now if at_once else self._transport.write
        write(head + self._framed(body, last=True))
        self._complete()

    def _head(self, status: int, headers: Sequence[Header]) -> bytes:
        self.response_started = True
        self.expects_continue = False
        first = STATUS_LINE.get(status) or b"HTTP/1.1 %d \r\n" % status
        lines = [b": ".join(header) for header in (*self._every_answer, *headers)]
        length = dict(headers).get(b"content-length")
        if self.method == "HEAD" or status in _BODILESS:
            self._left_bytes = 0
        elif length is not None:
            self._left_bytes = int(length)
        else:
            lines.append(b"transfer-encoding: chunked")
        if not self.keep_alive:
            lines.append(b"connection: close")
        return first + b"\r\n".join([*lines, b"", b""])

    def piece(self, data: bytes, *, last: bool) -> None:
        """See ``Line``."""
        if self.disconnected:
            return
        self._transport.write(self._framed(data, last=last))
        if last:
            self._complete()

    def _framed(self, data: bytes, *, last: bool) -> bytes:
        if self._left_bytes is None:
            return b"%b%b" % (_chunk(data) if data else b"", b"0\r\n\r\n" if last else b"")
        data = data[: self._left_bytes]  # none, where there is no body: whatever is behind it is not the client's
        self._left_bytes -= len(data)
        return data

    @property
    def keeps_up(self) -> bool:
        """See ``Line``."""
        return not self._way.flow.write_paused or self.disconnected

    async def writable(self) -> None:
        """See ``Line``."""
        if not self.keeps_up:
            await self._way.flow.drain()

    @property
    def may_stream(self) -> bool:
        """See ``Line``."""
        is_sending = self.response_started and self._left_bytes is None and not self.response_complete
        return is_sending and not self.disconnected and not self._way.flow.write_paused

    def stream(self, piece: bytes) -> None:
        """See ``Line``."""
        self._transport.write_now(_chunk(piece))

    def _complete(self) -> None:
        self.response_complete = True
        if not self.keep_alive or self._left_bytes:
            self._transport.close()
        self._way.answered()

    def _end(self) -> None:
        """Whoever served it is done. An answer that is not whole cannot be told from one that is but by the end."""
        if self.response_complete or self.disconnected:
            return
        if self.response_started:
            self._transport.close()
            return
        self.keep_alive = False
        self.start(500, [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(_INTERNAL))])
        self.piece(_INTERNAL, last=True)


@functools.lru_cache(maxsize=256)
def target_of(url: bytes) -> Target:
    """What a request asks for. Raises ``httptools.HttpParserInvalidURLError``."""
    parsed = httptools.parse_url(url)
    raw_path, query = parsed.path.decode("ascii"), parsed.query or b""
    target = f"{raw_path}?{query.decode('latin-1')}" if query else raw_path
    return unquote(raw_path) if "%" in raw_path else raw_path, target, query


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)
