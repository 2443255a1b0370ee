"""One model call between a client and us: reading it, answering it, noticing that the client has gone."""

import asyncio
import time
import uuid
from collections.abc import Container, Sequence

import msgspec

from raworc.domain.wires import Wire, wire_of
from raworc.gateway.callers import CallerKind, Refused
from raworc.gateway.spool import Entry
from raworc.wire.encoding import decoded
from raworc.wire.errors import ID_HEADERS, error_on, status_on
from raworc.wire.frames import AnswerHead, Attempt, CallEnd
from raworc.wire.peer import Line, TooLarge


class Exchange:
    """One call with its identity and its clock, whose times go into the record."""

    entry: Entry | None = None
    moved_to: str | None = None
    attempts: Sequence[Attempt] = ()
    first_byte_us: int | None = None
    started = False
    status = 0
    caller: CallerKind = "none"

    def __init__(self, line: Line, request_id: uuid.UUID) -> None:
        self.request_id = request_id
        self.line = line
        self.method = line.method
        self.path = line.path
        self.headers = line.named
        self.wire: Wire = wire_of(self.path, self.headers)
        self._began_ns = time.perf_counter_ns()
        self.at_us = time.time_ns() // 1000

    def elapsed_us(self) -> int:
        """Since the request's head came."""
        return (time.perf_counter_ns() - self._began_ns) // 1000

    def now_us(self) -> int:
        """The time for a record: monotonic within the call."""
        return self.at_us + self.elapsed_us()

    async def body(self, limit_bytes: int) -> bytes:
        """The request's body.

        Raises:
            Refused: it is longer than ``limit_bytes``; as soon as that is known.
            Left: it will never be whole.
        """
        announced = self.headers.get(b"content-length", b"")
        if announced.isdigit() and int(announced) > limit_bytes:
            raise _too_large(limit_bytes)
        try:
            return await self.line.body(limit_bytes)
        except TooLarge:
            raise _too_large(limit_bytes) from None

    async def readable(self, body: bytes) -> bytes:
        """The body as it was meant, for those who have to look into it. Beside the event loop: it may be large."""
        return await asyncio.to_thread(decoded, body, self.headers[b"content-encoding"].decode("latin-1"))

    @property
    def is_encoded(self) -> bool:
        """Whether the request's body has to be made readable first."""
        return bool(self.headers.get(b"content-encoding"))

    def start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Send the answer's head."""
        self.started, self.status = True, status
        self.line.start(status, headers)

    def answer(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes, *, at_once: bool) -> None:
        """Send all of the answer; see ``Line``."""
        self.started, self.status = True, status
        self.line.answer(status, headers, body, at_once=at_once)

    async def piece(self, body: bytes, *, last: bool) -> None:
        """Send a piece of the answer once its client keeps up."""
        if not self.line.keeps_up:
            await self.line.writable()
        self.line.piece(body, last=last)

    async def refuse(self, refusal: Refused) -> None:
        """Answer with an error in the shape of the call's wire, and record that answer when the call is recorded."""
        request_id = own_request_id(self.request_id)
        status = status_on(self.wire, refusal.status)
        body = msgspec.json.encode(
            error_on(self.wire, status, refusal.message, request_id=request_id, kind=refusal.kind)
        )
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            *refusal.headers,
        ]
        if self.entry is not None:
            self.entry.head(AnswerHead(status, headers, own=True), self.now_us())
            self.entry.chunk(body, self.now_us())
            await self.entry.synced()
        self.start(status, [*headers, *identity(self.request_id, self.wire)])
        await self.piece(body, last=True)

    def last(self, entry: Entry, body: bytes, elapsed_us: int) -> bool:
        """Record the last piece of a whole answer, and with it that the call is over, before it is sent.

        False: it is recorded at the end of this turn of the event loop, and must not be sent before.
        """
        soon = not self.started  # else what leaves at the end of this turn may do so first
        return entry.last(body, self._over(elapsed_us), self.at_us + elapsed_us, soon=soon)

    def end(self, error_type: str | None = None, error_message: str | None = None) -> None:
        """Close the record, once."""
        if self.entry is not None and not self.entry.ended:
            self.entry.end(self._over(self.elapsed_us(), error_type, error_message), self.now_us())

    def _over(self, elapsed_us: int, error_type: str | None = None, error_message: str | None = None) -> CallEnd:
        end = CallEnd(elapsed_us, self.first_byte_us, error_type, error_message, account_id=self.moved_to)
        if self.attempts:
            end.attempts = [*self.attempts]
        return end


class HangUp:
    """Cancels the current task when its client leaves. ``left`` then tells why."""

    def __init__(self, line: Line) -> None:
        self._call = line.call
        self._over = False
        self.left = False
        line.on_left = self._leave
        if line.disconnected:
            asyncio.get_running_loop().call_soon(self._leave)

    def stop(self) -> None:
        """The answer is sent, or given up: nobody is to be cancelled any more."""
        self._over = True

    def _leave(self) -> None:
        if not self._over:
            self.left = True
            self._call.cancel()


def own_request_id(request_id: uuid.UUID) -> str:
    """What the wire's request id says where no provider gave one."""
    return f"req_{request_id.hex}"


def id_text(request_id: uuid.UUID) -> bytes:
    """As UUIDs are written."""
    return msgspec.json.encode(request_id)[1:-1]  # a third of what ``str`` costs


def identity(request_id: uuid.UUID, wire: Wire, given: Container[bytes] = ()) -> list[tuple[bytes, bytes]]:
    """The headers that name the call, the first where the wire's clients look for it, unless it is ``given``."""
    own = (b"x-raworc-request-id", id_text(request_id))
    name = ID_HEADERS[wire]
    return [own] if name in given else [(name, own_request_id(request_id).encode()), own]


def _too_large(limit_bytes: int) -> Refused:
    return Refused(413, f"The request is larger than {limit_bytes} bytes")
