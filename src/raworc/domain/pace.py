"""How often somebody may ask: so many times a minute, all at once or one after another.

A caller is one number: the moment at which all of its minute is free again. Each request puts it a share later (the
generic cell rate algorithm).
"""

from dataclasses import dataclass, field
from typing import Final

MINUTE_S: Final = 60.0
MOST_KNOWN: Final = 50_000


@dataclass(frozen=True)
class Free:
    """The request is within the pace; all of its caller's minute is free again ``at_s``."""

    at_s: float


@dataclass(frozen=True)
class Wait:
    """It is one too many: ask again after ``for_s`` seconds."""

    for_s: float


def counted(free_at_s: float, now_s: float, *, per_minute: int) -> Free | Wait:
    """What one more request comes to. A refused one is not counted."""
    share_s = MINUTE_S / per_minute
    next_s = max(free_at_s, now_s) + share_s
    wait_s = next_s - now_s - MINUTE_S
    return Wait(wait_s) if wait_s > share_s / 2 else Free(next_s)


@dataclass
class Known:
    """The callers of the last minutes: looked up and kept in a few steps, however many there are.

    They stand in two halves. After two minutes, or ``most`` callers, the older half is forgotten and the younger one
    becomes it. So nobody is looked through, whoever asked within two minutes is known, and the memory has an end:
    only where more than ``most`` come at once is somebody forgotten early, and begins anew.
    """

    most: int = MOST_KNOWN
    _since_s: float | None = None
    _younger: dict[str, float] = field(default_factory=dict[str, float])
    _older: dict[str, float] = field(default_factory=dict[str, float])

    def free_at_s(self, caller: str, now_s: float) -> float:
        """When all of its minute is free: now, where nothing is known of it."""
        return self._younger.get(caller) or self._older.get(caller) or now_s

    def keep(self, caller: str, free_at_s: float, now_s: float) -> None:
        """Know this of it from now on."""
        if self._since_s is None or now_s - self._since_s > 2 * MINUTE_S or len(self._younger) >= self.most:
            self._older, self._younger = self._younger, {}
            self._since_s = now_s
        self._younger[caller] = free_at_s

    def __len__(self) -> int:
        """How many are known; one that asked in both halves counts twice."""
        return len(self._younger) + len(self._older)
