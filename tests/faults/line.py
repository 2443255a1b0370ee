"""What lies between an installation and its Postgres: a line that can be cut, or say nothing, and be mended."""

import asyncio
import contextlib
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SOCKET = ".s.PGSQL.5432"
_READ_BYTES = 65_536


class Line:
    """Relays what comes by the socket in ``folder`` to the one in ``target``."""

    def __init__(self, folder: Path, target: Path) -> None:
        self._path = folder / SOCKET
        self._target = target / SOCKET
        self._loop = asyncio.new_event_loop()
        self._passing = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._ends: set[asyncio.StreamWriter] = set()

    def mend(self) -> None:
        """Everything passes: what was held back, and new connections."""
        self._do(self._mend())

    def hush(self) -> None:
        """No connection breaks and new ones are accepted; nothing passes any more."""
        self._do(self._hush())

    def cut(self) -> None:
        """Every connection breaks and new ones are refused."""
        self._do(self._cut())

    async def _mend(self) -> None:
        self._passing.set()
        if self._server is None:
            self._server = await asyncio.start_unix_server(self._relay, self._path)

    async def _hush(self) -> None:
        self._passing.clear()

    async def _cut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._path.unlink()
            self._server = None
        for end in list(self._ends):
            end.transport.abort()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._passing.wait()
        with contextlib.suppress(OSError):
            far_reader, far_writer = await asyncio.open_unix_connection(self._target)
            await asyncio.gather(self._one_way(reader, far_writer), self._one_way(far_reader, writer))
        writer.close()

    async def _one_way(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._ends.add(writer)
        try:
            while data := await reader.read(_READ_BYTES):
                await self._passing.wait()
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            self._ends.discard(writer)
            writer.close()

    def _do(self, doing: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(doing, self._loop).result(10)


@contextmanager
def line(folder: Path, target: Path) -> Iterator[Line]:
    """A whole line, in a thread of its own, until the block ends."""
    laid = Line(folder, target)
    thread = threading.Thread(target=laid._loop.run_forever, name="line", daemon=True)
    thread.start()
    laid.mend()
    try:
        yield laid
    finally:
        laid.cut()
        laid._loop.call_soon_threadsafe(laid._loop.stop)
        thread.join(10)
