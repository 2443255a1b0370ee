"""What stops when a disk fills up, and in which order: what can be refused first, what was promised never."""

from dataclasses import dataclass
from typing import Final

MEBIBYTE: Final = 1_048_576


@dataclass(frozen=True)
class Watermarks:
    """Free bytes of a disk below which something stops. Zero: nothing ever does.

    ``new_work_bytes``: new turns, agents and files are refused; what runs goes on.
    """

    new_work_bytes: int

    @classmethod
    def of_mb(cls, free_mb: int) -> "Watermarks":
        """The setting's unit."""
        return cls(free_mb * MEBIBYTE)

    @property
    def growth_bytes(self) -> int:
        """Model calls are refused, because they could not be recorded, and files in sandboxes cannot grow."""
        return self.new_work_bytes // 4

    @property
    def ballast_bytes(self) -> int:
        """The ballast is let go: Postgres needs the room to end what it has begun."""
        return self.new_work_bytes // 8


NO_MARKS: Final = Watermarks(0)


def wants_ballast(marks: Watermarks, free_bytes: int, size_bytes: int) -> bool:
    """Whether a ballast may be made: never one that would itself stop new work."""
    return size_bytes > 0 and free_bytes > 2 * marks.new_work_bytes + size_bytes


def drops_ballast(marks: Watermarks, free_bytes: int) -> bool:
    """Whether the ballast must go."""
    return free_bytes < marks.ballast_bytes
