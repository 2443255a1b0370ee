"""Sessions of the spaces contract."""

from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import Depends, Query
from starlette.requests import Request
from starlette.responses import Response

from raworc.api.auth import MayCreateSession, MayDeleteSession, MayGetSession, MayListSessions, MayUpdateSession
from raworc.api.bodies import JsonBody
from raworc.api.once import Once
from raworc.api.parts import parts_of
from raworc.api.queries import AccountLimit, Offset
from raworc.api.render import Empty, Json, moment
from raworc.api.routes import Route
from raworc.api.spaces.session_schemas import (
    ListedSession,
    NewSessionBody,
    RemixedSession,
    Session,
    SessionChangeBody,
    SessionRemixBody,
    SessionStateBody,
    State,
)
from raworc.domain.sessions import Standing, spaces_state
from raworc.errors import Conflict, NotFound
from raworc.services.session_remixes import SessionRemix
from raworc.services.sessions import NewSession, SessionChange, SessionFilter, SessionRow


@dataclass(frozen=True)
class Filters:
    """Which sessions."""

    space: Annotated[str | None, Query(description="Those of this one only")] = None
    state: Annotated[State | None, Query(description="Those that stand so")] = None


async def list_sessions(
    request: Request,
    caller: MayListSessions,
    filters: Annotated[Filters, Depends()],
    *,
    limit: AccountLimit = 1000,
    offset: Offset = 0,
) -> Response:
    """Sessions of the spaces that the caller may look into, newest first; terminated ones among them."""
    wanted = SessionFilter(filters.space, frozenset() if filters.state is None else frozenset({filters.state}))
    found = await parts_of(request).tenants.sessions.page(caller, wanted, limit=limit, offset=offset)
    return Json([_listed(row) for row in found])


async def create_session(
    request: Request,
    caller: MayCreateSession,
    body: Annotated[NewSessionBody, Depends(JsonBody(NewSessionBody))],
    once: Once,
) -> Response:
    """A new session. It becomes IDLE by itself, once its sandbox is there."""
    new, sessions = NewSession(space=body.space, metadata=body.metadata or {}), parts_of(request).tenants.sessions
    return await once.answer(caller, lambda keep: sessions.create(caller, new, keep), session_object)


async def get_session(
    request: Request,
    id: str,  # noqa: A002  the path's word
    caller: MayGetSession,
) -> Response:
    """One session."""
    return Json(session_object(await parts_of(request).tenants.sessions.get(caller, id)))


async def update_session(
    request: Request,
    id: str,  # noqa: A002  the path's word
    caller: MayUpdateSession,
    body: Annotated[SessionChangeBody, Depends(JsonBody(SessionChangeBody))],
) -> Response:
    """Change what is given. In another space it gets a fresh sandbox, around the same files."""
    change = SessionChange(space=body.space, metadata=body.metadata)
    return Json(session_object(await parts_of(request).tenants.sessions.update(caller, id, change)))


async def terminate_session(
    request: Request,
    id: str,  # noqa: A002  the path's word
    caller: MayDeleteSession,
) -> Response:
    """End a session for good: it stays readable, its sandbox and its files are removed."""
    await parts_of(request).tenants.sessions.terminate(caller, id)
    return Empty()


async def set_session_state(
    request: Request,
    id: str,  # noqa: A002  the path's word
    caller: MayUpdateSession,
    body: Annotated[SessionStateBody, Depends(JsonBody(SessionStateBody))],
) -> Response:
    """Bring a session to a state: what POSTs beside this do, and DELETE (TERMINATED)."""
    states = parts_of(request).tenants.session_states
    return Json(session_object(await states.set_state(caller, id, body.state, body.termination_reason)))


async def pause_session(
    request: Request,
    id: str,  # noqa: A002  the path's word
    caller: MayUpdateSession,
    once: Once,
) -> Response:
    """Freeze a session: it keeps its memory and uses no processor. Messages wait until it is resumed."""
    states = parts_of(request).tenants.session_states
    return await once.answer(caller, lambda keep: states.pause(caller, id, keep), session_object)


async def suspend_session(
    request: Request,
    id: str,  # noqa: A002  the path's word
    caller: MayUpdateSession,
    once: Once,
) -> Response:
    """Remove a session's sandbox and keep its files; messages without an answer get none. The next one wakes it."""
    states = parts_of(request).tenants.session_states
    return await once.answer(caller, lambda keep: states.suspend(caller, id, keep), session_object)


async def resume_session(
    request: Request,
    id: str,  # noqa: A002  the path's word
    caller: MayUpdateSession,
    once: Once,
) -> Response:
    """Go on with what was paused, or wake what was suspended or is out of order."""
    states = parts_of(request).tenants.session_states
    return await once.answer(caller, lambda keep: states.resume(caller, id, keep), session_object)


async def remix_session(
    request: Request,
    id: str,  # noqa: A002  the path's word
    caller: MayCreateSession,
    body: Annotated[SessionRemixBody, Depends(JsonBody(SessionRemixBody))],
    once: Once,
) -> Response:
    """A new session with this one's files, metadata and agents, whatever it is doing. What was said stays here."""
    remixes, wish = parts_of(request).tenants.session_remixes, SessionRemix(space=body.space, metadata=body.metadata)
    return await once.answer(caller, lambda keep: remixes.make(caller, id, wish, keep), _remix)


def session_object(row: SessionRow) -> dict[str, Any]:
    """A session as this contract shows it."""
    return {
        "id": str(row.id),
        "space": row.space,
        "created_by": row.created_by,
        "state": _state(row),
        "container_id": row.sandbox_id,
        "persistent_volume_id": None if row.started_at is None else str(row.id),
        "parent_session_id": None if row.parent_id is None else str(row.parent_id),
        "created_at": moment(row.created_at),
        "started_at": moment(row.started_at),
        "last_activity_at": moment(row.last_activity_at),
        "terminated_at": moment(row.terminated_at),
        "termination_reason": row.termination_reason,
        "metadata": row.metadata,
    }


def _remix(row: SessionRow) -> dict[str, Any]:
    shown = session_object(row)
    return {**shown, "parent_session": shown["parent_session_id"]}


def _listed(row: SessionRow) -> dict[str, Any]:
    stamps = {"created_at": row.created_at, "started_at": row.started_at, "last_activity_at": row.last_activity_at}
    shown = {name: moment(value) for name, value in stamps.items()}
    return {"id": str(row.id), "space": row.space, "state": _state(row), **shown}


def _state(row: SessionRow) -> State:
    return spaces_state(Standing(row.state, row.is_busy))


_ALL: Final = "/sessions"
_ONE: Final = "/sessions/{id}"

ROUTES: Final = (
    Route("GET", _ALL, list_sessions, list[ListedSession], fails=(NotFound,)),
    Route("POST", _ALL, create_session, Session, fails=(NotFound,)),
    Route("GET", _ONE, get_session, Session),
    Route("PUT", _ONE, update_session, Session, fails=(Conflict,)),
    Route("DELETE", _ONE, terminate_session),
    Route("PUT", f"{_ONE}/state", set_session_state, Session, fails=(Conflict,)),
    Route("POST", f"{_ONE}/pause", pause_session, Session, fails=(Conflict,)),
    Route("POST", f"{_ONE}/suspend", suspend_session, Session, fails=(Conflict,)),
    Route("POST", f"{_ONE}/resume", resume_session, Session, fails=(Conflict,)),
    Route("POST", f"{_ONE}/remix", remix_session, RemixedSession, fails=(Conflict,)),
)
