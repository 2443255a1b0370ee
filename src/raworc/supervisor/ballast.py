"""A file that only takes up room beside the embedded Postgres: let go when the disk is full, made again later.

A Postgres that cannot write its log stops, and cannot start again before it can. New work is refused long before
that; the ballast is for what nobody refuses: a disk that something else fills.
"""

import asyncio
import os
from pathlib import Path
from typing import Final

import structlog

from raworc.domain.storage import MEBIBYTE, Watermarks, drops_ballast, wants_ballast
from raworc.settings import Settings

LOOK_EVERY_S: Final = 1.0

log = structlog.get_logger(__name__)


class Ballast:
    """The file ``ballast`` in a folder. ``keep`` runs while its disk is in use."""

    def __init__(self, folder: Path, size_bytes: int, marks: Watermarks) -> None:
        self._path = folder / "ballast"
        self._size_bytes = size_bytes
        self._marks = marks

    @classmethod
    def of(cls, settings: Settings) -> "Ballast":
        """Beside the embedded Postgres."""
        size = settings.ballast_mb * MEBIBYTE
        return cls(settings.home / "pg", size, Watermarks.of_mb(settings.disk_free_mb))

    async def keep(self) -> None:
        """Look every second, until cancelled."""
        while True:
            await asyncio.to_thread(self.look)
            await asyncio.sleep(LOOK_EVERY_S)

    def look(self) -> None:
        """Let go of it, or make it, if it is time. A disk that does not answer is looked at again. Blocks."""
        try:
            self.relieve()
            if wants_ballast(self._marks, self._free(), self._size_bytes) and not self._path.exists():
                self._make()
        except OSError as error:
            log.warning("ballast not looked after", reason=str(error))

    def relieve(self) -> None:
        """Let go of it if the disk is full."""
        free = self._free()
        if drops_ballast(self._marks, free) and self._path.exists():
            self._path.unlink()
            log.error("the disk is full: let go of the ballast", free_bytes=free, path=str(self._path))

    def _free(self) -> int:
        found = os.statvfs(self._path.parent)
        return found.f_bavail * found.f_frsize

    def _make(self) -> None:
        draft = self._path.with_suffix(".new")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, self._size_bytes)
        except OSError:
            draft.unlink()
            raise
        finally:
            os.close(descriptor)
        draft.rename(self._path)
        log.info("made the ballast", size_bytes=self._size_bytes, path=str(self._path))
