"""How an event stream of each wire ends, and what its client is told when it is cut off, or pauses. No I/O, no parsing.

A stream is looked at as it goes by: only where its newest event begins, and where its last bytes end.
"""

import re
from collections.abc import Callable
from typing import Final

import msgspec

from raworc.domain.wires import Wire
from raworc.wire.anthropic import error_json
from raworc.wire.errors import openai_error

_CUT: Final = 502
_TAIL_BYTES: Final = 256
_PINGS: Final = {
    "messages": b'event: ping\ndata: {"type": "ping"}\n\n',  # as the provider sends them
    "responses": b": ping\n\n",
    "chat": b": ping\n\n",
}
_EVENT_ENDS: Final = (b"\n\n", b"\r\n\r\n", b"\r\r")
_NUMBER: Final = re.compile(rb'"sequence_number": ?(\d{1,15})')
_LINES: Final = {"messages": b"event:", "responses": b"event:", "chat": b"data:"}
_LAST: Final = {
    "messages": re.compile(rb"event: ?(message_stop|error)[\r\n]"),
    "responses": re.compile(rb"event: ?(response\.(completed|failed|incomplete)|error)[\r\n]"),
    "chat": re.compile(rb'data: ?(\[DONE\]|\{"error")'),
}


class StreamEnd:
    """Watches one stream of events. ``path`` is the call's, without its query."""

    def __init__(self, wire: Wire, path: str) -> None:
        responses = path == "/v1/responses" or path.startswith("/v1/responses/")
        self._style = "messages" if wire == "anthropic" else "responses" if responses else "chat"
        self._line, self._last = _LINES[self._style], _LAST[self._style]
        self._tail = b"\n"
        self._ending = False
        self._number = -1

    def feed(self, chunk: bytes) -> None:
        """The next bytes of the stream."""
        window = self._tail + chunk
        at = _newest(window, self._line)
        if at >= 0:
            self._ending = self._last.match(window, at) is not None
        if self._style == "responses":
            self._count(window)
        self._tail = window[-_TAIL_BYTES:]

    @property
    def over(self) -> bool:
        """True once the wire's last event has come, all of it: nothing that matters can be missing."""
        return self._ending and self._tail.endswith(_EVENT_ENDS)

    @property
    def ping(self) -> bytes | None:
        """What says nothing and may be sent now; None within an event, and after the last one."""
        between = self._tail == b"\n" or self._tail.endswith(_EVENT_ENDS)
        return _PINGS[self._style] if between and not self._ending else None

    def cut(self, message: str) -> bytes:
        """The wire's own event for an error, after whatever half event stands before it."""
        gap = b"" if self._tail == b"\n" or self._tail.endswith(_EVENT_ENDS) else b"\n\n"
        return gap + _CUT_EVENTS[self._style](message, self._number + 1)

    def _count(self, window: bytes) -> None:
        at = window.rfind(b'"sequence_number":')
        found = _NUMBER.match(window, at) if at >= 0 else None
        if found is not None:
            self._number = int(found[1])


def _newest(window: bytes, line: bytes) -> int:
    """Where the newest line that begins like this does, -1 when none does."""
    at = window.rfind(line)
    while at > 0 and window[at - 1] not in b"\r\n":
        at = window.rfind(line, 0, at)
    return at if at > 0 else -1


def _message_cut(message: str, _number: int) -> bytes:
    return b"event: error\ndata: %b\n\n" % msgspec.json.encode(error_json(_CUT, message))


def _chat_cut(message: str, _number: int) -> bytes:
    return b"data: %b\n\n" % msgspec.json.encode({"error": openai_error(_CUT, message)})


def _response_cut(message: str, number: int) -> bytes:
    error = openai_error(_CUT, message)
    told = {key: error[key] for key in ("code", "message", "param")}  # as documented; "error" is what SDKs raise
    event = {"type": "error", **told, "error": error, "sequence_number": number}
    return b"event: error\ndata: %b\n\n" % msgspec.json.encode(event)


_CUT_EVENTS: Final[dict[str, Callable[[str, int], bytes]]] = {
    "messages": _message_cut,
    "chat": _chat_cut,
    "responses": _response_cut,
}
