"""Passing one call on to its provider and the answer back, byte for byte, recorded on the way.

Each piece is written to the spool before it is sent on. A slow client slows the provider. A client that hangs up
ends the provider's call; a provider that breaks off mid-stream is told to the client by the wire's error event.
"""

import asyncio
from typing import Final

import msgspec

from raworc.domain.redaction import without_credentials
from raworc.gateway.callers import Refused
from raworc.gateway.exchange import Exchange, HangUp, identity
from raworc.gateway.spool import Entry
from raworc.gateway.upstreams import Answer, Call, Upstream, connection_names
from raworc.wire.anthropic import error_json
from raworc.wire.client import (
    ConnectFailed,
    UpstreamBroken,
    UpstreamClosed,
    UpstreamError,
    UpstreamTimeout,
)
from raworc.wire.frames import AnswerHead

CLIENT_DISCONNECTED: Final = "client_disconnected"
SERVER_STOPPED: Final = "server_stopped"
_FAILURES: Final[dict[type[UpstreamError], tuple[int, str, str]]] = {
    ConnectFailed: (502, "upstream_unreachable", "The provider cannot be reached"),
    UpstreamTimeout: (504, "upstream_timeout", "The provider did not answer in time"),
    UpstreamClosed: (502, "upstream_disconnected", "The provider closed the connection before its answer ended"),
    UpstreamBroken: (502, "upstream_broken", "The provider's answer is not HTTP"),
}
_NOT_PASSED: Final = frozenset(  # this hop's own; and the date, which our server writes
    b"connection keep-alive proxy-authenticate proxy-connection te trailer transfer-encoding upgrade date".split()
)
_TAIL_BYTES: Final = 256
_EVENT_ENDS: Final = (b"\n\n", b"\r\n\r\n", b"\r\r")
_TERMINAL: Final = (b"event: message_stop", b"event: error")


class Relay:
    """Serves one call whose record has begun."""

    def __init__(self, exchange: Exchange, entry: Entry, upstream: Upstream) -> None:
        self._exchange = exchange
        self._entry = entry
        self._upstream = upstream
        self._streams_events = False
        self._tail = b""

    async def run(self, call: Call) -> None:
        """From the provider's head to the end of the record. Never raises for what either side does."""
        hang_up = HangUp(self._exchange.receive)
        try:
            answer = await self._upstream.open(call)
            try:
                await self._pass_on(answer)
            finally:
                await answer.close()
        except UpstreamError as error:
            hang_up.stop()
            await self._failed(error)
        except asyncio.CancelledError:
            hang_up.stop()
            self._exchange.end(CLIENT_DISCONNECTED if hang_up.left else SERVER_STOPPED)
            if not hang_up.left:
                raise
            asyncio.current_task().uncancel()  # pyright: ignore[reportOptionalMemberAccess]
        else:
            hang_up.stop()
            self._exchange.end()
        finally:
            self._exchange.end("internal_error")  # only if nothing above did: no record stays open

    async def _pass_on(self, answer: Answer) -> None:
        exchange, entry = self._exchange, self._entry
        headers = _passed_back(answer.headers)
        self._streams_events = _is_plain_event_stream(headers)
        entry.head(AnswerHead(answer.status, without_credentials(headers)), exchange.now_us())
        headers = _named(headers, exchange)
        if not answer.ready:
            entry.flush()
            await exchange.start(answer.status, headers)
        last = False
        async for chunk in answer.chunks():
            if exchange.first_byte_us is None:
                exchange.first_byte_us = exchange.elapsed_us()
            entry.chunk(chunk, exchange.now_us())
            self._tail = (self._tail + chunk)[-_TAIL_BYTES:] if len(chunk) < _TAIL_BYTES else chunk[-_TAIL_BYTES:]
            last = answer.whole
            await self._send(answer.status, headers, chunk, last=last)
        if not last:
            entry.flush()
            await self._send(answer.status, headers, b"", last=True)

    async def _send(self, status: int, headers: list[tuple[bytes, bytes]], chunk: bytes, *, last: bool) -> None:
        if not self._exchange.started:
            await self._exchange.start(status, headers)
        if last:
            await self._entry.synced()
        await self._exchange.piece(chunk, last=last)

    async def _failed(self, error: UpstreamError) -> None:
        status, kind, message = _FAILURES[type(error)]
        exchange = self._exchange
        if not exchange.started:
            await exchange.refuse(Refused(status, f"{message}: {error}"))
        elif self._streams_events and any(end in self._tail for end in _TERMINAL):
            await exchange.piece(b"", last=True)  # all that matters had come
            exchange.end()
            return
        elif self._streams_events:
            event = _error_event(self._tail, f"{message}: {error}")
            self._entry.chunk(event, exchange.now_us())
            await exchange.piece(event, last=True)
        exchange.end(kind, str(error))  # any other body stays unfinished, so the connection is cut: it cannot be told


def _passed_back(given: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    headers = [(name.lower(), value) for name, value in given]
    dropped = _NOT_PASSED | connection_names(headers)
    return [header for header in headers if header[0] not in dropped]


def _named(headers: list[tuple[bytes, bytes]], exchange: Exchange) -> list[tuple[bytes, bytes]]:
    own = identity(exchange.request_id)
    return [*headers, *(own[1:] if any(name == b"request-id" for name, _ in headers) else own)]


def _is_plain_event_stream(headers: list[tuple[bytes, bytes]]) -> bool:
    kinds = [value for name, value in headers if name == b"content-type"]
    encoded = any(name == b"content-encoding" and value != b"identity" for name, value in headers)
    sized = any(name == b"content-length" for name, _ in headers)
    return bool(kinds) and kinds[0].lower().startswith(b"text/event-stream") and not encoded and not sized


def _error_event(tail: bytes, message: str) -> bytes:
    """The wire's error event, after whatever half event stands before it."""
    gap = b"" if not tail or tail.endswith(_EVENT_ENDS) else b"\n\n"
    return b"%bevent: error\ndata: %b\n\n" % (gap, msgspec.json.encode(error_json(502, message)))
