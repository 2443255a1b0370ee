"""Spaces and what belongs to them, as the server answers them."""

from datetime import datetime
from typing import Any, TypedDict

from msgspec import Struct


class Space(Struct, frozen=True):
    """A tenant."""

    name: str
    description: str | None
    settings: dict[str, Any]
    active: bool
    created_at: datetime
    updated_at: datetime


class SpaceSecret(Struct, frozen=True):
    """A secret of a space; ``value`` where it was asked for."""

    key_name: str
    description: str | None
    created_at: datetime
    updated_at: datetime
    value: str | None = None


class ServiceAccount(Struct, frozen=True):
    """Who logs in. ``space``: where it belongs, which gives it no right there."""

    id: str
    user: str
    space: str | None
    description: str | None
    active: bool
    created_at: datetime
    updated_at: datetime
    last_login_at: datetime | None


class Rule(Struct, frozen=True):
    """Verbs on resources."""

    resources: list[str]
    verbs: list[str]
    scope: str = "space"


class Role(Struct, frozen=True):
    """What may be bound to accounts."""

    id: str
    name: str
    description: str | None
    rules: list[Rule]
    created_at: datetime


class Binding(Struct, frozen=True):
    """A role for an account, in one space or (None) everywhere."""

    id: str
    subject: str
    role_ref: str
    space: str | None
    created_at: datetime


class AccountFields(TypedDict, total=False):
    """What else a new account may have."""

    space: str | None
    description: str | None


class AccountChanges(AccountFields, total=False):
    """What of an account may change."""

    active: bool | None


class CodeAgent(Struct, frozen=True):
    """An agent that is code of a repository."""

    name: str
    description: str | None
    purpose: str | None
    source_repo: str
    source_branch: str | None
    status: str


class Build(Struct, frozen=True):
    """The making of all active agents of a space."""

    id: str
    status: str
    started_at: datetime | None
    completed_at: datetime | None
    logs: str

    @property
    def is_settled(self) -> bool:
        """Whether it has ended, well or not."""
        return self.status in {"completed", "failed"}


class Deployment(Struct, frozen=True):
    """Whether a code agent's handler is kept warm."""

    name: str
    status: str
    started_at: datetime | None


class LogLines(Struct, frozen=True):
    """What a code agent's handlers wrote."""

    logs: list[str]
