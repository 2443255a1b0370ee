"""A server process: the documented API and the gateway on uvicorn, on the port and the two private sockets."""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Generator

import uvicorn

from raworc.settings import Settings
from raworc.supervisor.database import brought_up_to_date, refuse_default_password
from raworc.supervisor.entry import Lifetime, Work, run_alone, run_child
from raworc.supervisor.listeners import BACKLOG, Listeners, open_listeners
from raworc.wiring.server import ServerParts, server_parts

_KEEP_ALIVE_S = 75


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
    listeners = lifetime.listeners or await _own_listeners(settings)
    async with server_parts(settings) as parts:
        server = _Server(_config(settings, parts), lambda: lifetime.serving(parts.facts))
        watching = asyncio.create_task(server.stop_at(lifetime.stopping))
        try:
            await server.serve(sockets=listeners.all())
        finally:
            watching.cancel()


async def _own_listeners(settings: Settings) -> Listeners:
    """For a server alone; ``raworc up`` has looked already."""
    listeners = open_listeners(settings)
    if not listeners.is_loopback:
        await refuse_default_password(settings, await brought_up_to_date(settings))
    return listeners


class _Server(uvicorn.Server):
    """uvicorn that leaves the signals to us: its own way ends the process before what it serves with is closed."""

    def __init__(self, config: uvicorn.Config, on_started: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_started = on_started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then say so."""
        await super().startup(sockets)
        self._on_started()

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
