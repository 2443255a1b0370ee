"""What Postgres and JSON can hold: text without NUL and lone surrogates, numbers that are numbers, sane depth."""

import math
import re
from typing import Any, Final

from raworc.errors import BadRequest

REPLACEMENT: Final = "\ufffd"
MAX_DEPTH: Final = 100
_MAX_DIGIT_BITS: Final = 10_000  # about 3,000 digits; past 4,300 Python itself refuses to print one
_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")


def storable_text(value: str) -> str:
    """``value`` with NUL and lone surrogates replaced by U+FFFD."""
    return value if value.isascii() and "\0" not in value else _UNSTORABLE.sub(REPLACEMENT, value)


def storable(value: Any, depth: int = 0) -> Any:  # noqa: ANN401  any JSON
    """JSON (keys too) with every text made storable.

    Raises:
        BadRequest: deeper than 100 levels, or a number that JSON cannot say.
    """
    if depth > MAX_DEPTH:
        raise BadRequest(f"JSON may be nested {MAX_DEPTH} levels deep at most")
    if isinstance(value, str):
        return storable_text(value)
    if isinstance(value, list):
        return [storable(item, depth + 1) for item in value]  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, dict):
        return {storable_text(key): storable(item, depth + 1) for key, item in value.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    _check_number(value)
    return value


def is_plain(value: str) -> bool:
    """Whether ``value`` can be stored as it is."""
    return _UNSTORABLE.search(value) is None


def _check_number(value: object) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise BadRequest("JSON numbers must be finite")
    if isinstance(value, int) and value.bit_length() > _MAX_DIGIT_BITS:
        raise BadRequest("JSON numbers may have 3,000 digits at most")
