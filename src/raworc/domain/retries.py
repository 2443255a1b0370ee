"""What to do after a provider did not answer well, as long as the client has seen nothing of it. Pure."""

from collections.abc import Iterable
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Final

MOST_RETRIES: Final = 2
LONGEST_WAIT_S: Final = 30.0
COOL_DOWN_S: Final = 60.0
TOO_MANY: Final = 429
_LONGEST_COOL_DOWN_S: Final = 86_400.0
_FIRST_OF_SERVER: Final = 500
_NOT_IMPLEMENTED: Final = 501


def wait_s(
    status: int | None,
    headers: Iterable[tuple[bytes, bytes]],
    *,
    retries: int,
    first_s: float,
    chance: float,
    now: datetime,
) -> float | None:
    """Seconds until the next attempt at the same provider; None: no more, what came is the answer.

    ``status`` None: no connection, or it ended before an answer. ``retries`` were made. Without the provider's
    ``retry-after`` the wait doubles from ``first_s``; ``chance`` (0 to 1) spreads it, so that callers do not
    come back all at once.
    """
    told = list(headers)
    if retries >= MOST_RETRIES or not _is_passing(status) or _value(told, b"x-should-retry") == b"false":
        return None
    asked_s = retry_after_s(told, now)
    if asked_s is not None:
        return asked_s if asked_s <= LONGEST_WAIT_S else None
    return min(first_s * 2**retries * (0.5 + chance), LONGEST_WAIT_S)


def cool_down_s(headers: Iterable[tuple[bytes, bytes]], now: datetime) -> float:
    """How long an account is spared after a 429: as the provider asks, else a minute."""
    asked_s = retry_after_s(headers, now)
    return COOL_DOWN_S if asked_s is None else min(asked_s, _LONGEST_COOL_DOWN_S)


def retry_after_s(headers: Iterable[tuple[bytes, bytes]], now: datetime) -> float | None:
    """What ``retry-after`` says: seconds or a date (RFC 9110, 10.2.3); None: nothing that can be read."""
    value = _value(headers, b"retry-after").decode("latin-1").strip()
    if not value:
        return None
    if value.replace(".", "", 1).isdecimal() and value.isascii():
        return float(value)
    try:
        return max((parsedate_to_datetime(value) - now).total_seconds(), 0.0)
    except (ValueError, TypeError, OverflowError):
        return None


def _is_passing(status: int | None) -> bool:
    return status is None or (status >= _FIRST_OF_SERVER and status != _NOT_IMPLEMENTED)


def _value(headers: Iterable[tuple[bytes, bytes]], wanted: bytes) -> bytes:
    return next((value for name, value in headers if name.lower() == wanted), b"")
