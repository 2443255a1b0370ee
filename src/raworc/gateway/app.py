"""The gateway's edge: the routes of the providers' wires as one raw ASGI application.

It parses nothing but what routing needs, forwards bodies as they came, and records every call, refused ones
included. Errors have the provider's own shape. Which listener a call came by is in the scope (``wire/peer.py``).
"""

import uuid
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from raworc.domain.redaction import without_credentials
from raworc.gateway.callers import Booking, Callers, Refused, claimed_train
from raworc.gateway.exchange import ClientGone, Exchange, Receive, Scope, Send
from raworc.gateway.forward import CLIENT_DISCONNECTED, Relay
from raworc.gateway.spool import Entry, Spool, SpoolFull
from raworc.gateway.upstreams import Call, Upstreams
from raworc.metrics import Metrics
from raworc.wire.anthropic import STORAGE_FULL, read_head
from raworc.wire.frames import CallStart

_ROUTES: Final = {"/v1/messages": "POST", "/v1/messages/count_tokens": "POST", "/v1/models": "GET"}
_ONE_MODEL: Final = "/v1/models/"
_NO_ROOM: Final = [(b"retry-after", b"5"), STORAGE_FULL]
_OWN_ID: Final = b"x-raworc-request-id"


@dataclass(frozen=True)
class GatewayLimits:
    """The largest body that is taken."""

    body_bytes: int = 32 * 1024 * 1024


class GatewayApp:
    """Serves ``/v1/*``, ``HEAD /`` and the clients' telemetry, which it swallows."""

    def __init__(
        self,
        callers: Callers,
        upstreams: Upstreams,
        spool: Spool,
        limits: GatewayLimits,
        metrics: Metrics | None = None,
    ) -> None:
        self._callers = callers
        self._upstreams = upstreams
        self._spool = spool
        self._limits = limits
        self._metrics = metrics or Metrics()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request."""
        exchange = Exchange(scope, receive, send)
        if exchange.path.startswith("/v1/"):
            try:
                await self._model_call(exchange)
            finally:
                self._metrics.model_call(exchange.caller, exchange.status, exchange.elapsed_us() / 1_000_000)
        elif exchange.path == "/" and exchange.method == "HEAD":
            await exchange.start(200, [(b"content-length", b"0")])
            await exchange.piece(b"", last=True)
        else:
            await _swallow(exchange)

    async def _model_call(self, exchange: Exchange) -> None:
        booking: Booking | None = None
        try:
            booking = await self._callers.booking(exchange.peer, exchange.headers)
            exchange.caller = booking.kind
            _adopt_id(exchange, booking)
            _check_route(exchange)
            body = await exchange.body(self._limits.body_bytes)
            head = read_head(body)
            upstream = self._upstreams.choose(booking.kind, head.model_name)
            exchange.entry = self._begin(exchange, booking, upstream.name, body)
        except Refused as refusal:
            await self._refuse(exchange, booking, refusal)
        except SpoolFull as full:
            await exchange.refuse(Refused(529, f"{full}: free some space, then try again", headers=_NO_ROOM))
        except ClientGone:
            self._left(exchange, booking)
        else:
            call = Call(
                request_id=exchange.request_id,
                method=exchange.method,
                path=exchange.target,
                headers=exchange.header_list,
                body=body,
                train_id=booking.train_id,
                model=head.model_name,
                stream=head.stream is True,
            )
            await Relay(exchange, exchange.entry, upstream).run(call)

    def _begin(self, exchange: Exchange, booking: Booking | None, upstream: str | None, body: bytes) -> Entry:
        query: bytes = exchange.scope["query_string"]
        start = CallStart(
            id=exchange.request_id,
            method=exchange.method,
            path=exchange.path,
            query=query.decode("latin-1"),
            caller=booking.kind if booking else "none",
            train_id=booking.train_id if booking else claimed_train(exchange.headers),
            space=booking.space if booking else None,
            account_id=upstream,
            caller_id=booking.account_id if booking else None,
            session_id=booking.session_id if booking else None,
            turn_id=booking.turn_id if booking else None,
            headers=without_credentials(exchange.header_list),
        )
        return self._spool.begin(exchange.at_us, start, body)

    async def _refuse(self, exchange: Exchange, booking: Booking | None, refusal: Refused) -> None:
        with suppress(SpoolFull):
            exchange.entry = self._begin(exchange, booking, None, b"")
        await exchange.refuse(refusal)
        exchange.end(refusal.kind, refusal.message)

    def _left(self, exchange: Exchange, booking: Booking | None) -> None:
        with suppress(SpoolFull):
            exchange.entry = self._begin(exchange, booking, None, b"")
        exchange.end(CLIENT_DISCONNECTED)


def _adopt_id(exchange: Exchange, booking: Booking) -> None:
    """Operators choose the ids of their own calls, so that a step can name its request before it is answered."""
    chosen = exchange.headers.get(_OWN_ID)
    if booking.kind != "turn" or chosen is None:
        return
    try:
        exchange.request_id = uuid.UUID(chosen.decode("latin-1"))
    except ValueError:
        raise Refused(400, "'x-raworc-request-id' must be a UUID") from None


def _check_route(exchange: Exchange) -> None:
    one_model = exchange.path.startswith(_ONE_MODEL) and len(exchange.path) > len(_ONE_MODEL)
    method = "GET" if one_model else _ROUTES.get(exchange.path)
    if method is None:
        raise Refused(404, f"'{exchange.path}' is not served here")
    if exchange.method != method:
        raise Refused(
            405,
            f"'{exchange.path}' takes {method}, not {exchange.method}",
            kind="invalid_request_error",
            headers=[(b"allow", method.encode())],
        )


async def _swallow(exchange: Exchange) -> None:
    """Clients' telemetry: taken and dropped, so that it goes nowhere."""
    body = b'{"status":"ok"}'
    await exchange.start(200, [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))])
    await exchange.piece(body, last=True)
