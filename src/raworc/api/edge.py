"""The HTTP edge: uvicorn's protocol with deadlines, bounds, and the knowledge of who is connected.

One protocol class serves every listener of a server process. It adds to uvicorn's: a deadline for receiving
headers, one for a body that stops coming, one for a reader that stops reading, a bound on headers, the preamble
of the doors' socket, and our error body for requests that never became one. Everything else is uvicorn's.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Final, Literal, cast

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from raworc.api.corked import Corked
from raworc.api.cycle import FEW_TASKS, CallCycle, Calls, Target, Way, target_of
from raworc.api.dispatch import Dispatcher
from raworc.api.preamble import MAX_PREAMBLE_BYTES, listener_kind, read_preamble
from raworc.api.refusals import refusal
from raworc.domain import forwarding
from raworc.domain.forwarding import SIGNS, Proxies
from raworc.errors import BadRequest, RaworcError, RequestTimeout
from raworc.wire.eager import EagerTask
from raworc.wire.peer import SCOPE_KEY, Peer

_LINGER_S: Final = 5.0
_VERSIONS: Final = ("1.0", "1.1")
_NOT_HTTP: Final = BadRequest("This is not a valid HTTP/1.1 request")

Phase = Literal["between", "headers", "body"]
Cycle = RequestResponseCycle | CallCycle


@dataclass(frozen=True)
class EdgeOptions:
    """Deadlines and bounds, the paths of the two private sockets, and the key that doors are proven with.

    ``write_timeout_s`` is how long a reader may leave us waiting with a full buffer.
    """

    door_socket: str
    model_socket: str
    door_key: bytes
    proxies: Proxies = field(default_factory=Proxies)
    header_timeout_s: float = 10.0
    body_idle_timeout_s: float = 60.0
    write_timeout_s: float = 30.0
    max_header_bytes: int = 65_536
    max_headers: int = 256


def edge_protocol(options: EdgeOptions) -> type["EdgeProtocol"]:
    """The protocol class to give to uvicorn as ``http=``."""
    return type("BoundEdgeProtocol", (EdgeProtocol,), {"options": options})


class EdgeProtocol(HttpToolsProtocol):
    """One connection. Give uvicorn a class made by :func:`edge_protocol`."""

    options: ClassVar[EdgeOptions]
    _way: Way  # since it is connected

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        app = cast("object", config.loaded_app)  # pyright: ignore[reportUnknownMemberType]  uvicorn knows it half
        self._dispatcher = app if isinstance(app, Dispatcher) else None
        self._peer: Peer | None = None
        self._is_proxied = False
        self._preamble: bytearray | None = None
        self._phase: Phase = "between"
        self._watched: Phase | None = None
        self._header_bytes = 0  # what came while there was no whole head
        self._came_bytes = 0  # the same, and what is being read now
        self._is_refused = False
        self._reason: RaworcError = _NOT_HTTP
        self._heard_at_s = 0.0
        self._unanswered: deque[Cycle] = deque()
        self._begun: EagerTask | None = None  # a call that is to be served once what came is parsed
        self._resting: asyncio.TimerHandle | None = None
        self._resting_since_s = 0.0
        self._deadline: asyncio.TimerHandle | None = None
        self._write_deadline: asyncio.TimerHandle | None = None

    # ── the connection ───────────────────────────────────────────────────────────────────────────────
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Learn which listener this is; a Unix socket that we do not know is closed."""
        corked = Corked(transport, self.loop)
        super().connection_made(cast("asyncio.Transport", corked))
        self._way = Way(corked, self.flow, self.loop, cast("set[EagerTask]", self.tasks), self.on_response_complete)
        sockname, options = transport.get_extra_info("sockname"), self.options
        kind = listener_kind(sockname, door=options.door_socket, model=options.model_socket)
        if kind is None:
            transport.abort()
            return
        if kind == "door":
            self._preamble = bytearray()
        elif kind == "model":
            self._peer = Peer(listener=kind)
        else:
            self._peer = self._met()
        self._watch_for(self.options.header_timeout_s, self._headers_overdue)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell every request that is being served, pipelined ones included, and forget the deadlines."""
        self._unwatch()
        if self._resting is not None:
            self._resting.cancel()
        self.resume_writing()
        self._disconnect()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Preamble first where there is one, then HTTP; then see which deadline counts now."""
        self._hear(data)
        begun, self._begun = self._begun, None
        if begun is not None and len(self.tasks) <= FEW_TASKS:
            begun.run()  # now, not while its connection's bytes are parsed
        elif begun is not None:
            self.loop.call_soon(begun.run)

    def _hear(self, data: bytes) -> None:
        if self._preamble is not None:
            data = self._take_preamble(data)
        if self._is_refused or not data:
            return
        self._came_bytes = self._header_bytes + len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._phase == "headers":
            self._header_bytes += len(data)
            if self._header_bytes > self.options.max_header_bytes:
                self._refuse(_headers_too_large(self.options))
                return
        self._heard_at_s = self.loop.time()
        self._rewatch()

    def shutdown(self) -> None:
        """End streams that would never end by themselves, then as uvicorn does."""
        if self._peer is not None:
            self._peer.closing.set()
        super().shutdown()

    # ── what the parser calls ────────────────────────────────────────────────────────────────────────
    def on_message_begin(self) -> None:
        """A request's first byte. uvicorn makes its scope here, which model calls do without."""
        self.url = b""
        self.headers = []
        self._phase = "headers"
        self._header_bytes = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """Bound their number, trailers included, while they are read: 20,000 in one piece would hold everybody up."""
        headers = self.headers
        if len(headers) >= self.options.max_headers:
            raise self._because(_headers_too_large(self.options))
        headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Bound headers that came in one piece (``data_received`` bounds those that trickle), then serve."""
        if self._came_bytes > self.options.max_header_bytes and self._is_large():
            raise self._because(_headers_too_large(self.options))
        if self.parser is None or self.parser.get_http_version() not in _VERSIONS:
            raise self._because(_NOT_HTTP)
        self._phase = "body"
        target = target_of(self.url)
        path = target[0]
        method = self.parser.get_method().decode("ascii")
        peer = cast("Peer", self._peer)
        calls = self._dispatcher.calls(method, path, peer.listener) if self._dispatcher else None
        if calls is None:
            self._serve(peer)
        else:
            self._call(calls, method, target, peer)

    def _is_large(self) -> bool:
        """Only asked where more came than a head may have: adding up costs as much as reading it."""
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        return size > self.options.max_header_bytes

    def _serve(self, peer: Peer) -> None:
        """An ASGI application's request."""
        url, headers = self.url, self.headers
        super().on_message_begin()
        self.url, self.headers = url, headers
        scope = cast("dict[str, Any]", self.scope)
        named = dict(headers)
        scope["headers"], scope[SCOPE_KEY] = headers, self._speaking(peer, named)
        self.expect_100_continue = named.get(b"expect", b"").lower() == b"100-continue"
        if self._is_proxied:
            address = self.options.proxies.client(headers)
            if address is not None:
                scope["client"] = (address, 0)
            scope["scheme"] = forwarding.scheme(headers) or self.scheme
        super().on_headers_complete()
        self._unanswered.append(self.cycle)

    def _call(self, calls: Calls, method: str, target: Target, peer: Peer) -> None:
        """A model call: as uvicorn's own, with a cycle of ours."""
        cycle = CallCycle(self._way, method, target, self.headers, self.server_state.default_headers)
        cycle.peer = self._speaking(peer, cycle.named)
        parser: Any = self.parser
        cycle.keep_alive = parser.get_http_version() != _VERSIONS[0] and parser.should_keep_alive()
        self.headers = list(self.headers)  # trailers are none of the call's headers
        untyped: Any = cycle  # uvicorn knows its own only
        previous: Any = self.cycle
        self.cycle = untyped
        self._unanswered.append(cycle)
        if previous is None or previous.response_complete:
            self._start_asgi_task(cycle, calls)
            self._begun = cycle.call
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((untyped, cast("Any", calls)))

    def _start_asgi_task(self, cycle: Cycle, app: Any) -> None:  # noqa: ANN401  an ASGI application, or Calls
        if not isinstance(cycle, CallCycle):
            super()._start_asgi_task(cycle, app)
            return
        cycle.call = EagerTask(cycle.run_asgi(app), self.loop)
        self._way.tasks.add(cycle.call)  # until it ends

    def on_body(self, body: bytes) -> None:
        """A piece of a request's body; what follows an answer is for nobody."""
        cycle: Cycle = self.cycle
        if not isinstance(cycle, CallCycle):
            super().on_body(body)
        elif not cycle.response_complete:
            cycle.take(body)

    def _met(self) -> Peer:
        """Who connected to the port: a proxy that is trusted, this machine, or anybody."""
        if self.client is None:
            return Peer(listener="public")
        address = forwarding.plain(self.client[0])
        self.client = (address, self.client[1])
        self._is_proxied = self.options.proxies.trust(address)
        return Peer(listener="public", is_local=not self._is_proxied and forwarding.is_loopback(address))

    def _speaking(self, peer: Peer, named: dict[bytes, bytes]) -> Peer:
        """Who makes this request. A trusted proxy's word counts; anybody else's only against himself."""
        if peer.is_local and not SIGNS.isdisjoint(named):
            return replace(peer, is_local=False)
        return peer

    def on_message_complete(self) -> None:
        """The request is here, all of it."""
        self._phase = "between"
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """As uvicorn, but for its timer; and a body that still comes does not hold the connection for long."""
        self._unanswered.popleft()
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
            if isinstance(cycle, CallCycle):
                self.loop.call_soon(cycle.call.run)
        else:
            self._rest()
        if self._phase == "body":
            self._watch_for(_LINGER_S, self.transport.close)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  uvicorn's words for it
        """Our error body for what the parser, or one of the bounds above, refused."""
        self._refuse(self._reason)

    def _because(self, error: RaworcError) -> RaworcError:
        self._reason = error
        return error

    # ── flow ─────────────────────────────────────────────────────────────────────────────────────────
    def pause_writing(self) -> None:
        """The reader does not keep up: give it a while, then cut it off."""
        super().pause_writing()
        self._write_deadline = self.loop.call_later(self.options.write_timeout_s, self.transport.abort)

    def resume_writing(self) -> None:
        """It reads again."""
        if self._write_deadline is not None:
            self._write_deadline.cancel()
            self._write_deadline = None
        super().resume_writing()

    # ── deadlines ────────────────────────────────────────────────────────────────────────────────────
    def _rewatch(self) -> None:
        if self._phase == "between" and not self._unanswered:
            self._watch_idle()
            return
        if self._phase == self._watched != "between":
            return
        self._unwatch()
        self._watched = self._phase
        if self._phase == "headers":
            self._watch_for(self.options.header_timeout_s, self._headers_overdue)
        elif self._phase == "body":
            self._watch_for(self.options.body_idle_timeout_s, self._body_overdue)

    def _watch_idle(self) -> None:
        """Empty lines, or the rest of a body that was answered already: no request, and uvicorn minds no time then."""
        if self._watched == "body":
            self._unwatch()
        self._watched = "between"
        if self._deadline is None:
            self._watch_for(self.options.header_timeout_s, self._headers_overdue)

    def _watch_for(self, delay_s: float, act: Callable[[], None]) -> None:
        self._unwatch()
        self._deadline = self.loop.call_later(delay_s, act)

    def _rest(self) -> None:
        """Nothing is asked. One timer outlives many requests, and looks how long it was since the last of them."""
        self._resting_since_s = self.loop.time()
        if self._resting is None:
            self._resting = self.loop.call_later(self.timeout_keep_alive, self._rested)

    def _rested(self) -> None:
        self._resting = None
        if self._phase != "between" or self._unanswered or self.transport.is_closing():
            return  # the end of this request's answer begins anew
        remaining_s = self._resting_since_s + self.timeout_keep_alive - self.loop.time()
        if remaining_s > 0:
            self._resting = self.loop.call_later(remaining_s, self._rested)
        else:
            self.transport.close()

    def _unwatch(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _headers_overdue(self) -> None:
        if self._phase == "between":  # connected and never said anything
            self.transport.close()
        else:
            self._refuse(RequestTimeout(f"No complete request within {self.options.header_timeout_s:g} s"))

    def _body_overdue(self) -> None:
        silent_s = 0.0 if self.flow.read_paused else self.loop.time() - self._heard_at_s
        remaining_s = self.options.body_idle_timeout_s - silent_s
        if remaining_s > 0:
            self._watch_for(remaining_s, self._body_overdue)
        else:
            self._refuse(RequestTimeout(f"No part of the body came for {self.options.body_idle_timeout_s:g} s"))

    def _refuse(self, error: RaworcError) -> None:
        """Say why, unless an answer is on its way already, and close; the application sees a disconnect."""
        if self._is_refused or self.transport.is_closing():
            return
        self._is_refused = True
        self._unwatch()
        is_answering = any(cycle.response_started for cycle in self._unanswered)
        self._disconnect(error)
        if not is_answering:
            self.transport.write(refusal(error, self.url or b"", self.headers or []))  # None before the first request
        cast("Corked", self.transport).hang_up(_LINGER_S)

    def _disconnect(self, refusal: RaworcError | None = None) -> None:
        for cycle in self._unanswered:
            if isinstance(cycle, CallCycle):
                cycle.leave(refusal)
            else:
                cycle.disconnected = True
                cycle.message_event.set()

    def _take_preamble(self, data: bytes) -> bytes:
        """What follows the preamble once it is complete and proven; nothing while it is not."""
        held = cast("bytearray", self._preamble)
        held += data
        line, newline, rest = bytes(held).partition(b"\n")
        if not newline:
            if len(held) > MAX_PREAMBLE_BYTES:
                self.transport.abort()
            return b""
        door = read_preamble(self.options.door_key, line)
        if door is None:
            self.transport.abort()
            return b""
        self._preamble = None
        self._peer = Peer(listener="door", door=door)
        return rest


def _headers_too_large(options: EdgeOptions) -> BadRequest:
    return BadRequest(
        f"The headers are larger than {options.max_header_bytes} bytes, or more than {options.max_headers}"
    )
