"""The audit log: ``client.audit``. For administrators."""

from datetime import datetime
from typing import Any, TypedDict, Unpack

from msgspec import Struct

from raworc.client.transport import Transport, without_none


class AuditEntry(Struct, frozen=True):
    """One deed, or one refusal."""

    number: int
    at: datetime
    actor: str | None
    verb: str
    resource: str
    name: str | None
    space: str | None
    address: str | None
    allowed: bool
    details: dict[str, Any]
    hash: str


class AuditPage(Struct, frozen=True):
    """One page, the newest first; ``next_before`` is ``before`` of the next one."""

    entries: list[AuditEntry]
    next_before: int | None


class AuditFilters(TypedDict, total=False):
    """Which entries; what is not given does not matter."""

    actor: str | None
    verb: str | None
    resource: str | None
    name: str | None
    space: str | None
    allowed: bool | None
    before: int | None
    limit: int | None


class Audit:
    """Who did what, or was refused."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self, **filters: Unpack[AuditFilters]) -> AuditPage:
        """Entries, the newest first."""
        given = without_none(filters)
        query = {key: str(value).lower() if isinstance(value, bool) else value for key, value in given.items()}
        return self._transport.get("/api/audit", AuditPage, query)
