"""Recorded model calls and new conversations, as they come."""

from collections.abc import AsyncIterator
from typing import Annotated, Final

from fastapi import Depends
from starlette.requests import Request
from starlette.responses import Response

from raworc.api.agents.events import LastEventId
from raworc.api.auth import MayListRequests
from raworc.api.events import EventStream, last_event_id
from raworc.api.parts import parts_of
from raworc.api.routes import Route
from raworc.api.train import render
from raworc.api.train.queries import What, Where
from raworc.services.events import Event
from raworc.services.feed import Stored


async def call_events(
    request: Request,
    caller: MayListRequests,
    where: Annotated[Where, Depends()],
    what: Annotated[What, Depends()],
    resume_after: LastEventId = None,
) -> Response:
    """Recorded model calls as they are stored, without end.

    `request`: a call, as `GET /api/requests` shows it; its id resumes the stream behind it (`Last-Event-ID`), without
    gap or repeat. `conversation`: one that begins with the request that follows, as `GET /api/conversations` shows it;
    it has no id. Without `Last-Event-ID` the stream begins with the next call.
    """
    calls = parts_of(request).train.feed.stream(caller, where.chosen(what=what), last_event_id(resume_after))
    return await EventStream.open(_events(calls))


async def _events(calls: AsyncIterator[Stored | None]) -> AsyncIterator[Event]:
    async for stored in calls:
        if stored is None:
            yield Event(None, "ping", {})
            continue
        if stored.begins is not None:
            yield Event(None, "conversation", render.conversation(stored.begins))
        yield Event(stored.number, "request", render.call(stored.call))


ROUTES: Final = (Route("GET", "/api/events", call_events, media_type="text/event-stream", is_root=True),)
