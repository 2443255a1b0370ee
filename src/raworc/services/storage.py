"""Whether the disks of this node have room for new work. Reading, deleting and cancelling need none."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from raworc.domain.storage import MEBIBYTE, NO_MARKS, Watermarks
from raworc.errors import StorageFull
from raworc.settings import Settings

_RETRY_AFTER: Final = {"Retry-After": "5"}


@dataclass(frozen=True)
class Room:
    """How much a disk has left. ``folder`` is one of ours that lies on it."""

    folder: Path
    free_bytes: int


@dataclass(frozen=True)
class Storage:
    """Folders that work needs, and how much must be free where they lie. Without folders there is always room."""

    folders: tuple[Path, ...] = ()
    marks: Watermarks = NO_MARKS

    @classmethod
    def of(cls, settings: Settings) -> "Storage":
        """Those of an installation; a Postgres elsewhere minds its own disk."""
        own = (settings.home, settings.sessions_dir, settings.spool_dir, settings.home / "pg")
        return cls(own, Watermarks.of_mb(settings.disk_free_mb))

    def fullest(self) -> Room | None:
        """The disk that has least left; None when there is none to look at. A look takes a few microseconds."""
        rooms = [room for folder in self.folders if (room := _room(folder)) is not None]
        return min(rooms, key=lambda room: room.free_bytes, default=None)

    @property
    def is_low(self) -> bool:
        """Whether new work is refused."""
        room = self.fullest()
        return room is not None and room.free_bytes < self.marks.new_work_bytes

    def check(self) -> None:
        """Nothing, when there is room for new work.

        Raises:
            StorageFull: there is not; the message says how much is missing.
        """
        room = self.fullest()
        if room is not None and room.free_bytes < self.marks.new_work_bytes:
            left, needed = room.free_bytes // MEBIBYTE, self.marks.new_work_bytes // MEBIBYTE
            raise StorageFull(
                f"The server's disk has {left} MiB left and new work needs {needed}: free some space, then try again;"
                " what runs goes on, and reading, deleting and cancelling are possible",
                headers=_RETRY_AFTER,
            )


def _room(folder: Path) -> Room | None:
    try:
        found = os.statvfs(folder)
    except OSError:
        return None
    return Room(folder, found.f_bavail * found.f_frsize)
