"""Rows of ``sessions``: what is asked of them. State and numbering are ``store/progress.py``'s."""

import uuid
from dataclasses import dataclass
from typing import Final

from sqlalchemy import BigInteger, Text, bindparam, func, select, text
from sqlalchemy.dialects.postgresql import UUID
from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.domain.lifecycle import State
from raworc.store.schema import sessions


@dataclass(frozen=True)
class Source:
    """Whose files a session starts with, all of them or all but ``code``, and the node where they lie (None: any)."""

    session_id: uuid.UUID
    code: bool
    node: str | None


@dataclass(frozen=True)
class NewSession:
    """A session to be added in state ``init``, wanted ``idle``; without a ``source`` it starts with no files."""

    session_id: uuid.UUID
    space: str
    kind: str
    idle_timeout_s: int
    busy_timeout_s: int
    source: Source | None = None


async def insert(conn: AsyncConnection, new: NewSession) -> None:
    """Add one."""
    values: dict[str, object] = {
        "id": new.session_id,
        "space": new.space,
        "kind": new.kind,
        "state": "init",
        "desired": "idle",
        "idle_timeout_s": new.idle_timeout_s,
        "busy_timeout_s": new.busy_timeout_s,
    }
    if new.source is not None:
        values |= {"copy_of": new.source.session_id, "copy_code": new.source.code, "node": new.source.node}
    await conn.execute(sessions.insert(), values)


async def source_of(conn: AsyncConnection, session_id: uuid.UUID) -> Source:
    """Where the files of a session, which must be locked, are now: with itself, or where they still come from."""
    columns = (func.coalesce(sessions.c.copy_of, sessions.c.id), sessions.c.copy_code, sessions.c.node)
    row = (await conn.execute(select(*columns).where(sessions.c.id == session_id))).one()
    return Source(*row)


async def set_timeouts(
    conn: AsyncConnection, session_id: uuid.UUID, *, idle_timeout_s: int | None, busy_timeout_s: int | None
) -> None:
    """Change timeouts; None keeps."""
    values = {"idle_timeout_s": idle_timeout_s, "busy_timeout_s": busy_timeout_s}
    given = {key: value for key, value in values.items() if value is not None}
    if given:
        await conn.execute(sessions.update().where(sessions.c.id == session_id).values(**given))


async def schedule_sleep(
    conn: AsyncConnection, session_id: uuid.UUID, *, delay_s: int, note: str | None, by: str
) -> None:
    """Sleep in ``delay_s`` seconds; replaces what was scheduled before."""
    await conn.execute(_SCHEDULE, {"session_id": session_id, "delay_s": delay_s, "note": note, "by": by})


async def begin_hold(conn: AsyncConnection, session_id: uuid.UUID) -> None:
    """Show it as busy from now on."""
    beginning = {"busy_hold_from": func.clock_timestamp()}
    await conn.execute(sessions.update().where(sessions.c.id == session_id).values(beginning))


async def end_hold(conn: AsyncConnection, session_id: uuid.UUID) -> None:
    """Show it as it is, and let an idle timer start anew."""
    await conn.execute(_END_HOLD, {"session_id": session_id})


async def want(conn: AsyncConnection, session_id: uuid.UUID, desired: State | None) -> None:
    """Ask operators for a state, or (None) for nothing more.

    Schedule and hold of the state before end with it, and so does its run.
    """
    await conn.execute(_WANT, {"session_id": session_id, "desired": desired})


async def want_frozen(conn: AsyncConnection, session_id: uuid.UUID) -> None:
    """Ask operators to stop its processes; a hold ends with that, its run does not."""
    values = {"desired": "paused", "paused_epoch": None, "busy_hold_from": None}
    await conn.execute(sessions.update().where(sessions.c.id == session_id).values(values))


async def end_freeze(conn: AsyncConnection, session_id: uuid.UUID) -> None:
    """It goes on; its operator, which may keep it frozen, learns it."""
    await conn.execute(sessions.update().where(sessions.c.id == session_id).values(desired=None))


async def tell_operators(conn: AsyncConnection, session_id: uuid.UUID) -> None:
    """Say that there is something to look at."""
    await conn.execute(_TELL, {"session_id": session_id})


_SCHEDULE: Final = text(
    """
UPDATE sessions SET sleep_at = clock_timestamp() + make_interval(secs => :delay_s), sleep_note = :note, sleep_by = :by
WHERE id = :session_id
"""
).bindparams(
    bindparam("session_id", type_=UUID),
    bindparam("delay_s", type_=BigInteger),
    bindparam("note", type_=Text),
    bindparam("by", type_=Text),
)

_END_HOLD: Final = text(
    """
UPDATE sessions SET busy_hold_from = NULL, idle_from = CASE WHEN state = 'idle' THEN clock_timestamp() END
WHERE id = :session_id
"""
).bindparams(bindparam("session_id", type_=UUID))

_WANT: Final = text(
    """
WITH ended AS (
    UPDATE runs SET ended_at = clock_timestamp() WHERE session_id = :session_id AND ended_at IS NULL
)
UPDATE sessions SET desired = :desired, sleep_at = NULL, sleep_note = NULL, sleep_by = NULL, busy_hold_from = NULL
WHERE id = :session_id
"""
).bindparams(bindparam("session_id", type_=UUID), bindparam("desired", type_=Text))

_TELL: Final = text("SELECT pg_notify('raworc_work', CAST(:session_id AS text))").bindparams(
    bindparam("session_id", type_=UUID)
)
