"""Recorded model calls of every space that the caller may look into."""

import uuid
from typing import Annotated, Final

from fastapi import Depends
from starlette.requests import Request
from starlette.responses import Response

from raworc.api.auth import MayGetRequests, MayListRequests
from raworc.api.parts import parts_of
from raworc.api.render import Json
from raworc.api.routes import Route
from raworc.api.train import render
from raworc.api.train.queries import Page, What, When, Where
from raworc.api.train.request_schemas import TrainCallDetails, TrainCalls
from raworc.errors import NotFound


async def list_requests(
    request: Request,
    caller: MayListRequests,
    where: Annotated[Where, Depends()],
    what: Annotated[What, Depends()],
    when: Annotated[When, Depends()],
    page: Annotated[Page, Depends()],
) -> Response:
    """Recorded model calls without their bodies, the newest first."""
    chosen = where.chosen(when, what)
    found = await parts_of(request).train.ledger.page(caller, chosen, limit=page.size, offset=page.skipped)
    return Json({"requests": [render.call(call) for call in found.calls], "pagination": page.shown(found.total)})


async def get_request(request: Request, request_id: str, caller: MayGetRequests) -> Response:
    """One recorded model call with its bodies and, where it was streamed, the pieces of the stream."""
    try:
        wanted = uuid.UUID(request_id)
    except ValueError:
        raise NotFound(f"Request '{request_id[:80]}' not found") from None
    return Json(render.details(await parts_of(request).train.ledger.find(caller, wanted)))


ROUTES: Final = (
    Route("GET", "/api/requests", list_requests, TrainCalls, is_root=True),
    Route("GET", "/api/requests/{request_id}", get_request, TrainCallDetails, is_root=True),
)
