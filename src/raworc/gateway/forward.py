"""Passing one call on to its provider and the answer back, byte for byte, recorded on the way.

Each piece is written to the spool before it is sent on. A slow client slows the provider. A client that hangs up
ends the provider's call; a provider that breaks off mid-stream is told to the client by the wire's error event.
"""

import asyncio
from typing import Final

from raworc.domain.redaction import CREDENTIAL_HEADERS, without_credentials
from raworc.gateway.attempts import Attempts
from raworc.gateway.callers import Refused
from raworc.gateway.exchange import Exchange, HangUp, identity
from raworc.gateway.keepalive import KeepAlive
from raworc.gateway.routing import Route
from raworc.gateway.spool import Entry
from raworc.gateway.upstreams import Answer, Call, connection_names
from raworc.wire.client import (
    ConnectFailed,
    UpstreamBroken,
    UpstreamClosed,
    UpstreamError,
    UpstreamTimeout,
)
from raworc.wire.eager import next_turn
from raworc.wire.ending import StreamEnd
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


class Relay:
    """Serves one call whose record has begun."""

    def __init__(self, exchange: Exchange, entry: Entry, route: Route) -> None:
        self._exchange = exchange
        self._entry = entry
        self._attempts = Attempts(route)
        self._events: StreamEnd | None = None
        self._keep_alive: KeepAlive | None = None

    async def run(self, call: Call) -> None:
        """From the provider's head to the end of the record. Never raises for what either side does."""
        exchange = self._exchange
        hang_up = HangUp(exchange.line)
        try:
            exchange.attempts = self._attempts.failed
            try:
                answer = await self._attempts.answer(call)
            finally:
                exchange.moved_to = self._attempts.moved_to
            try:
                await self._pass_on(answer)
            finally:
                if self._keep_alive is not None:
                    self._keep_alive.stop()
                await answer.close()
        except UpstreamError as error:
            hang_up.stop()
            await self._failed(error)
        except Refused as refusal:
            hang_up.stop()
            await exchange.refuse(refusal)
            exchange.end(refusal.kind, refusal.message)
        except asyncio.CancelledError:
            hang_up.stop()
            exchange.end(CLIENT_DISCONNECTED if hang_up.left else SERVER_STOPPED)
            if not hang_up.left:
                raise
            exchange.line.call.uncancel()
        else:
            hang_up.stop()
            exchange.end()
        finally:
            exchange.end("internal_error")  # only if nothing above did: no record stays open

    async def _pass_on(self, answer: Answer) -> None:
        exchange, entry, line = self._exchange, self._entry, self._exchange.line
        headers = _passed_back(answer.headers)
        named = dict(headers)
        if _is_plain_event_stream(named):
            self._events = StreamEnd(exchange.wire, exchange.path)
            self._keep_alive = KeepAlive(exchange.line, self._events)
        kept = headers if CREDENTIAL_HEADERS.isdisjoint(named) else without_credentials(headers)
        entry.head(AnswerHead(answer.status, kept, account_id=exchange.moved_to), exchange.now_us())
        headers += identity(exchange.request_id, exchange.wire, named)
        if not answer.ready:
            await next_turn()  # most often the first piece comes right behind the head
        if not answer.ready:
            entry.flush()
            exchange.start(answer.status, headers)
        answer.hand_on(self._take)
        last = False
        while not last:
            chunk = await answer.next_chunk()
            last = not chunk or answer.whole
            is_recorded = self._record(chunk, last=last)
            if last and entry.is_strict:
                await entry.synced()
            if not line.keeps_up:
                await line.writable()
            if last and not exchange.started:
                exchange.answer(answer.status, headers, chunk, at_once=is_recorded)
                break
            if not exchange.started:
                exchange.start(answer.status, headers)
            line.piece(chunk, last=last)

    def _take(self, chunk: bytes) -> bool:
        """Pass a piece of a stream on without waking the call; False: that has to wait for the client."""
        line = self._exchange.line
        if not line.may_stream:
            return False
        self._record(chunk, last=False)
        line.stream(chunk)
        return True

    def _record(self, chunk: bytes, *, last: bool) -> bool:
        """Whether all that is to be kept of the call is kept already."""
        exchange, entry = self._exchange, self._entry
        if not chunk:
            entry.flush()
            return False
        elapsed_us = exchange.elapsed_us()
        if exchange.first_byte_us is None:
            exchange.first_byte_us = elapsed_us
        if self._events is not None and self._keep_alive is not None:
            self._events.feed(chunk)
            self._keep_alive.heard()
        if last:
            return exchange.last(entry, chunk, elapsed_us)
        entry.chunk(chunk, exchange.at_us + elapsed_us)
        return False

    async def _failed(self, error: UpstreamError) -> None:
        status, kind, message = _FAILURES[type(error)]
        exchange, events = self._exchange, self._events
        if not exchange.started:
            await exchange.refuse(Refused(status, f"{message}: {error}"))
        elif events is not None and events.over:
            await self._entry.synced()
            await exchange.piece(b"", last=True)  # all that matters had come
            exchange.end()
            return
        elif events is not None:
            event = events.cut(f"{message}: {error}")
            self._entry.chunk(event, exchange.now_us())
            await self._entry.synced()
            await exchange.piece(event, last=True)
        exchange.end(kind, str(error))  # any other body stays unfinished, so the connection is cut: it cannot be told


def _passed_back(given: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    headers = [header for header in given if header[0] not in _NOT_PASSED]
    if len(headers) == len(given):
        return headers  # so none is ``Connection``, which may name others
    names = connection_names(given)
    return [header for header in headers if header[0] not in names] if names else headers


def _is_plain_event_stream(known: dict[bytes, bytes]) -> bool:
    if not known.get(b"content-type", b"").lower().startswith(b"text/event-stream"):
        return False
    return known.get(b"content-encoding", b"identity") == b"identity" and b"content-length" not in known
