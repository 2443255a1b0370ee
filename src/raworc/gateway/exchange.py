"""One model call between a client and us: reading it, answering it, noticing that the client has gone."""

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, cast

import msgspec

from raworc.gateway.callers import CallerKind, Refused
from raworc.gateway.spool import Entry
from raworc.ids import new_id
from raworc.wire.anthropic import error_json
from raworc.wire.frames import AnswerHead, CallEnd
from raworc.wire.peer import SCOPE_KEY, Peer

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_WATCH_AFTER_S: Final = 0.05


class ClientGone(Exception):
    """The client closed its connection before its request was whole."""


class Exchange:
    """The ASGI side of one call, its identity and its clock. Times go into the record."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.request_id = new_id()
        self.scope = scope
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.header_list: list[tuple[bytes, bytes]] = list(scope["headers"])
        self.headers = dict(self.header_list)
        self.peer = cast("Peer | None", scope.get(SCOPE_KEY))
        self.receive = receive
        self.send = send
        self.entry: Entry | None = None
        self.first_byte_us: int | None = None
        self.started = False
        self.status = 0
        self.caller: CallerKind = "none"
        self._began_ns = time.perf_counter_ns()
        self.at_us = time.time_ns() // 1000

    @property
    def target(self) -> str:
        """Path and query as they were sent."""
        path: str = (self.scope.get("raw_path") or self.path.encode()).decode("latin-1")
        query: bytes = self.scope["query_string"]
        return f"{path}?{query.decode('latin-1')}" if query else path

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
            ClientGone: the client left.
        """
        if int(self.headers.get(b"content-length", b"0")) > limit_bytes:
            raise _too_large(limit_bytes)
        pieces: list[bytes] = []
        size, more = 0, True
        while more:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            piece: bytes = message.get("body", b"")
            size += len(piece)
            if size > limit_bytes:
                raise _too_large(limit_bytes)
            pieces.append(piece)
            more = message.get("more_body", False)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Send the answer's head."""
        self.started, self.status = True, status
        await self.send({"type": "http.response.start", "status": status, "headers": headers})

    async def piece(self, body: bytes, *, last: bool) -> None:
        """Send a piece of the answer."""
        await self.send({"type": "http.response.body", "body": body, "more_body": not last})

    async def refuse(self, refusal: Refused) -> None:
        """Answer with an error in the provider's shape, and record that answer when the call is recorded."""
        request_id = own_request_id(self.request_id)
        body = msgspec.json.encode(
            error_json(refusal.status, refusal.message, request_id=request_id, kind=refusal.kind)
        )
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            *refusal.headers,
        ]
        if self.entry is not None:
            self.entry.head(AnswerHead(refusal.status, headers, own=True), self.now_us())
            self.entry.chunk(body, self.now_us())
        await self.start(refusal.status, [*headers, *identity(self.request_id)])
        await self.piece(body, last=True)

    def end(self, error_type: str | None = None, error_message: str | None = None) -> None:
        """Close the record, once."""
        if self.entry is not None:
            end = CallEnd(self.elapsed_us(), self.first_byte_us, error_type, error_message)
            self.entry.end(end, self.now_us())


class HangUp:
    """Cancels the current task when its client leaves. ``left`` then tells why.

    It begins to listen only after a moment: most calls are over by then, and listening costs a task.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._call = cast("asyncio.Task[None]", asyncio.current_task())
        self._watch: asyncio.Task[None] | None = None
        self._timer = asyncio.get_running_loop().call_later(_WATCH_AFTER_S, self._listen)
        self._over = False
        self.left = False

    def stop(self) -> None:
        """The answer is sent, or given up: nobody is to be cancelled any more."""
        self._over = True
        self._timer.cancel()
        if self._watch is not None:
            self._watch.cancel()

    def _listen(self) -> None:
        self._watch = asyncio.get_running_loop().create_task(self._wait())

    async def _wait(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if not self._over:
            self.left = True
            self._call.cancel()


def own_request_id(request_id: uuid.UUID) -> str:
    """What ``request-id`` says where no provider gave one."""
    return f"req_{request_id.hex}"


def identity(request_id: uuid.UUID) -> list[tuple[bytes, bytes]]:
    """The headers that name the call."""
    return [
        (b"request-id", own_request_id(request_id).encode()),
        (b"x-raworc-request-id", str(request_id).encode()),
    ]


def _too_large(limit_bytes: int) -> Refused:
    return Refused(413, f"The request is larger than {limit_bytes} bytes")
