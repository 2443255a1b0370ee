"""Time as the API shows it. What decides anything compares times of the database's clock only."""

from datetime import UTC, datetime, timedelta
from typing import Final

_ZERO: Final = timedelta(0)


def now() -> datetime:
    """This process's idea of the present, in UTC: for logs and tokens, never for a decision on stored rows."""
    return datetime.now(UTC)


def rfc3339(moment: datetime) -> str:
    """RFC 3339 in UTC with six fractional digits and ``Z``, e.g. ``2026-01-01T12:00:00.000000Z``."""
    if moment.tzinfo is not UTC and moment.utcoffset() != _ZERO:
        moment = moment.astimezone(UTC)
    return moment.isoformat(timespec="microseconds")[:26] + "Z"
