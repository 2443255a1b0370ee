"""Messages of sessions of the spaces contract."""

from typing import Annotated, Any, Final

from fastapi import Depends, Query
from starlette.requests import Request
from starlette.responses import Response

from raworc.api.auth import MayClearMessages, MayListMessages, MaySendMessage
from raworc.api.bodies import JsonBody
from raworc.api.once import Once
from raworc.api.parts import parts_of
from raworc.api.queries import EntryLimit, Offset
from raworc.api.render import Json, moment
from raworc.api.routes import Route
from raworc.api.spaces.session_schemas import Cleared, Message, MessageCount, NewMessageBody
from raworc.errors import Conflict, RateLimited
from raworc.services import messages as service
from raworc.services.messages import NewMessage

_ROLES: Final = {"USER": "user", "AGENT": "assistant", "SYSTEM": "system"}
_Offset = Annotated[Offset | None, Query(description="How many of the oldest to skip; without it, the newest")]


async def list_messages(
    request: Request,
    id: str,  # noqa: A002  the path's word
    caller: MayListMessages,
    *,
    limit: EntryLimit = 100,
    offset: _Offset = None,
) -> Response:
    """Messages, the oldest first: the newest `limit` of them, or with `offset` those after the first so many."""
    found = await parts_of(request).tenants.messages.page(caller, id, limit=limit, offset=offset)
    return Json([_message(one) for one in found])


async def send_message(
    request: Request,
    id: str,  # noqa: A002  the path's word
    caller: MaySendMessage,
    body: Annotated[NewMessageBody, Depends(JsonBody(NewMessageBody))],
    once: Once,
) -> Response:
    """Say something; the answer is among the messages once it is there.

    A suspended session wakes for it. In a paused one it waits until that is resumed.
    """
    messages, new = parts_of(request).tenants.messages, NewMessage(body.content)
    return await once.answer(caller, lambda keep: messages.post(caller, id, new, keep), _message)


async def count_messages(
    request: Request,
    id: str,  # noqa: A002  the path's word
    caller: MayListMessages,
) -> Response:
    """How many messages there are."""
    return Json({"count": await parts_of(request).tenants.messages.count(caller, id)})


async def clear_messages(
    request: Request,
    id: str,  # noqa: A002  the path's word
    caller: MayClearMessages,
) -> Response:
    """Remove all messages, also from what models are told. What is being answered is answered still."""
    deleted = await parts_of(request).tenants.messages.clear(caller, id)
    return Json({"deleted": deleted, "session_id": id.lower()})


def _message(one: service.Message) -> dict[str, Any]:
    return {
        "id": str(one.id),
        "session_id": str(one.session_id),
        "role": _ROLES[one.role],
        "content": one.content,
        "created_at": moment(one.created_at),
    }


_ALL: Final = "/sessions/{id}/messages"

ROUTES: Final = (
    Route("GET", _ALL, list_messages, list[Message]),
    Route("POST", _ALL, send_message, Message, fails=(Conflict, RateLimited)),
    Route("GET", f"{_ALL}/count", count_messages, MessageCount),
    Route("DELETE", _ALL, clear_messages, Cleared),
)
