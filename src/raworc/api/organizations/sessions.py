"""Sessions of the contract organizations, in its own words for their states."""

from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import Depends, Query
from starlette.requests import Request
from starlette.responses import Response

from raworc.api.auth import (
    MayCreateSession,
    MayDeleteSession,
    MayGetSession,
    MayListSessions,
    MayUpdateSession,
)
from raworc.api.bodies import JsonBody
from raworc.api.once import Once
from raworc.api.organizations import session_schemas as schemas
from raworc.api.paging import Paged
from raworc.api.parts import parts_of
from raworc.api.render import Empty, Json, moment
from raworc.api.routes import Route, success_of
from raworc.domain.agents import DEFAULT_SPACE
from raworc.domain.sessions import OrganizationsState, SpacesState, Standing, organizations_state, shown_as
from raworc.errors import Conflict, NotFound, RateLimited
from raworc.services.session_remixes import SessionRemix
from raworc.services.sessions import NewSession, SessionChange, SessionFilter, SessionRow


@dataclass(frozen=True)
class Filters:
    """Which sessions."""

    namespace: Annotated[str | None, Query(description="Those of this one only")] = None
    state: Annotated[OrganizationsState | None, Query(description="Those in this state")] = None
    created_by: Annotated[str | None, Query(description="Those that this account made")] = None


async def list_sessions(
    request: Request, caller: MayListSessions, filters: Annotated[Filters, Depends()], paging: Paged
) -> Response:
    """Sessions of the namespaces that the caller may look into, the newest first.

    A bare list of at most 1000; with `page` or `limit`, one page of them.
    """
    states = frozenset[SpacesState]() if filters.state is None else shown_as(filters.state)
    wanted, sessions = SessionFilter(filters.namespace, states, filters.created_by), parts_of(request).tenants.sessions
    rows = await sessions.page(caller, wanted, limit=paging.size, offset=paging.offset)
    total = await sessions.count(caller, wanted) if paging.is_asked else 0
    return paging.shown([_shown(row) for row in rows], total)


async def create_session(
    request: Request,
    caller: MayCreateSession,
    body: Annotated[schemas.NewWorkSessionBody, Depends(JsonBody(schemas.NewWorkSessionBody))],
    once: Once,
) -> Response:
    """A new session. Its starting prompt is the first message, and answered."""
    new = NewSession(
        space=body.namespace or DEFAULT_SPACE,
        name=body.name,
        starting_prompt=body.starting_prompt,
        agent_ids=body.agent_ids or (),
        waiting_timeout_s=body.waiting_timeout_seconds,
        metadata=body.metadata or {},
    )
    sessions = parts_of(request).tenants.sessions
    return await once.answer(caller, lambda keep: sessions.create(caller, new, keep), _shown)


async def get_session(request: Request, id: str, caller: MayGetSession) -> Response:  # noqa: A002  the path's word
    """One session."""
    return Json(_shown(await parts_of(request).tenants.sessions.get(caller, id)))


async def update_session(
    request: Request,
    id: str,  # noqa: A002  the path's word
    caller: MayUpdateSession,
    body: Annotated[schemas.WorkSessionChangeBody, Depends(JsonBody(schemas.WorkSessionChangeBody))],
) -> Response:
    """Change what is given."""
    change = SessionChange(None, body.name, body.waiting_timeout_seconds, body.metadata)
    return Json(_shown(await parts_of(request).tenants.sessions.update(caller, id, change)))


async def set_session_state(
    request: Request,
    id: str,  # noqa: A002  the path's word
    caller: MayUpdateSession,
    body: Annotated[schemas.WorkSessionStateBody, Depends(JsonBody(schemas.WorkSessionStateBody))],
) -> Response:
    """Bring a session to a state that its own allows: IDLE takes its sandbox and keeps its files, READY wakes it.

    BUSY holds it until READY, which ends whatever it does; ERROR puts it out of order until it is made READY.
    """
    states = parts_of(request).tenants.session_states
    return Json(_shown(await states.set_organizations_state(caller, id, body.state, body.termination_reason)))


async def remix_session(
    request: Request,
    id: str,  # noqa: A002  the path's word
    caller: MayCreateSession,
    body: Annotated[schemas.WorkSessionRemixBody, Depends(JsonBody(schemas.WorkSessionRemixBody))],
    once: Once,
) -> Response:
    """A new session with the files of this one, whatever it is doing. What was said stays here."""
    wish = SessionRemix(
        name=body.name,
        starting_prompt=body.starting_prompt,
        agent_ids=body.agent_ids,
        waiting_timeout_s=body.waiting_timeout_seconds,
        metadata=body.metadata,
    )
    remixes = parts_of(request).tenants.session_remixes
    return await once.answer(caller, lambda keep: remixes.make(caller, id, wish, keep), _shown)


async def delete_session(
    request: Request,
    id: str,  # noqa: A002  the path's word
    caller: MayDeleteSession,
) -> Response:
    """End a session for good, whatever it is doing, with its sandbox and its files. Nobody sees it any more."""
    await parts_of(request).tenants.sessions.delete(caller, id)
    return Empty(status_code=success_of(request))


def _shown(row: SessionRow) -> dict[str, Any]:
    """Sessions that were made under the contract spaces have neither name nor prompt."""
    return {
        "id": str(row.id),
        "name": row.name or str(row.id),
        "namespace": row.space,
        "starting_prompt": row.starting_prompt or "",
        "state": organizations_state(Standing(row.state, row.is_busy)),
        "waiting_timeout_seconds": row.waiting_timeout_s,
        "container_id": row.sandbox_id,
        "persistent_volume_id": None if row.started_at is None else str(row.id),
        "created_by": row.created_by,
        "parent_session_id": None if row.parent_id is None else str(row.parent_id),
        "agents": row.agents,
        "created_at": moment(row.created_at),
        "started_at": moment(row.started_at),
        "last_activity_at": moment(row.last_activity_at),
        "terminated_at": moment(row.terminated_at),
        "termination_reason": row.termination_reason,
        "metadata": row.metadata,
    }


_ALL: Final = "/sessions"
_ONE: Final = "/sessions/{id}"

ROUTES: Final = (
    Route("GET", _ALL, list_sessions, list[schemas.WorkSession] | schemas.WorkSessionPage, fails=(NotFound,)),
    Route("POST", _ALL, create_session, schemas.WorkSession, fails=(Conflict, NotFound, RateLimited), status=201),
    Route("GET", _ONE, get_session, schemas.WorkSession),
    Route("PUT", _ONE, update_session, schemas.WorkSession, fails=(Conflict,)),
    Route("DELETE", _ONE, delete_session, status=204),
    Route("PUT", f"{_ONE}/state", set_session_state, schemas.WorkSession, fails=(Conflict,)),
    Route("POST", f"{_ONE}/remix", remix_session, schemas.WorkSession, fails=(Conflict, RateLimited), status=201),
)
