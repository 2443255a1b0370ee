"""This process as others see it: a lock that dies with it, and a row that it keeps fresh.

On the same node a process is dead the moment its lock is free; elsewhere when its row was not seen for
``DEAD_AFTER_S``. The heartbeat has a connection of its own: a busy pool does not make a process look dead.
"""

import asyncio
import contextlib
import fcntl
import os
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

import structlog

from raworc.errors import Unavailable
from raworc.ids import WorkerId, new_id
from raworc.store import workers as store
from raworc.store.database import Database
from raworc.store.holds import Holder

BEAT_S: Final = 5.0
_RETRY_S: Final = 0.5
DEAD_AFTER_S: Final = 15.0

log = structlog.get_logger(__name__)

WorkerKind = Literal["server", "operator", "recorder"]


@dataclass
class Worker:
    """One running process. ``silent_s`` says how long ago Postgres last heard of it."""

    id: WorkerId
    kind: WorkerKind
    node: str
    _heard_at: float = field(default_factory=time.monotonic)

    def heard(self) -> None:
        """Postgres took a heartbeat."""
        self._heard_at = time.monotonic()

    @property
    def silent_s(self) -> float:
        """Seconds since the last heartbeat that arrived."""
        return time.monotonic() - self._heard_at


@asynccontextmanager
async def working(url: str, kind: WorkerKind, *, node: str, run_dir: Path) -> AsyncGenerator[Worker]:
    """Be a worker until the block ends. Call it after forking: a child would hold the lock, too.

    Raises:
        DatabaseUnavailable: the first heartbeat does not get through.
    """
    worker = Worker(WorkerId(new_id()), kind, node)
    db = Database(url, pool_size=1)
    with _locked(_lock_path(run_dir, worker.id)):
        await _beat(db, worker)
        await _forget_the_dead(db, node, run_dir)
        beating = asyncio.create_task(_keep_beating(db, worker), name="heartbeat")
        try:
            yield worker
        finally:
            beating.cancel()
            await asyncio.gather(beating, return_exceptions=True)
            with contextlib.suppress(Unavailable):  # the lock says it as well
                async with db.transaction() as conn:
                    await store.forget(conn, [worker.id])
            await db.close()


def has_ended(run_dir: Path, worker_id: uuid.UUID) -> bool:
    """Whether a process of this node is dead: its lock is free or gone."""
    try:
        descriptor = os.open(_lock_path(run_dir, worker_id), os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def is_dead(holder: Holder, node: str, probe: Callable[[uuid.UUID], bool]) -> bool:
    """Whether who holds something is dead, as seen from ``node``, whose processes ``probe`` asks after."""
    here = holder.node is None or holder.node == node
    return probe(holder.worker_id) if here else holder.late


def _lock_path(run_dir: Path, worker_id: uuid.UUID) -> Path:
    return run_dir / f"{worker_id}.lock"


@contextlib.contextmanager
def _locked(path: Path) -> Generator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


async def _keep_beating(db: Database, worker: Worker) -> None:
    pause_s = BEAT_S
    while True:
        await asyncio.sleep(pause_s)
        try:
            await _beat(db, worker)
            pause_s = BEAT_S
        except Unavailable as error:
            pause_s = min(BEAT_S, _RETRY_S)
            log.warning("heartbeat failed", silent_s=round(worker.silent_s, 1), reason=error.message)


async def _beat(db: Database, worker: Worker) -> None:
    async with db.transaction() as conn:
        await store.seen(conn, worker.id, worker.kind, worker.node, os.getpid())
    worker.heard()


async def _forget_the_dead(db: Database, node: str, run_dir: Path) -> None:
    async with db.reading() as conn:
        known = await store.of_node(conn, node)
    gone = [worker_id for worker_id in known if has_ended(run_dir, worker_id)]
    async with db.transaction() as conn:
        await store.forget(conn, gone)
    for worker_id in gone:
        _lock_path(run_dir, worker_id).unlink(missing_ok=True)
