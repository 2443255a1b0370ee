"""Keeping a stream's client on the line while its provider thinks: whatever lies between would take it for dead.

What is sent then is the wire's own way to say nothing, never within an event. It is no part of the record, which holds
what the provider said.
"""

import asyncio

from raworc.wire.ending import StreamEnd
from raworc.wire.peer import Line

SILENCE_S = 55.0  # many proxies end a connection that brings nothing for a minute


class KeepAlive:
    """Watches one stream from its first look on, until it is stopped."""

    def __init__(self, line: Line, events: StreamEnd) -> None:
        self._line = line
        self._events = events
        self._loop = asyncio.get_running_loop()
        self._last_s = self._loop.time()
        self._timer = self._loop.call_later(SILENCE_S, self._look)

    def heard(self) -> None:
        """The provider said something."""
        self._last_s = self._loop.time()

    def stop(self) -> None:
        """The stream is over, or nobody wants it."""
        self._timer.cancel()

    def _look(self) -> None:
        silent_s = self._loop.time() - self._last_s
        if silent_s >= SILENCE_S:
            ping = self._events.ping
            if ping is not None and self._line.may_stream:
                self._line.stream(ping)
            self._last_s, silent_s = self._loop.time(), 0.0
        self._timer = self._loop.call_later(SILENCE_S - silent_s, self._look)
