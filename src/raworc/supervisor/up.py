"""``raworc up``: everything on one machine, started together and stopped in order.

Postgres first, then servers, operator and recorder side by side (they load their programs meanwhile); at the end
servers and the operator drain side by side, then the recorder loads what is left, then Postgres. Meant to be
quick: it loads little, the children work.
"""

import asyncio
import signal
from collections.abc import Coroutine, Iterable
from dataclasses import replace
from typing import Final

import structlog

from raworc.domain.forwarding import Proxies
from raworc.domain.origins import Origins
from raworc.logs import configure
from raworc.settings import Settings, read_service_settings
from raworc.supervisor.ballast import Ballast
from raworc.supervisor.database import brought_up_to_date, has_default_password, refuse_default_password
from raworc.supervisor.home import claimed, prepare_home
from raworc.supervisor.listeners import Listeners, open_listeners
from raworc.supervisor.postgres import EmbeddedPostgres
from raworc.supervisor.processes import Child, Program
from raworc.supervisor.service import Service
from raworc.supervisor.summary import Summary, say, show
from raworc.supervisor.tls import Certificate

_GRACE_S: Final = 5.0  # on top of what a process takes to drain

log = structlog.get_logger(__name__)


def run_up(settings: Settings) -> None:
    """Run until Ctrl-C, SIGTERM or the terminal's end; a second one ends everything at once.

    Raises:
        RaworcError: it cannot start; the message says why, and nothing is left running.
    """
    Certificate.of(settings)  # a bad one is told here, by us
    Proxies.parse(settings.proxy_headers)
    Origins.parse(settings.cors_origins)
    prepare_home(settings)
    configure(settings, process="up", file=settings.logs_dir / "up.log")
    with claimed(settings) as tell:
        listeners = open_listeners(settings)
        try:
            tell(listeners.address)
            asyncio.run(_until_stopped(_Installation(settings, listeners)))
        finally:
            listeners.close()
            for path in (settings.gateway_socket, settings.model_socket):
                path.unlink(missing_ok=True)
    say("Stopped")


class _Installation:
    """All that runs, and the order in which it comes and goes."""

    def __init__(self, settings: Settings, listeners: Listeners) -> None:
        self._settings = settings
        self._listeners = listeners
        self._postgres = EmbeddedPostgres(settings) if settings.database_url is None else None
        self._servers: list[Child] = []
        self._operators: list[Child] = []
        self._recorders: list[Child] = []
        self._ballast = Ballast.of(settings)
        self._keeping: asyncio.Task[None] | None = None

    async def start(self) -> Summary:
        """Everything serves when this returns."""
        settings, is_public = self._settings, not self._listeners.is_loopback or bool(self._settings.proxy_headers)
        if self._postgres is not None:
            settings = replace(settings, database_url=self._postgres.url)
        self._make_children(settings)
        await _all(child.load() for child in self._children)
        if self._postgres is not None:
            self._ballast.relieve()
            self._keeping = asyncio.create_task(self._ballast.keep(), name="ballast")
            await self._postgres.start()
        look = await brought_up_to_date(settings)
        if is_public:
            await refuse_default_password(settings, look)
        asking = asyncio.create_task(has_default_password(look))
        await _all(child.start() for child in self._children)
        facts = {key: fact for child in self._children for key, fact in child.facts.items()}
        return Summary(
            address=self._listeners.address,
            settings=self._settings,
            server_major=look.server_major,
            facts=facts,
            has_default_password=await asking,
        )

    async def stop(self) -> None:
        """Servers and operators first, side by side: both may take the whole time. Then those that they need."""
        timeout_s = self._settings.drain_timeout_s + _GRACE_S
        for group in ([*self._servers, *self._operators], self._recorders):
            await asyncio.gather(*(child.stop(timeout_s=timeout_s) for child in group))
        if self._postgres is not None:
            await self._postgres.stop()
        if self._keeping is not None:
            self._keeping.cancel()

    def kill(self) -> None:
        """Do not wait for anything; what was acknowledged is stored."""
        for child in self._children:
            child.kill()

    @property
    def _children(self) -> list[Child]:
        return [*self._servers, *self._operators, *self._recorders]

    def _make_children(self, settings: Settings) -> None:
        inherited = self._listeners.descriptors
        names = [f"server-{number}" for number in range(1, settings.workers + 1)]
        self._servers = [Child(Program(name, "server", inherited), settings) for name in names]
        self._operators = [Child(Program("operator", "operator"), settings)]
        self._recorders = [Child(Program("recorder", "recorder"), settings)]


async def _until_stopped(installation: _Installation) -> None:
    service = Service(read_service_settings())
    stopping = asyncio.Event()

    def stop() -> None:
        if stopping.is_set():
            installation.kill()
        else:
            say("Stopping: running work comes to a safe end first; once more ends it at once")
        stopping.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop)
    starting = asyncio.create_task(installation.start())
    waiting = asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait([starting, waiting], return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            show(starting.result())
            log.info("serving")
            service.ready("Serving")
            await waiting
    finally:
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        log.info("stopping")
        service.stopping()
        await installation.stop()
        service.ended()
        log.info("stopped")


async def _all(starts: Iterable[Coroutine[None, None, None]]) -> None:
    """Wait for all; when one fails, give the others up."""
    tasks = [asyncio.ensure_future(start) for start in starts]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
