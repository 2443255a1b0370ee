"""The recorded model calls of an agent, or of one of its responses: newest first, without bodies."""

from typing import Annotated, Final

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from raworc.api.agents.render import request_page
from raworc.api.agents.request_schemas import RecordedCalls
from raworc.api.agents.responses import turn_id
from raworc.api.auth import MayGet
from raworc.api.parts import parts_of
from raworc.api.queries import PageNumber, PageSize
from raworc.api.render import Json
from raworc.api.routes import Route

Page = Annotated[PageNumber, Query(description="Page, from 1")]


async def agent_requests(
    request: Request, name: str, caller: MayGet, page: Page = 1, per_page: PageSize = 50
) -> Response:
    """Every model call of an agent, those made inside its sandbox included."""
    found = await parts_of(request).train.requests.for_agent(caller, name, page=page, per_page=per_page)
    return Json(request_page(found))


async def response_requests(
    request: Request, name: str, response_id: str, caller: MayGet, *, page: Page = 1, per_page: PageSize = 50
) -> Response:
    """The model calls of one response."""
    requests = parts_of(request).train.requests
    found = await requests.for_turn(caller, name, turn_id(response_id), page=page, per_page=per_page)
    return Json(request_page(found))


ROUTES: Final = (
    Route("GET", "/agents/{name}/requests", agent_requests, RecordedCalls),
    Route("GET", "/agents/{name}/responses/{response_id}/requests", response_requests, RecordedCalls),
)
