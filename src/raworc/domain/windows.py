"""The windows that a provider's account is used in: five hours from the first call after the window before."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

_LATEST_S: Final = 4_102_444_800  # the year 2100
LENGTH: Final = timedelta(minutes=300)


def holding(starts: Sequence[datetime], at: datetime) -> datetime | None:
    """The start of the window that ``at`` lies in, of windows which began at ``starts`` (ascending)."""
    index = bisect_right(starts, at)
    return starts[index - 1] if index and at < starts[index - 1] + LENGTH else None


@dataclass(frozen=True)
class Told:
    """What a provider says of an account's window: which ``share`` of it is used (1: all), and when it is over."""

    share: float
    resets_at: datetime | None
    status: str | None


def told_of(answers: Sequence[Mapping[str, str]]) -> Told | None:
    """What the newest answer says that says it, of answers' headers with the newest first."""
    for headers in answers:
        share = _number(headers.get("anthropic-ratelimit-unified-5h-utilization"))
        if share is not None:
            resets = _number(headers.get("anthropic-ratelimit-unified-5h-reset"))
            resets_at = None if resets is None else datetime.fromtimestamp(resets, UTC)
            return Told(share, resets_at, headers.get("anthropic-ratelimit-unified-5h-status"))
    return None


def _number(text: str | None) -> float | None:
    """A number that means something: not negative, and no later than the year 2100 as a time."""
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if 0 <= number < _LATEST_S else None
