"""The gateway's edge: everything below ``/v1/``, spoken with over a ``wire.peer.Line``.

It parses nothing but what routing needs, forwards bodies as they came, and records every call, refused ones
included. Errors have the shape of the wire that was called.
"""

import re
import uuid
from contextlib import suppress
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from raworc.domain.redaction import without_credentials
from raworc.domain.wires import keeps_bodies, may_tell_usage, puts_models_to_work
from raworc.gateway.callers import Booking, Callers, Refused, claimed_train
from raworc.gateway.exchange import Exchange, id_text
from raworc.gateway.forward import CLIENT_DISCONNECTED, Relay
from raworc.gateway.routing import Routing
from raworc.gateway.spool import Entry, Spool, SpoolFull
from raworc.gateway.upstreams import Call
from raworc.ids import Ids
from raworc.metrics import Metrics
from raworc.wire.anthropic import STORAGE_FULL, read_head
from raworc.wire.frames import AnswerHead, CallStart, StartForm
from raworc.wire.heading import Heading
from raworc.wire.peer import Left, Line

_NO_ROOM: Final = [(b"retry-after", b"5"), STORAGE_FULL]
_SEPARATORS: Final = re.compile(r"[/\\]")
_DOTS: Final = re.compile(r"\.{1,2}(;.*)?")
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
        routing: Routing,
        spool: Spool,
        limits: GatewayLimits,
        metrics: Metrics | None = None,
    ) -> None:
        self._callers = callers
        self._routing = routing
        self._spool = spool
        self._limits = limits
        self._metrics = metrics or Metrics()
        self._ids = Ids()

    async def serve(self, line: Line) -> None:
        """Serve one HTTP request."""
        exchange = Exchange(line, self._ids.new())
        if exchange.path.startswith("/v1/"):
            try:
                await self._model_call(exchange)
            finally:
                self._metrics.model_call(exchange.caller, exchange.status, exchange.elapsed_us() / 1_000_000)
        elif exchange.path == "/" and exchange.method == "HEAD":
            exchange.start(200, [(b"content-length", b"0")])
            await exchange.piece(b"", last=True)
        else:
            await _swallow(exchange)

    async def _model_call(self, exchange: Exchange) -> None:
        booking: Booking | None = None
        try:
            booking = await self._callers.booking(exchange.line.peer, exchange.line.heading)
            exchange.caller = booking.kind
            _adopt_id(exchange, booking)
            _check_path(exchange, booking)
            body = await exchange.body(self._limits.body_bytes)
            head = read_head(await exchange.readable(body) if exchange.is_encoded else body)
            model = head.model_name
            booking.check_model(exchange.method, model)
            route = self._routing.choose(booking, exchange.wire, model, exchange.headers)
            exchange.entry = self._begin(exchange, booking, route.name, body, model)
        except Refused as refusal:
            await self._refuse(exchange, booking, refusal)
        except SpoolFull as full:
            await exchange.refuse(Refused(529, f"{full}: free some space, then try again", headers=_NO_ROOM))
        except Left:
            self._left(exchange, booking)
        else:
            call = Call(
                request_id=exchange.request_id,
                wire=exchange.wire,
                method=exchange.method,
                path=exchange.line.target,
                heading=exchange.line.heading,
                body=body,
                train_id=booking.train_id,
                model=model,
                stream=head.stream is True,
            )
            del body  # the call lets go of it once the answer begins
            await Relay(exchange, exchange.entry, route).run(call)

    def _begin(
        self,
        exchange: Exchange,
        booking: Booking | None,
        upstream: str | None = None,
        body: bytes = b"",
        model: str | None = None,
    ) -> Entry:
        line = exchange.line
        form = line.heading.last(_form, (line.method, line.path, line.query), booking, upstream, model)
        data = form.data(id_text(exchange.request_id), exchange.headers.get(b"content-length", b""))
        return self._spool.begin_with(exchange.at_us, data, body if form.bodies else b"", form)

    async def _refuse(self, exchange: Exchange, booking: Booking | None, refusal: Refused) -> None:
        with suppress(SpoolFull):
            exchange.entry = self._begin(exchange, booking)
        await exchange.refuse(refusal)
        exchange.end(refusal.kind, refusal.message)

    def _left(self, exchange: Exchange, booking: Booking | None) -> None:
        refusal = exchange.line.refusal
        with suppress(SpoolFull):
            exchange.entry = self._begin(exchange, booking)
        if refusal is None:
            exchange.end(CLIENT_DISCONNECTED)
            return
        exchange.status = refusal.status
        if exchange.entry is not None:
            exchange.entry.head(AnswerHead(refusal.status, own=True), exchange.now_us())
        exchange.end(refusal.code.lower(), refusal.message)


def _form(
    heading: Heading, asked: tuple[str, str, bytes], booking: Booking | None, upstream: str | None, model: str | None
) -> StartForm:
    """How the records of calls begin that differ in no more than their id, their length and their body."""
    method, path, query = asked
    bodies = keeps_bodies(method, path)
    before = None if heading.length_at is None else without_credentials(heading.listed[: heading.length_at])
    start = CallStart(
        id=uuid.UUID(int=0),
        method=method,
        path=path,
        query=query.decode("latin-1"),
        caller=booking.kind if booking else "none",
        train_id=booking.train_id if booking else claimed_train(heading),
        space=booking.space if booking else None,
        account_id=upstream,
        caller_id=booking.account_id if booking else None,
        session_id=booking.session_id if booking else None,
        turn_id=booking.turn_id if booking else None,
        headers=without_credentials(heading.listed),
        model=None if bodies else model,
        bodies=bodies,
        reads=not bodies and may_tell_usage(method, path),
    )
    return StartForm(start, None if before is None else len(before))


def _adopt_id(exchange: Exchange, booking: Booking) -> None:
    """Operators choose the ids of their own calls, so that a step can name its request before it is answered."""
    chosen = exchange.headers.get(_OWN_ID)
    if booking.kind != "turn" or chosen is None:
        return
    try:
        exchange.request_id = uuid.UUID(chosen.decode("latin-1"))
    except ValueError:
        raise Refused(400, "'x-raworc-request-id' must be a UUID") from None


def _check_path(exchange: Exchange, booking: Booking) -> None:
    """A path that leads out of ``/v1/`` would reach whatever else stands at the provider's address.

    And what runs in a sandbox may call models, not read or delete the files and batches of everybody's account.
    """
    path = exchange.path
    if ("." in path or "%" in path) and any(_DOTS.fullmatch(part) for part in _SEPARATORS.split(unquote(path))):
        raise Refused(404, "Only paths below '/v1/' are served here: this one holds '.' or '..'")
    if booking.kind == "sandbox" and not puts_models_to_work(exchange.method, path):
        raise Refused(403, f"A sandbox may call models and nothing else: not {exchange.method} '{path}'")


async def _swallow(exchange: Exchange) -> None:
    """Clients' telemetry: taken and dropped, so that it goes nowhere."""
    body = b'{"status":"ok"}'
    exchange.start(200, [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))])
    await exchange.piece(body, last=True)
