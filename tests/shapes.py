"""Documented shapes of JSON, written as they are documented, and comparing answers and OpenAPI documents with them.

A shape is a type of those below or of Python's, a dict of fields, a list of one shape, a dict from ``str`` to one, a
tuple of the values that may stand there, or ``... | None`` of what the documents call optional. Fields that a shape
does not name are additions.
"""

import re
import uuid
from collections.abc import Callable, Iterator
from typing import Any, get_args

Shape = Any
WHERE = re.compile(r"\[\d+\]|\.<[^>]*>")


class Time:
    """RFC 3339 in UTC."""


class Day:
    """YYYY-MM-DD."""


class Uuid:
    """Version 4."""


class Hash:
    """SHA-256 in hex."""


def compared(value: Any, shape: Shape, where: str = "") -> Iterator[tuple[str, Any]]:
    """Every documented field of an answer, by its place, with what it is. Fails where it has another type."""
    if isinstance(shape, dict) and str in shape:
        assert isinstance(value, dict), where
        for name, one in value.items():
            yield from compared(one, shape[str], f"{where}.<{name}>")
    elif isinstance(shape, dict):
        assert shape.keys() <= value.keys(), where
        for name, one in shape.items():
            yield from compared(value[name], one, f"{where}.{name}")
    elif isinstance(shape, list):
        assert isinstance(value, list), where
        for number, one in enumerate(value):
            yield from compared(one, shape[0], f"{where}[{number}]")
    else:
        assert is_of(value, shape), f"{where} is {value!r}"
        yield WHERE.sub("[]", where), value


def is_of(value: Any, shape: Shape) -> bool:
    if isinstance(shape, tuple):
        return value in shape
    if get_args(shape):
        return value is None or is_of(value, get_args(shape)[0])
    return bool(IS_OF[shape](value))


IS_OF: dict[Shape, Callable[[Any], object]] = {
    Any: lambda _: True,
    bool: lambda value: isinstance(value, bool),
    int: lambda value: type(value) is int,
    float: lambda value: type(value) in {int, float},
    str: lambda value: isinstance(value, str),
    Time: lambda value: re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", value),
    Day: lambda value: re.fullmatch(r"\d{4}-\d\d-\d\d", value),
    Uuid: lambda value: str(uuid.UUID(value)) == value and uuid.UUID(value).version == 4,
    Hash: lambda value: re.fullmatch("[0-9a-f]{64}", value),
}


def described(document: Any, schema: Any, shape: Shape, where: str) -> None:
    """Fails where a schema does not say what is documented."""
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    if get_args(shape):
        assert {"type": "null"} in schema["anyOf"], where
        (schema,), shape = [one for one in schema["anyOf"] if one != {"type": "null"}], get_args(shape)[0]
    if isinstance(shape, dict) and str in shape:
        described(document, schema["additionalProperties"], shape[str], where)
    elif isinstance(shape, dict):
        assert shape.keys() <= set(schema["required"]), where
        for name, one in shape.items():
            described(document, schema["properties"][name], one, f"{where}.{name}")
    elif isinstance(shape, list):
        assert schema["type"] == "array", where
        described(document, schema["items"], shape[0], f"{where}[]")
    elif isinstance(shape, tuple):
        assert schema["enum"] == list(shape), where
    elif shape is not Any:
        names = {int: "integer", float: "number", bool: "boolean"}
        assert schema["type"] == names.get(shape, "string"), where
        assert (schema.get("format") == "date-time") == (shape is Time), where
