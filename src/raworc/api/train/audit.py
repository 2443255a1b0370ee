"""The audit log, for administrators."""

from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import Depends, Query
from starlette.requests import Request
from starlette.responses import Response

from raworc.api.auth import MayListAudit
from raworc.api.parts import parts_of
from raworc.api.queries import EntryLimit, Offset, Switch
from raworc.api.render import Json, moment
from raworc.api.routes import Route
from raworc.api.train.audit_schemas import AuditPage
from raworc.api.train.queries import Name, When
from raworc.services.audit_log import AuditEntry, Wanted


@dataclass(frozen=True)
class Deeds:
    """What was done, by whom, to what."""

    actor: Annotated[Name | None, Query(description="The account that asked")] = None
    verb: Annotated[Name | None, Query(description="As `delete` or `login`")] = None
    resource: Annotated[Name | None, Query(description="A kind of thing, as `secrets`")] = None
    name: Annotated[Name | None, Query(description="Which one")] = None
    space: Annotated[Name | None, Query(description="In which space")] = None
    allowed: Annotated[Switch | None, Query(description="False: refusals; true: what was done")] = None


async def list_audit(
    request: Request,
    caller: MayListAudit,
    deeds: Annotated[Deeds, Depends()],
    when: Annotated[When, Depends()],
    *,
    before: Annotated[Offset | None, Query(description="Entries with smaller numbers: the next page")] = None,
    limit: EntryLimit = 100,
) -> Response:
    """Who did what, or was refused: every write and every refusal, the newest first."""
    wanted = Wanted(**vars(deeds), start=when.start, end=when.end, before=before)
    found = await parts_of(request).tenants.audit.page(caller, wanted, limit=limit)
    next_before = found[-1].number if len(found) == limit else None
    return Json({"entries": [_entry(row) for row in found], "next_before": next_before})


def _entry(row: AuditEntry) -> dict[str, Any]:
    return {**vars(row), "at": moment(row.at), "hash": row.hash.hex()}


ROUTES: Final = (Route("GET", "/api/audit", list_audit, AuditPage, is_root=True),)
