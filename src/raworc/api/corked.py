"""A connection's writing side that gathers what is written in one turn of the event loop.

An answer's head, its body and the frame around it leave in one packet and one system call.
"""

import asyncio
from typing import Any


class Corked:
    """A transport, of which it has what uvicorn's protocol uses."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held: list[bytes] = []
        self._is_hung_up = False
        self.abort = transport.abort
        self.get_extra_info = transport.get_extra_info
        self.pause_reading = transport.pause_reading
        self.resume_reading = transport.resume_reading

    def write(self, data: bytes) -> None:
        """Send it once this turn is over."""
        if not self._held:
            self._loop.call_soon(self._flush)
        self._held.append(data)

    def write_now(self, data: bytes) -> None:
        """Send it at once, after what was written before."""
        if self._held:
            self._held.append(data)
            self._flush()
        elif not self.is_closing():
            self._transport.write(data)

    def is_closing(self) -> bool:
        """Whether what is written now goes nowhere."""
        return self._is_hung_up or self._transport.is_closing()

    def close(self) -> None:
        """Send what was written, then close."""
        self._flush()
        self._transport.close()

    def hang_up(self, linger_s: float) -> None:
        """Send what was written and its end, and let the peer finish: close once he does, or after ``linger_s``.

        Closed while he still sends, the kernel would answer with a reset, and he may lose what was written.
        """
        self._flush()
        if self.is_closing():
            return
        self._is_hung_up = True
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._transport.resume_reading()
        self._loop.call_later(linger_s, self._transport.close)

    def set_protocol(self, protocol: Any) -> None:  # noqa: ANN401  asyncio's own word for it
        """As the transport's."""
        self._transport.set_protocol(protocol)

    def _flush(self) -> None:
        held, self._held = self._held, []
        if held and not self.is_closing():
            self._transport.write(held[0] if len(held) == 1 else b"".join(held))
