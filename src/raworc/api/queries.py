"""Query parameters as types: whole numbers read strictly, those above a maximum clamped to it."""

import re
from typing import Annotated, Final

from fastapi import Query
from pydantic import BeforeValidator, WithJsonSchema

_WHOLE: Final = re.compile(r"-?[0-9]{1,100}")
_ON: Final = frozenset({"", "true", "1", "yes", "on"})
_OFF: Final = frozenset({"false", "0", "no", "off"})
_MOST: Final = 2**53 - 1


def whole(value: object, *, least: int, most: int = _MOST) -> int:
    """A whole number of at least ``least``, ``most`` where it is more.

    Raises:
        ValueError: it is none, or below ``least``.
    """
    if isinstance(value, bool) or not _WHOLE.fullmatch(str(value)):
        raise ValueError("must be a whole number")
    number = int(str(value))
    if number < least:
        raise ValueError(f"must be at least {least}")
    return min(number, most)


def _page_size(value: object) -> int:
    return whole(value, least=1, most=100)


def _response_count(value: object) -> int:
    return whole(value, least=0, most=1000)


def _entry_count(value: object) -> int:
    return whole(value, least=1, most=1000)


def _page(value: object) -> int:
    return whole(value, least=1)


def _offset(value: object) -> int:
    return whole(value, least=0)


def _integer(minimum: int) -> WithJsonSchema:
    return WithJsonSchema({"type": "integer", "minimum": minimum})


def _switch(value: object) -> bool:
    """Also for a parameter that is there without a value."""
    word = str(value).lower()
    if word not in _ON | _OFF:
        raise ValueError("must be true or false")
    return word in _ON


Switch = Annotated[
    bool, BeforeValidator(_switch), WithJsonSchema({"type": "boolean"}), Query(description="True or false")
]
PageSize = Annotated[
    int, BeforeValidator(_page_size), _integer(1), Query(description="Page size; above 100 counts as 100")
]
ResponseLimit = Annotated[
    int, BeforeValidator(_response_count), _integer(0), Query(description="How many; above 1000 counts as 1000")
]
EntryLimit = Annotated[
    int, BeforeValidator(_entry_count), _integer(1), Query(description="How many; above 1000 counts as 1000")
]
AccountLimit = Annotated[
    int, BeforeValidator(_entry_count), _integer(1), Query(description="How many; above 1000 counts as 1000")
]
PageNumber = Annotated[
    int, BeforeValidator(_page), _integer(1), Query(description="Page, from 1; ignored when `offset` is given")
]
Offset = Annotated[int, BeforeValidator(_offset), _integer(0), Query(description="How many rows to skip")]
