"""The recorder: tails the spool files of this node and loads what they hold. One process per node.

It waits for writes, loads at once when idle and in batches under load, and keeps at it while the database is
away: the spool grows, its memory does not. Where it stands is stored with what it loaded, so a restart repeats
nothing and leaves nothing out.
"""

import asyncio
import time
import uuid
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final

import structlog

from raworc.errors import Unavailable
from raworc.recorder.load import drain
from raworc.recorder.spools import WorkerSpool, spool_files
from raworc.recorder.watch import Watch
from raworc.services.recording import Recording
from raworc.services.workers import has_ended

_LOOK_EVERY_S: Final = 1.0  # for servers that died: that is no write
_GATHER_S: Final = 0.01  # between two passes under load
_RETRY_S: Final = (0.1, 0.2, 0.5, 1.0, 2.0)
_log = structlog.get_logger(__name__)


class Recorder:
    """All spools of a node. ``spool_dir`` is where servers write, ``run_dir`` where their locks lie."""

    def __init__(self, recording: Recording, *, spool_dir: Path, run_dir: Path) -> None:
        self._recording = recording
        self._spool_dir = spool_dir
        self._run_dir = run_dir
        self._spools: dict[uuid.UUID, WorkerSpool] = {}
        self.caught_up_at_s = 0.0  # since 1970; when nothing was left to load

    async def run(self, stop: asyncio.Event) -> None:
        """Load until ``stop`` is set, then once more, so that what was written before is loaded."""
        self._spool_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        watch = Watch(self._spool_dir)
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
        return added

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
                self._spools[worker_id] = WorkerSpool(self._spool_dir, worker_id, reached.get(worker_id))

    async def _load_last(self) -> None:
        try:
            await self.load_all()
        except Unavailable as error:
            _log.warning("recording_left", reason=error.message)  # the next recorder continues


async def _unless(stop: asyncio.Event, waiting: Coroutine[None, None, None]) -> None:
    """Wait for something, but not when told to stop."""
    tasks: list[asyncio.Task[Any]] = [asyncio.create_task(waiting), asyncio.create_task(stop.wait())]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _either(stop: asyncio.Event, limit_s: float) -> None:
    """Sleep, unless told to stop."""
    try:
        await asyncio.wait_for(stop.wait(), limit_s)
    except TimeoutError:
        return
