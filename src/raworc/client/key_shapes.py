"""Client keys as the server answers them."""

from datetime import datetime
from typing import Any, TypedDict

from msgspec import Struct


class ClientKey(Struct, frozen=True):
    """A key for programs that call models, as it is listed. ``models``: patterns, none for all."""

    id: str
    name: str
    space: str
    prefix: str
    train_id: str | None
    models: list[str]
    budget: dict[str, Any] | None
    expires_at: datetime | None
    created_at: datetime
    created_by: str


class MadeKey(ClientKey, frozen=True, kw_only=True):
    """A key that was just made, with the ``key`` itself."""

    key: str


class KeyFields(TypedDict, total=False):
    """What a new key may be bound to. ``expires_at``: RFC 3339."""

    space: str | None
    train_id: str | None
    models: list[str] | None
    budget: dict[str, Any] | None
    expires_at: str | None
