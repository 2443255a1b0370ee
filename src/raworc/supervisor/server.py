"""A server process: the documented API and the gateway on uvicorn, on the port and the two private sockets."""

import asyncio
import contextlib
import gc
import socket
from collections.abc import Awaitable, Callable, Generator
from typing import Final, cast

import uvicorn

from raworc.api.edge import EdgeProtocol
from raworc.settings import Settings
from raworc.supervisor.database import brought_up_to_date, refuse_default_password
from raworc.supervisor.entry import Lifetime, Work, run_alone, run_child
from raworc.supervisor.listeners import BACKLOG, Listeners, open_listeners
from raworc.supervisor.tls import Certificate
from raworc.wiring.server import ServerParts, server_parts

_KEEP_ALIVE_S: Final = 75
_TLS_GOODBYE_S: Final = 2.0
_COLLECTED_AFTER: Final = 10_000  # new objects; a model call leaves no cycles, so looking more often finds nothing


def run_server(settings: Settings) -> None:
    """One server in the foreground."""
    run_alone(settings, "server", _prepare)


def child() -> None:
    """The process that ``raworc up`` started."""
    run_child(_prepare)


def _prepare(settings: Settings) -> Work:
    def work(lifetime: Lifetime) -> Awaitable[None]:
        return _serve(settings, lifetime)

    return work


async def _serve(settings: Settings, lifetime: Lifetime) -> None:
    certificate = Certificate.of(settings)
    listeners = lifetime.listeners or await _own_listeners(settings)
    async with server_parts(settings, lifetime.name) as parts:
        server = _Server(_config(settings, parts), certificate, lambda: lifetime.serving(parts.facts))
        parts.metrics.gauge("raworc_http_connections", "Open connections", lambda: len(server.server_state.connections))
        parts.metrics.gauge("raworc_http_requests_in_progress", "Requests", lambda: len(server.server_state.tasks))
        gc.freeze()  # what serves until the end
        gc.set_threshold(_COLLECTED_AFTER)
        watching = [asyncio.create_task(server.stop_at(lifetime.stopping))]
        if certificate is not None:
            watching.append(asyncio.create_task(certificate.watch()))
        try:
            await server.serve(sockets=listeners.all())
        finally:
            for watch in watching:
                watch.cancel()


async def _own_listeners(settings: Settings) -> Listeners:
    """For a server alone; ``raworc up`` has looked already."""
    listeners = open_listeners(settings)
    if not listeners.is_loopback or settings.proxy_headers:
        await refuse_default_password(settings, await brought_up_to_date(settings))
    return listeners


class _Server(uvicorn.Server):
    """uvicorn that leaves the signals to us: its own way ends the process before what it serves with is closed."""

    def __init__(self, config: uvicorn.Config, certificate: Certificate | None, on_started: Callable[[], None]) -> None:
        super().__init__(config)
        self._certificate = certificate
        self._on_started = on_started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, with TLS on the first of ``sockets`` where there is a certificate, then say so."""
        public, private = (sockets or [])[:1], (sockets or [])[1:]
        if self._certificate is None:
            await super().startup(sockets)
        else:
            await super().startup(private)
            for listener in public:
                self.servers.append(await self._with_tls(listener, self._certificate))
        self._on_started()

    async def _with_tls(self, listener: socket.socket, certificate: Certificate) -> asyncio.Server:
        def protocol() -> asyncio.Protocol:
            kind = cast("type[EdgeProtocol]", self.config.http_protocol_class)
            return kind(self.config, self.server_state, self.lifespan.state)

        return await asyncio.get_running_loop().create_server(
            protocol,
            sock=listener,
            ssl=certificate.context,
            backlog=BACKLOG,
            ssl_handshake_timeout=certificate.handshake_timeout_s,
            ssl_shutdown_timeout=_TLS_GOODBYE_S,
        )

    async def stop_at(self, stopping: asyncio.Event) -> None:
        """Drain once ``stopping`` is set."""
        await stopping.wait()
        self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Capture nothing."""
        yield


def _config(settings: Settings, parts: ServerParts) -> uvicorn.Config:
    return uvicorn.Config(
        parts.app,
        http=parts.protocol,
        loop="none",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=int(settings.drain_timeout_s),
    )
