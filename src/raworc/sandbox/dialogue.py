"""A command that is talked to while it runs: bytes to its standard input, bytes from its output."""

import asyncio
import socket
from collections.abc import AsyncGenerator, Awaitable
from contextlib import aclosing, asynccontextmanager

from raworc.sandbox.commands import RunningCommand
from raworc.sandbox.driver import Exit, Output


class Talk:
    """``Dialogue`` of the driver contract."""

    def __init__(self, events: AsyncGenerator[Output | Exit], writer: asyncio.StreamWriter) -> None:
        self._events = events
        self._writer = writer

    async def send(self, data: bytes) -> None:
        """Give it bytes to read; see the contract."""
        try:
            self._writer.write(data)
            await self._writer.drain()
        except OSError:
            return  # it reads no more: its output will say that it has ended

    async def receive(self) -> bytes:
        """The next bytes of its output; see the contract."""
        async for event in self._events:
            if isinstance(event, Output):
                return event.data
        return b""


@asynccontextmanager
async def talking(made: Awaitable[RunningCommand]) -> AsyncGenerator[Talk]:
    """Start the command; stop it at the end of the block."""
    running = await made
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with far:
        near.shutdown(socket.SHUT_RD)  # the other end is for reading only
        running.hears(far)
        _, writer = await asyncio.open_unix_connection(sock=near)
        try:
            async with aclosing(running.events()) as events:
                yield Talk(events, writer)
        finally:
            writer.close()
