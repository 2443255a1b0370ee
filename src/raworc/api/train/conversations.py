"""Conversations of every space that the caller may look into."""

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
from raworc.api.train.request_schemas import ConversationDetails, Conversations
from raworc.errors import NotFound


async def list_conversations(
    request: Request,
    caller: MayListRequests,
    where: Annotated[Where, Depends()],
    what: Annotated[What, Depends()],
    when: Annotated[When, Depends()],
    page: Annotated[Page, Depends()],
) -> Response:
    """Conversations, the last used first.

    A period means those whose newest call is in it; a train or an account, those whose newest call is of it. `model`,
    `requestType` and `status` mean those with such a call, each of them on its own.
    """
    conversations = parts_of(request).train.conversations
    found = await conversations.page(caller, where.chosen(when, what), limit=page.size, offset=page.skipped)
    shown = [render.conversation(view) for view in found.conversations]
    return Json({"conversations": shown, "pagination": page.shown(found.total)})


async def get_conversation(
    request: Request, conversation_id: str, caller: MayGetRequests, page: Annotated[Page, Depends()]
) -> Response:
    """One conversation with a page of its calls, the oldest first."""
    try:
        wanted = uuid.UUID(conversation_id)
    except ValueError:
        raise NotFound(f"Conversation '{conversation_id[:80]}' not found") from None
    found = await parts_of(request).train.conversations.find(caller, wanted, limit=page.size, offset=page.skipped)
    calls = [render.call(call) for call in found.calls]
    pagination = page.shown(found.view.row.requests)
    return Json({**render.conversation(found.view), "requests": calls, "pagination": pagination})


ROUTES: Final = (
    Route("GET", "/api/conversations", list_conversations, Conversations, is_root=True),
    Route("GET", "/api/conversations/{conversation_id}", get_conversation, ConversationDetails, is_root=True),
)
