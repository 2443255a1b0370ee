"""Bytes sent while they are read: a slow reader holds one piece in memory, not the whole."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import TypeVar

import anyio
import structlog
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from raworc.api import exchange
from raworc.api.connection import cancel_when_gone
from raworc.api.problems import JSON
from raworc.api.render import encode
from raworc.errors import RaworcError
from raworc.sandbox.driver import FileError
from raworc.services.files import Download

log = structlog.get_logger()

T = TypeVar("T")


class BytesResponse(Response):
    """A download. What breaks in its middle breaks the connection, so that no reader takes a part for the whole."""

    def __init__(self, download: Download, headers: Mapping[str, str]) -> None:
        super().__init__(headers=headers)
        del self.headers["content-length"]
        if download.size_bytes is not None:
            self.headers["content-length"] = str(download.size_bytes)
        self._download = download

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the end, or until the reader is gone."""
        is_whole = False
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async with aclosing(self._download.pieces), anyio.create_task_group() as tasks:
            tasks.start_soon(cancel_when_gone, tasks, receive)
            is_whole = await self._send_all(scope, send)
            tasks.cancel_scope.cancel()
        if is_whole:
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_all(self, scope: Scope, send: Send) -> bool:
        left = self._download.size_bytes
        try:
            async for piece in self._download.pieces:
                if piece:
                    left = None if left is None else left - len(piece)
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
        except (FileError, OSError, RaworcError) as error:
            log.info("download broke", request_id=exchange.of(scope).request_id, reason=type(error).__name__)
            return False
        return not left


async def list_response(pages: AsyncGenerator[Sequence[T]], shown: Callable[[T], object]) -> Response:
    """A JSON list of any length, of pages that are read while it is sent: the first one before anything is answered."""
    first = await anext(pages, None) or ()  # as a default, an empty tuple breaks in CPython 3.11
    return BytesResponse(Download(None, _listed(first, pages, shown)), {"Content-Type": JSON})


async def _listed(
    first: Sequence[T], pages: AsyncGenerator[Sequence[T]], shown: Callable[[T], object]
) -> AsyncGenerator[bytes]:
    yield encode([shown(item) for item in first])[:-1]
    async with aclosing(pages):
        async for page in pages:
            yield b"".join(b"," + encode(shown(item)) for item in page)
    yield b"]"
