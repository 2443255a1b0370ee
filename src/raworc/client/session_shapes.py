"""Sessions of spaces and their messages, as the server answers them."""

from datetime import datetime
from typing import Any

from msgspec import Struct


class ListedSession(Struct, frozen=True):
    """A session in a list."""

    id: str
    space: str
    state: str
    created_at: datetime
    started_at: datetime | None
    last_activity_at: datetime | None


class Session(Struct, frozen=True):
    """A conversation with the agents of its space."""

    id: str
    space: str
    created_by: str
    state: str
    container_id: str | None
    persistent_volume_id: str | None
    parent_session_id: str | None
    created_at: datetime
    started_at: datetime | None
    last_activity_at: datetime | None
    terminated_at: datetime | None
    termination_reason: str | None
    metadata: dict[str, Any]


class Message(Struct, frozen=True):
    """Something that was said; ``role``: ``user``, ``assistant``, or ``system`` where there is no answer."""

    id: str
    session_id: str
    role: str
    content: str
    created_at: datetime


class MessageCount(Struct, frozen=True):
    """How many there are."""

    count: int


class Cleared(Struct, frozen=True):
    """How many are gone."""

    deleted: int
    session_id: str
