"""Server-sent events: stored events carry their sequence as ``id``, running text carries none."""

from collections.abc import AsyncIterator
from typing import Final, Self, cast

import anyio
import structlog
from anyio.abc import TaskGroup
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from raworc.api import exchange
from raworc.api.connection import cancel_when_gone
from raworc.api.render import encode
from raworc.errors import BadRequest, FieldError, RaworcError
from raworc.services.events import Event
from raworc.wire.peer import SCOPE_KEY, Peer

_PING: Final = b": ping\n\n"
_MAX_SEQUENCE_DIGITS: Final = 18
_SEPARATORS: Final = tuple((char.encode(), rb"\u%04x" % ord(char)) for char in "\u0085\u2028\u2029")

log = structlog.get_logger()


class EventStream(Response):
    """A stream that ends with its events, when the reader goes, or when the server stops.

    A reader that stops reading is cut off by the edge's write deadline; nothing is buffered here.
    """

    media_type = "text/event-stream"

    def __init__(self, first: Event, events: AsyncIterator[Event]) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._first = first
        self._events = events

    @classmethod
    async def open(cls, events: AsyncIterator[Event]) -> Self:
        """A stream whose first event is there: what forbids it has been raised by then."""
        return cls(await anext(events), events)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until an end is reached."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        peer = cast("Peer | None", scope.get(SCOPE_KEY))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._send_all, tasks, scope, send)
            tasks.start_soon(cancel_when_gone, tasks, receive)
            if peer is not None:
                tasks.start_soon(_until_closing, tasks, peer)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_all(self, tasks: TaskGroup, scope: Scope, send: Send) -> None:
        await _send_event(send, self._first)
        try:
            async for event in self._events:
                await _send_event(send, event)
        except RaworcError as error:  # the reader comes back behind its last event and is told then
            log.info("stream ended early", request_id=exchange.of(scope).request_id, reason=error.code)
        tasks.cancel_scope.cancel()


def render(event: Event) -> bytes:
    """One event in the wire format."""
    if event.name == "ping":
        return _PING
    head = b"" if event.id is None else b"id: %d\n" % event.id
    return b"%sevent: %s\ndata: %s\n\n" % (head, event.name.encode("ascii"), _one_line(encode(event.data)))


def last_event_id(header: str | None) -> int | None:
    """The sequence behind which a stream resumes; None where there is none.

    Raises:
        BadRequest: it is none of ours.
    """
    if not header:
        return None
    if not (header.isascii() and header.isdecimal() and len(header) <= _MAX_SEQUENCE_DIGITS):
        detail = FieldError("Last-Event-ID", "must be the id of an event of this stream")
        raise BadRequest(f"'{detail.field}': {detail.message}", details=(detail,))
    return int(header)


def _one_line(data: bytes) -> bytes:
    """JSON without the characters that some readers, though not the standard, take for the end of a line."""
    for separator, escaped in _SEPARATORS:
        data = data.replace(separator, escaped)
    return data


async def _send_event(send: Send, event: Event) -> None:
    await send({"type": "http.response.body", "body": render(event), "more_body": True})


async def _until_closing(tasks: TaskGroup, peer: Peer) -> None:
    await peer.closing.wait()
    tasks.cancel_scope.cancel()
