"""The gateway as an ASGI application, for what stands around it in tests and reads or changes messages."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import cast

from starlette.types import ASGIApp, Receive, Scope, Send

from raworc.api.cycle import Calls
from raworc.errors import RaworcError
from raworc.wire.eager import EagerTask
from raworc.wire.heading import Heading
from raworc.wire.peer import SCOPE_KEY, Left, Peer, TooLarge


def in_messages(calls: Calls) -> ASGIApp:
    async def served(scope: Scope, receive: Receive, send: Send) -> None:
        line = MessageLine(scope, receive)
        sending = asyncio.create_task(line.send(send))
        try:
            await calls.serve(line)
        finally:
            await line.close()
            await sending

    return served


class MessageLine:
    """A ``wire.peer.Line`` over messages."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.query: bytes = scope["query_string"]
        self.target = scope["raw_path"].decode() + (f"?{self.query.decode('latin-1')}" if self.query else "")
        self.headers: list[tuple[bytes, bytes]] = list(scope["headers"])
        self.named = dict(self.headers)
        self.heading = Heading(self.headers)
        self.peer: Peer = scope[SCOPE_KEY]
        self.call = cast("EagerTask", asyncio.current_task())  # which has what a call's has
        self.disconnected = False
        self.refusal: RaworcError | None = None
        self.on_left: Callable[[], None] | None = None
        self._receive = receive
        self._waiting: asyncio.Queue[dict[str, object] | None] = asyncio.Queue()
        self._listening: asyncio.Task[None] | None = None

    async def body(self, limit_bytes: int) -> bytes:
        body, more = b"", True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise Left
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > limit_bytes:
                raise TooLarge
        self._listening = asyncio.create_task(self._listen())
        return body

    def start(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        self._waiting.put_nowait({"type": "http.response.start", "status": status, "headers": list(headers)})

    def piece(self, data: bytes, *, last: bool) -> None:
        self._waiting.put_nowait({"type": "http.response.body", "body": data, "more_body": not last})

    def answer(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes, *, at_once: bool) -> None:
        assert at_once in {True, False}  # whatever is sent here leaves later
        self.start(status, headers)
        self.piece(body, last=True)

    @property
    def keeps_up(self) -> bool:
        return True

    async def writable(self) -> None:
        raise AssertionError

    @property
    def may_stream(self) -> bool:
        return False

    def stream(self, piece: bytes) -> None:
        raise AssertionError(piece)

    async def send(self, send: Send) -> None:
        while (message := await self._waiting.get()) is not None:
            await send(message)

    async def close(self) -> None:
        self._waiting.put_nowait(None)
        if self._listening is not None:
            self._listening.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._listening

    async def _listen(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.disconnected = True
        if self.on_left is not None:
            self.on_left()
