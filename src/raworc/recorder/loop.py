"""The recorder: tails the spool files of this node and loads what they hold. One process per node.

It waits for writes, loads at once when idle and in batches under load, and keeps at it while the database is
away: the spool grows, its memory does not. Where it stands is stored with what it loaded, so a restart repeats
nothing and leaves nothing out.
"""

import asyncio
import contextlib
import time
import uuid
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import structlog

from raworc.errors import Unavailable
from raworc.recorder.load import drain
from raworc.recorder.spools import WorkerSpool, spool_files
from raworc.recorder.watch import Watch
from raworc.services.background import Background
from raworc.services.linking import Linking
from raworc.services.recording import Recording
from raworc.services.retention import Retention
from raworc.services.workers import has_ended
from raworc.store.database import Database

_LOOK_EVERY_S: Final = 1.0  # for servers that died: that is no write
_DROP_EVERY_S: Final = 600.0
_GATHER_S: Final = 0.01  # between two passes under load
_LAST_S: Final = 5.0  # to load what came before a stop
_RETRY_S: Final = (0.1, 0.2, 0.5, 1.0, 2.0)
_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Placing:
    """What is found out of calls once they are loaded: their conversations, and what became of them later."""

    linking: Linking
    background: Background

    @classmethod
    def over(cls, db: Database) -> "Placing":
        """Both in this database."""
        return cls(Linking(db), Background(db))

    async def place(self, stop: asyncio.Event) -> None:
        """Find out all there is, or as much as there is time for."""
        for step in (self.background.settle, self.linking.link):  # some that have failed need a new place
            while not stop.is_set() and await step():
                pass


@dataclass(frozen=True)
class Keeping:
    """For how many days calls are kept, and what drops the older ones."""

    retention: Retention
    days: int


class Recorder:
    """All spools of a node. ``spool_dir`` is where servers write, ``run_dir`` where their locks lie."""

    def __init__(
        self, recording: Recording, placing: Placing, *, spool_dir: Path, run_dir: Path, keeping: Keeping | None = None
    ) -> None:
        self._recording = recording
        self._keeping = keeping
        self._placing = placing
        self._added = asyncio.Event()
        self._spool_dir = spool_dir
        self._run_dir = run_dir
        self._spools: dict[uuid.UUID, WorkerSpool] = {}
        self.caught_up_at_s = 0.0  # since 1970; when nothing was left to load

    async def run(self, stop: asyncio.Event) -> None:
        """Load until ``stop`` is set, then once more, so that what was written before is loaded, unless it is much."""
        self._spool_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        watch = Watch(self._spool_dir)
        beside = [
            asyncio.create_task(self._place(stop), name="linking"),
            asyncio.create_task(self._drop_old(stop), name="retention"),
        ]
        failures = 0
        try:
            while not stop.is_set():
                try:
                    await self.load_all()
                    failures, self.caught_up_at_s = 0, time.time()
                except Unavailable as error:
                    pause_s = _RETRY_S[min(failures, len(_RETRY_S) - 1)]
                    _log.warning("recording_waits", reason=error.message, again_in_s=pause_s)
                    failures += 1
                    await _either(stop, pause_s)
                    continue
                await _unless(stop, watch.wait(_LOOK_EVERY_S))
                await _either(stop, _GATHER_S)
            await self._load_last()
        finally:
            self._added.set()
            await asyncio.gather(*beside)
            watch.close()
            self.close()

    async def load_all(self) -> int:
        """Load everything that is there now; the number of new rows.

        Raises:
            Unavailable: the database is away; call again, nothing is lost.
        """
        await self._discover()
        added = 0
        for spool in list(self._spools.values()):
            added += await drain(spool, self._recording, lambda spool=spool: has_ended(self._run_dir, spool.worker_id))
            if spool.finished:
                await self._recording.forget([spool.worker_id])
                spool.close()
                del self._spools[spool.worker_id]
        if added:
            self._added.set()
        return added

    async def _place(self, stop: asyncio.Event) -> None:
        """Find the conversations of what is loaded, beside the loading."""
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_EVERY_S):
                    await self._added.wait()
            self._added.clear()
            try:
                await self._placing.place(stop)
            except Unavailable as error:
                _log.warning("linking_waits", reason=error.message)
                await _either(stop, _LOOK_EVERY_S)

    async def _drop_old(self, stop: asyncio.Event) -> None:
        """Drop days that are kept no longer, beside the loading."""
        while self._keeping is not None and not stop.is_set():
            try:
                await self._keeping.retention.drop(self._keeping.days, lambda day: _log.info("dropped_calls", day=day))
            except Unavailable as error:
                _log.warning("retention_waits", reason=error.message)
            await _either(stop, _DROP_EVERY_S)

    def close(self) -> None:
        """Let go of every file."""
        for spool in self._spools.values():
            spool.close()
        self._spools.clear()

    async def _discover(self) -> None:
        new = {worker_id for worker_id, _ in spool_files(self._spool_dir)} - self._spools.keys()
        if new:
            reached = await self._recording.positions(list(new))
            for worker_id in new:
                spool = WorkerSpool(self._spool_dir, worker_id, position := reached.get(worker_id))
                if position is not None:
                    spool.remove_files(position)  # a recorder may have died between storing and removing
                self._spools[worker_id] = spool

    async def _load_last(self) -> None:
        """What is left then is loaded by the next recorder."""
        try:
            async with asyncio.timeout(_LAST_S):
                await self.load_all()
        except Unavailable as error:
            _log.warning("recording_left", reason=error.message)
        except TimeoutError:
            _log.warning("recording_left", reason=f"There is more than could be loaded in {_LAST_S:g} s")


async def _unless(stop: asyncio.Event, waiting: Coroutine[None, None, None]) -> None:
    """Wait for something, but not when told to stop."""
    tasks: list[asyncio.Task[Any]] = [asyncio.create_task(waiting), asyncio.create_task(stop.wait())]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _either(stop: asyncio.Event, limit_s: float) -> None:
    """Sleep, unless told to stop."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(limit_s):
            await stop.wait()
