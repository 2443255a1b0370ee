"""Recorded model calls as the dashboard shows them: of every space that the caller may look into."""

import uuid
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.domain.access import may, spaces_for
from raworc.domain.ledger import Chosen
from raworc.domain.periods import LENGTHS, Cell, Stretch, stretch
from raworc.errors import Hidden, NotFound
from raworc.services.accounts import Caller
from raworc.services.requests import RequestView
from raworc.store import ledger as store
from raworc.store import usage
from raworc.store.database import Database
from raworc.store.ledger import Chunk, Said

__all__ = ["CallDetails", "CallPage", "Chunk", "Ledger", "Said", "visible"]

RESOURCE: Final = "requests"
_FAR: Final = 500


@dataclass(frozen=True)
class CallPage:
    """Some calls, and how many there are on all pages."""

    calls: list[RequestView]
    total: int


@dataclass(frozen=True)
class CallDetails:
    """One call with all that was said in it."""

    call: RequestView
    said: Said
    chunks: list[Chunk]


def visible(caller: Caller, chosen: Chosen, resource: str = RESOURCE) -> Chosen:
    """Of the calls that are meant, those of spaces where the caller may list them."""
    return replace(chosen, spaces=spaces_for(caller.grants, "list", resource))


class Ledger:
    """Pages of calls, and single ones."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def page(self, caller: Caller, chosen: Chosen, *, limit: int, offset: int) -> CallPage:
        """Calls that are meant and that the caller may see, the newest first."""
        async with self._db.reading() as conn:
            chosen = await _kept(conn, visible(caller, chosen))
            cells = await usage.cells(conn, chosen)
            total = sum(cell.count for cell in cells)
            place = await _placed(conn, chosen, cells, limit=limit, offset=offset)
            rows = await store.page(conn, chosen, place, limit=limit) if place else []
        return CallPage([RequestView(**vars(row)) for row in rows], total)

    async def find(self, caller: Caller, call_id: uuid.UUID) -> CallDetails:
        """One call with its bodies.

        Raises:
            NotFound: there is none.
            Hidden: there is one that the caller may not see.
        """
        async with self._db.reading() as conn:
            row = await store.find(conn, call_id)
            since = await store.kept_since(conn)
            if row is None or _is_gone(row.created_at, since):
                raise NotFound(f"Request '{call_id}' not found")
            if not _may_see(caller, row.space):
                raise Hidden(f"Request '{call_id}' not found")
            said, chunks = await store.said(conn, row), await store.chunks(conn, row)
        return CallDetails(RequestView(**vars(row)), said, chunks)


async def _kept(conn: AsyncConnection, chosen: Chosen) -> Chosen:
    since = await store.kept_since(conn)
    return chosen if since is None else replace(chosen, start=max(chosen.start, since))


async def _placed(
    conn: AsyncConnection, chosen: Chosen, cells: list[Cell], *, limit: int, offset: int
) -> Stretch | None:
    """Where a page's calls are. Far behind in a day, its hours are counted, so that no offset costs more than one."""
    place = stretch(cells, offset=offset, limit=limit)
    if place is None:
        return None
    first = next(cell for cell in cells if cell.end == place.end)
    if place.skip > _FAR and first.end - first.start > LENGTHS["hour"]:
        hours = await usage.cells(conn, replace(chosen, start=first.start, end=first.end), "hour")
        older = [cell for cell in cells if cell.end <= first.start]
        place = stretch([*hours, *older], offset=place.skip, limit=limit) or place
    newest = cells[0].end == place.end
    return replace(place, end=chosen.end) if newest else place  # what came since the count is shown, too


def _is_gone(at: datetime, since: datetime | None) -> bool:
    return since is not None and at < since


def _may_see(caller: Caller, space: str | None) -> bool:
    return may(caller.grants, "get", RESOURCE, space=space)
