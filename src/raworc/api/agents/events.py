"""What happens to an agent, as it happens."""

from typing import Annotated, Final

from fastapi import Header
from starlette.requests import Request
from starlette.responses import Response

from raworc.api.agents.responses import turn_id
from raworc.api.auth import MayFollow
from raworc.api.events import EventStream, last_event_id
from raworc.api.parts import parts_of
from raworc.api.routes import Route

LastEventId = Annotated[str | None, Header(alias="Last-Event-ID", description="Resume behind this event")]


async def agent_events(request: Request, name: str, caller: MayFollow, resume_after: LastEventId = None) -> Response:
    """Segments, responses, states and running text of an agent, without end."""
    events = parts_of(request).events
    return await EventStream.open(events.stream(caller, name, turn_id=None, after=last_event_id(resume_after)))


async def response_events(
    request: Request, name: str, response_id: str, caller: MayFollow, resume_after: LastEventId = None
) -> Response:
    """The same of one response; ends after its terminal `response` event."""
    events = parts_of(request).events
    after = last_event_id(resume_after)
    return await EventStream.open(events.stream(caller, name, turn_id=turn_id(response_id), after=after))


_SSE: Final = "text/event-stream"

ROUTES: Final = (
    Route("GET", "/agents/{name}/events", agent_events, media_type=_SSE),
    Route("GET", "/agents/{name}/responses/{response_id}/events", response_events, media_type=_SSE),
)
