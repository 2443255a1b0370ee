"""Messages of the sessions of the contract organizations."""

from typing import Annotated, Any, Final

from fastapi import Depends
from starlette.requests import Request
from starlette.responses import Response

from raworc.api.auth import MayClearMessages, MayListMessages, MaySendMessage
from raworc.api.bodies import JsonBody
from raworc.api.once import Once
from raworc.api.organizations import session_schemas as schemas
from raworc.api.parts import parts_of
from raworc.api.queries import EntryLimit, Offset
from raworc.api.render import Empty, Json, moment
from raworc.api.routes import Route, success_of
from raworc.errors import Conflict, RateLimited
from raworc.services import messages as service

_LIMIT: Final = 100


async def list_messages(
    request: Request,
    id: str,  # noqa: A002  the path's word
    caller: MayListMessages,
    *,
    limit: EntryLimit = _LIMIT,
    offset: Offset | None = None,
) -> Response:
    """What was said, the oldest first; without `offset` the newest `limit` of it.

    Every answer is a message, too, of the agent that gave it.
    """
    found = await parts_of(request).tenants.messages.page(caller, id, limit=limit, offset=offset)
    return Json([_shown(message) for message in found])


async def create_message(
    request: Request,
    id: str,  # noqa: A002  the path's word
    caller: MaySendMessage,
    body: Annotated[schemas.NewSessionMessageBody, Depends(JsonBody(schemas.NewSessionMessageBody))],
    once: Once,
) -> Response:
    """Say something. One of the session's agents answers a USER; for that, a session in IDLE wakes."""
    new = service.NewMessage(body.content, body.role, body.agent_id, body.metadata or {})
    messages = parts_of(request).tenants.messages
    return await once.answer(caller, lambda keep: messages.post(caller, id, new, keep), _shown)


async def count_messages(
    request: Request,
    id: str,  # noqa: A002  the path's word
    caller: MayListMessages,
) -> Response:
    """How many messages there are."""
    count = await parts_of(request).tenants.messages.count(caller, id)
    return Json({"count": count, "session_id": id.lower()})


async def clear_messages(
    request: Request,
    id: str,  # noqa: A002  the path's word
    caller: MayClearMessages,
) -> Response:
    """Remove what was said; models are not told of it any more. What is being answered goes on."""
    await parts_of(request).tenants.messages.clear(caller, id)
    return Empty(status_code=success_of(request))


def _shown(message: service.Message) -> dict[str, Any]:
    return {
        "id": str(message.id),
        "session_id": str(message.session_id),
        "role": message.role,
        "content": message.content,
        "agent_id": None if message.agent_id is None else str(message.agent_id),
        "agent_name": message.agent_name,
        "metadata": message.metadata,
        "created_at": moment(message.created_at),
    }


_ALL: Final = "/sessions/{id}/messages"

ROUTES: Final = (
    Route("GET", _ALL, list_messages, list[schemas.SessionMessage]),
    Route("POST", _ALL, create_message, schemas.SessionMessage, fails=(Conflict, RateLimited), status=201),
    Route("GET", f"{_ALL}/count", count_messages, schemas.SessionMessageCount),
    Route("DELETE", _ALL, clear_messages, status=204),
)
