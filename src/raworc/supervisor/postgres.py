"""Keeps the embedded Postgres running: found again after our own crash, restarted for ever, stopped last."""

import asyncio
import contextlib
import os
import time
from typing import Final

import structlog

from raworc.errors import DatabaseUnavailable
from raworc.settings import Settings
from raworc.supervisor.cluster import Cluster, has_ended, install, url_at

BACKOFF_S: Final = (0.2, 5.0)
STOP_TIMEOUT_S: Final = 30.0
_STEADY_S: Final = 10.0  # having run so long, the next failure starts with the shortest wait again
_TIDY_EVERY_S: Final = 30.0

log = structlog.get_logger(__name__)


def cluster_of(settings: Settings) -> Cluster:
    """The home's cluster, made when there is none. Blocks.

    Raises:
        Unavailable: it cannot be made; the message says what to do.
    """
    folder, log_file = settings.home / "pg", settings.logs_dir / "postgres.log"
    cluster = Cluster(install(folder), folder / "data", settings.postgres_socket_dir, log_file)
    cluster.initialise()
    return cluster


class EmbeddedPostgres:
    """One home's Postgres. ``start`` first, ``stop`` last; between them it is somebody's who restarts it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._cluster: Cluster | None = None
        self._keeping: asyncio.Task[None] | None = None

    @property
    def cluster(self) -> Cluster:
        """The cluster once it is started."""
        if self._cluster is None:
            raise DatabaseUnavailable("The embedded Postgres was not started")
        return self._cluster

    @property
    def url(self) -> str:
        """Where to connect to, once it is started."""
        return url_at(self._settings.postgres_socket_dir)

    async def start(self) -> None:
        """Return when it takes connections; create it when the home is new.

        Raises:
            Unavailable: it cannot be created or started; the message says what to do.
        """
        self._cluster = await asyncio.to_thread(cluster_of, self._settings)
        pid = await self._find_or_start()
        self._keeping = asyncio.create_task(self._keep(pid), name="postgres")

    async def stop(self, *, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """End it in order; after ``timeout_s`` at once, which costs a recovery at the next start."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        if self._cluster is not None:
            await asyncio.to_thread(self._cluster.stop, timeout_s=timeout_s)

    async def _find_or_start(self) -> int:
        pid = self.cluster.pid()
        if pid is not None:
            log.info("found Postgres running", pid=pid)
            with contextlib.suppress(DatabaseUnavailable):  # it was on its way out: start a new one
                await asyncio.to_thread(self.cluster.wait_ready, pid)
                return pid
        return await self._start()

    async def _start(self) -> int:
        pid = self.cluster.spawn()
        await asyncio.to_thread(self.cluster.wait_ready, pid)
        log.info("Postgres is ready", pid=pid)
        return pid

    async def _keep(self, pid: int) -> None:
        delay_s = BACKOFF_S[0]
        while True:
            since = time.monotonic()
            tidying = asyncio.create_task(self._tidy())
            try:
                await _end_of(pid)
            finally:
                tidying.cancel()
            if time.monotonic() - since > _STEADY_S:
                delay_s = BACKOFF_S[0]
            pid, delay_s = await self._restart(pid, delay_s)

    async def _tidy(self) -> None:
        while True:
            await asyncio.sleep(_TIDY_EVERY_S)
            await asyncio.to_thread(self.cluster.turn_log_over)

    async def _restart(self, pid: int, delay_s: float) -> tuple[int, float]:
        while True:
            log.warning("Postgres ended, starting it again", pid=pid, wait_s=delay_s)
            await asyncio.sleep(delay_s)
            delay_s = min(delay_s * 2, BACKOFF_S[1])
            try:
                return await self._start(), delay_s
            except DatabaseUnavailable as error:
                log.warning("Postgres did not start", reason=error.message)


async def _end_of(pid: int) -> None:
    """Return when a process, ours or not, has ended; our own is taken off the process table."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
    has_ended(pid)
