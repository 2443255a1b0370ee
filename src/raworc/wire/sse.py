"""Server-sent events, read from bytes as they come (the WHATWG rules). No I/O.

Every line ending (LF, CR, CRLF) counts, wherever a chunk is cut; comments, ``id`` and ``retry`` are skipped. An
event without its closing blank line was never sent and is never reported.
"""

import msgspec

MAX_EVENT_BYTES = 64 * 1024 * 1024
_BOM = b"\xef\xbb\xbf"


class EventTooLong(ValueError):
    """One event grew past ``MAX_EVENT_BYTES``: the stream is broken or hostile."""


class SSEEvent(msgspec.Struct, frozen=True, gc=False):
    """One event: its name (``message`` when the stream gave none) and its data lines joined by newlines."""

    event: str
    data: str


class SSEDecoder:
    """Collects bytes into events. One decoder per stream."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []  # of the line that has not ended yet
        self._size = 0
        self._event = b""
        self._data: list[bytes] = []
        self._after_cr = False
        self._at_start = True

    def feed(self, chunk: bytes) -> list[SSEEvent]:
        """The events that ``chunk`` completes, in order.

        Raises:
            EventTooLong: an event grew past ``MAX_EVENT_BYTES``.
        """
        if b"\r" in chunk or self._after_cr:
            chunk = self._without_cr(chunk)
        self._size += len(chunk)
        lines = chunk.split(b"\n")
        self._pieces.append(lines[0])
        events: list[SSEEvent] = []
        for following in lines[1:]:
            line = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
            self._pieces = [following]
            event = self._line(line)
            if event is not None:
                events.append(event)
                self._size = len(following)
        if self._size > MAX_EVENT_BYTES:
            raise EventTooLong(f"An event is longer than {MAX_EVENT_BYTES} bytes")
        return events

    def _without_cr(self, chunk: bytes) -> bytes:
        """The chunk with every line ending as LF; a CRLF cut in two counts once."""
        if self._after_cr and chunk:
            self._after_cr = False
            chunk = chunk.removeprefix(b"\n")
        if chunk.endswith(b"\r"):
            self._after_cr = True
        return chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _line(self, line: bytes) -> SSEEvent | None:
        if self._at_start:
            self._at_start = False
            line = line.removeprefix(_BOM)
        if not line:
            return self._dispatch()
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
        elif name == b"event":
            self._event = value
        return None

    def _dispatch(self) -> SSEEvent | None:
        event, data = self._event, self._data
        self._event, self._data = b"", []
        if not data:
            return None
        text = (data[0] if len(data) == 1 else b"\n".join(data)).decode("utf-8", "replace")
        return SSEEvent(event.decode("utf-8", "replace") or "message", text)
