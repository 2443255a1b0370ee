"""Answers as bytes: JSON by msgspec, times as the documents write them."""

from datetime import datetime
from typing import Final

import msgspec
from starlette.responses import Response

from raworc.api.problems import JSON
from raworc.clock import rfc3339

_encoder: Final = msgspec.json.Encoder()


class Json(Response):
    """A JSON answer from plain values, encoded once."""

    media_type = JSON

    def __init__(self, content: object, *, headers: dict[str, str] | None = None, status: int = 200) -> None:
        super().__init__(encode(content), status_code=status, headers=headers)


class Empty(Response):
    """An answer without a body."""


def encode(content: object) -> bytes:
    """Plain values as JSON bytes."""
    return _encoder.encode(content)


def moment(value: datetime | None) -> str | None:
    """A time as the API shows it, or null."""
    return None if value is None else rfc3339(value)
