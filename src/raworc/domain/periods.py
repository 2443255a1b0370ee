"""Periods cut into days, hours and rests, so that sums which are kept by day and by hour add up to the microsecond.

All times are UTC. A period begins with its start and ends before its end.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

Grain = Literal["day", "hour", "call"]

BEGINNING: Final = datetime(1970, 1, 1, tzinfo=UTC)
END: Final = datetime(9999, 1, 1, tzinfo=UTC)
_HOUR: Final = timedelta(hours=1)
_DAY: Final = timedelta(days=1)
LENGTHS: Final = {"day": _DAY, "hour": _HOUR}


@dataclass(frozen=True)
class Span:
    """A stretch of time whose calls are counted by whole days, by whole hours, or one by one."""

    grain: Grain
    start: datetime
    end: datetime


@dataclass(frozen=True)
class Cell:
    """How many calls began in a stretch of time."""

    start: datetime
    end: datetime
    count: int


@dataclass(frozen=True)
class Stretch:
    """Where the calls of a page are: between ``start`` and ``end``, behind the newest ``skip`` of them."""

    start: datetime
    end: datetime
    skip: int


def spans(start: datetime, end: datetime, coarsest: Grain = "day") -> list[Span]:
    """The period as few spans, in order: days inside, hours around them, rests at both ends."""
    hours = _ceil(start, _HOUR), _floor(end, _HOUR)
    if hours[0] > hours[1]:
        return _existing(Span("call", start, end))
    days = _ceil(hours[0], _DAY), _floor(hours[1], _DAY)
    inner = (
        [Span("hour", *hours)]
        if days[0] > days[1] or coarsest != "day"
        else [Span("hour", hours[0], days[0]), Span("day", *days), Span("hour", days[1], hours[1])]
    )
    return _existing(Span("call", start, hours[0]), *inner, Span("call", hours[1], end))


def stretch(cells: Sequence[Cell], *, offset: int, limit: int) -> Stretch | None:
    """Where the calls of a page are found, in cells with the newest first; None where the page is empty."""
    before = 0
    first: Cell | None = None
    skip = 0
    for cell in cells:
        before += cell.count
        if first is None and before > offset:
            first, skip = cell, offset - (before - cell.count)
        if first is not None and before >= offset + limit:
            return Stretch(cell.start, first.end, skip)
    return None if first is None else Stretch(cells[-1].start, first.end, skip)


def day_of(moment: datetime) -> datetime:
    """The beginning of its day."""
    return _floor(moment, _DAY)


def hour_of(moment: datetime) -> datetime:
    """The beginning of its hour."""
    return _floor(moment, _HOUR)


def _existing(*found: Span) -> list[Span]:
    return [span for span in found if span.start < span.end]


def _floor(moment: datetime, unit: timedelta) -> datetime:
    return moment - (moment - BEGINNING) % unit


def _ceil(moment: datetime, unit: timedelta) -> datetime:
    floor = _floor(moment, unit)
    return floor if floor == moment else floor + unit
