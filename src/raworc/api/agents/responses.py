"""Responses: give an agent work, wait for it, read it, write to it from outside."""

import uuid
from collections.abc import AsyncGenerator, Sequence
from typing import Annotated, Final

from fastapi import Depends
from starlette.requests import Request
from starlette.responses import Response

from raworc.api.agents.render import response_object
from raworc.api.agents.schemas import NewResponseBody, ResponseChangeBody, ResponseCount, ResponseObject
from raworc.api.auth import MayFollow, MayReport, MayUpdate
from raworc.api.bodies import JsonBody
from raworc.api.connection import while_connected
from raworc.api.download import list_response
from raworc.api.once import Once, replayed
from raworc.api.parts import parts_of
from raworc.api.queries import Offset, ResponseLimit
from raworc.api.render import Json, encode
from raworc.api.routes import Route
from raworc.errors import Conflict, GatewayTimeout, NotFound, RateLimited, StorageFull
from raworc.ids import TurnId
from raworc.services.turns import TurnChange, TurnView


async def create_response(
    request: Request,
    name: str,
    caller: MayUpdate,
    body: Annotated[NewResponseBody, Depends(JsonBody(NewResponseBody))],
    once: Once,
) -> Response:
    """Give the agent work. With `background: false` the answer comes when it is done, within 15 minutes.

    Asked again under the same `Idempotency-Key`, that waits for the same work.
    """
    parts = parts_of(request)
    started = await once.answered(
        caller,
        lambda keep: parts.turns.start(caller, name, body.input, when_busy=body.when_busy, keep=keep),
        response_object,
    )
    if body.background:
        return replayed(started)
    waiting = parts.turns.wait(caller, name, turn_id(started.id), parts.blocking_timeout_s)
    return replayed(started, encode(response_object(await while_connected(request, waiting))))


async def list_responses(
    request: Request, name: str, caller: MayFollow, limit: ResponseLimit = 100, offset: Offset = 0
) -> Response:
    """Responses in order of creation, markers (slept, woke) included."""
    turns = parts_of(request).turns
    page = await turns.page(caller, name, limit, offset)
    if not page.left:
        return Json([response_object(turn) for turn in page.turns])

    async def pages() -> AsyncGenerator[Sequence[TurnView]]:
        part, start = page, offset
        while part.turns:
            yield part.turns
            start += len(part.turns)
            part = await turns.page(caller, name, part.left, start)

    return await list_response(pages(), response_object)


async def count_responses(request: Request, name: str, caller: MayFollow) -> Response:
    """How many responses the agent has, markers included."""
    return Json(vars(await parts_of(request).turns.count(caller, name)))


async def get_response(request: Request, name: str, response_id: str, caller: MayFollow) -> Response:
    """One response with its segments so far."""
    return Json(response_object(await parts_of(request).turns.get(caller, name, turn_id(response_id))))


async def update_response(
    request: Request,
    name: str,
    response_id: str,
    caller: MayReport,
    body: Annotated[ResponseChangeBody, Depends(JsonBody(ResponseChangeBody))],
) -> Response:
    """Append output items, or settle the response from outside."""
    change = TurnChange(status=body.status, input=body.input, output=body.output)
    turns = parts_of(request).turns
    return Json(response_object(await turns.change(caller, name, turn_id(response_id), change)))


def turn_id(response_id: str) -> TurnId:
    """The id in a path; what is not a UUID names no response."""
    try:
        return TurnId(uuid.UUID(response_id))
    except ValueError:
        raise NotFound(f"Response '{response_id[:100]}' not found") from None


_WORK_FAILS: Final = (Conflict, RateLimited, StorageFull, GatewayTimeout)

ROUTES: Final = (
    Route("GET", "/agents/{name}/responses", list_responses, list[ResponseObject]),
    Route("POST", "/agents/{name}/responses", create_response, ResponseObject, fails=_WORK_FAILS),
    Route("GET", "/agents/{name}/responses/count", count_responses, ResponseCount),
    Route("GET", "/agents/{name}/responses/{response_id}", get_response, ResponseObject),
    Route("PUT", "/agents/{name}/responses/{response_id}", update_response, ResponseObject, fails=(Conflict,)),
)
