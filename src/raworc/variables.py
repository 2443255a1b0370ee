"""Fields of a dataclass that environment variables set: what each may be, and how its text is read.

The environment itself is read by ``settings.py`` alone.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from raworc.errors import BadRequest

VARIABLE = "variable"
_MAY_BE_ZERO = (
    "RAWORC_PORT",
    "RAWORC_DISK_FREE_MB",
    "RAWORC_BALLAST_MB",
    "RAWORC_RETENTION_DAYS",
    "RAWORC_REQUESTS_PER_MINUTE",
)
_T = TypeVar("_T")


@dataclass(frozen=True)
class Variable:
    """What an environment variable sets: its name, its meaning in one line, and what it may be."""

    key: str
    meaning: str
    choices: tuple[str, ...] = ()
    bounds: tuple[int, int] | None = None


def variable(
    key: str,
    default: _T,
    meaning: str,
    *,
    is_secret: bool = False,
    choices: tuple[str, ...] = (),
    most: int = 2**31 - 1,
) -> _T:
    """A field that the environment variable ``key`` sets. ``repr`` does not show secret ones."""
    bounds = (0 if isinstance(default, float) or key in _MAY_BE_ZERO else 1, most)
    told = Variable(key, meaning, choices, bounds)
    return field(default=default, repr=not is_secret, metadata={VARIABLE: told})


def variables(kind: type[Any]) -> Iterator[tuple[Field[Any], Variable]]:
    """The fields of a kind of settings that variables set, in their order."""
    for item in fields(kind):
        if VARIABLE in item.metadata:
            yield item, item.metadata[VARIABLE]


def given(kind: type[Any], env: Mapping[str, str]) -> dict[str, Any]:
    """What the environment says, by field. An empty variable says nothing.

    Raises:
        BadRequest: a variable that cannot be read; the message names it.
    """
    return {item.name: _read(item, told, env[told.key]) for item, told in variables(kind) if env.get(told.key)}


def _read(item: Field[Any], told: Variable, raw: str) -> object:
    if item.type in {bool, bool | None}:
        return _switch(raw, told.key)
    if item.type is int or item.type is float:
        return _number(raw, told, item.type)
    if item.type in {Path, Path | None}:
        return Path(raw)
    if told.choices and raw not in told.choices:
        raise BadRequest(f"'{told.key}' must be one of {', '.join(told.choices)}, not '{raw}'")
    return raw


def _number(raw: str, told: Variable, kind: type[int] | type[float]) -> float:
    try:
        number = kind(raw)
    except ValueError:
        raise BadRequest(f"'{told.key}' must be a number, not '{raw}'") from None
    least, most = told.bounds or (-math.inf, math.inf)
    if not least <= number <= most:  # neither holds for 'nan'
        raise BadRequest(f"'{told.key}' must be {least} to {most}, not '{raw}'")
    return number


def _switch(raw: str, key: str) -> bool:
    words = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    if raw.lower() not in words:
        raise BadRequest(f"'{key}' must be on or off, not '{raw}'")
    return words[raw.lower()]
