"""Rows that tests of services and stores start from, and what an operator would write."""

import uuid

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.ids import new_id
from raworc.services import progress
from raworc.services.progress import ResponseChanged, SegmentAdded, StateChanged
from raworc.store.database import Database
from raworc.store.schema import (
    accounts,
    agents,
    bindings,
    builds,
    built_agents,
    roles,
    segments,
    session_events,
    sessions,
    turns,
)


async def add_session(conn: AsyncConnection, *, state: str = "idle", **columns: object) -> uuid.UUID:
    session_id = new_id()
    values = {"id": session_id, "space": "default", "kind": "home", "state": state, **columns}
    await conn.execute(sessions.insert().values(**values, idle_timeout_s=300, busy_timeout_s=3600))
    return session_id


async def session_row(conn: AsyncConnection, session_id: uuid.UUID):
    return (await conn.execute(select(sessions).where(sessions.c.id == session_id))).one()


async def add_account(conn: AsyncConnection, name: str, **columns: object) -> uuid.UUID:
    values = {"id": new_id(), "name": name, "space": "default", "password_hash": "none", **columns}
    await conn.execute(accounts.insert().values(values))
    return values["id"]


async def add_role(conn: AsyncConnection, name: str, *rules: dict) -> uuid.UUID:
    role_id = new_id()
    await conn.execute(roles.insert().values(id=role_id, name=name, rules=list(rules)))
    return role_id


async def bind(conn: AsyncConnection, role_id: uuid.UUID, account_id: uuid.UUID, space: str | None = None) -> None:
    await conn.execute(bindings.insert().values(id=new_id(), role_id=role_id, account_id=account_id, space=space))


async def home_of(db: Database, name: str):
    """The home session's row of an agent."""
    async with db.reading() as conn:
        joined = select(sessions).join(agents, agents.c.session_id == sessions.c.id)
        return (await conn.execute(joined.where(func.lower(agents.c.name) == name.lower()))).one()


async def set_home(db: Database, name: str, **columns: object) -> uuid.UUID:
    """Put the home session into the state an operator would have brought it to."""
    home = await home_of(db, name)
    async with db.transaction() as conn:
        await conn.execute(update(sessions).where(sessions.c.id == home.id).values(**columns))
    return home.id


async def open_sandbox(db: Database, name: str) -> uuid.UUID:
    return await set_home(db, name, state="idle", desired=None, idle_from=func.now())


async def take_turn(db: Database, name: str) -> uuid.UUID:
    """Move the oldest pending turn to processing, as an operator does; its id."""
    home = await home_of(db, name)
    waiting = select(turns.c.id).where(turns.c.session_id == home.id, turns.c.status == "pending")
    async with db.transaction() as conn:
        turn_id = await conn.scalar(waiting.order_by(turns.c.number).limit(1))
        await progress.write(conn, home.id, [ResponseChanged(turn_id, "processing"), StateChanged("busy")])
    return turn_id


async def finish_turn(db: Database, name: str, turn_id: uuid.UUID, text: str = "done") -> None:
    home = await home_of(db, name)
    final = SegmentAdded(turn_id, {"type": "final", "channel": "final", "text": text})
    async with db.transaction() as conn:
        await progress.write(conn, home.id, [final, ResponseChanged(turn_id, "completed"), StateChanged("idle")])


async def turn_rows(db: Database, name: str):
    home = await home_of(db, name)
    async with db.reading() as conn:
        found = await conn.execute(select(turns).where(turns.c.session_id == home.id).order_by(turns.c.number))
        return found.all()


async def segment_types(db: Database, turn_id: uuid.UUID) -> list[str]:
    async with db.reading() as conn:
        found = await conn.execute(
            select(segments.c.type).where(segments.c.turn_id == turn_id).order_by(segments.c.seq)
        )
        return [row.type for row in found]


async def state_events(db: Database, session_id: uuid.UUID) -> list[str]:
    async with db.reading() as conn:
        wanted = select(session_events.c.body).where(
            session_events.c.session_id == session_id, session_events.c.kind == "state"
        )
        return [row.body["state"] for row in await conn.execute(wanted.order_by(session_events.c.event_seq))]


async def add_code_agent(conn: AsyncConnection, space: str, name: str, **columns: object) -> uuid.UUID:
    """A code agent of no build."""
    values = {"id": new_id(), "kind": "code", "name": name, "created_by": "x", "source_repo": "o/r", **columns}
    await conn.execute(agents.insert().values(space=space, **values))
    return values["id"]


async def add_build(conn: AsyncConnection, space: str, *agent_ids: uuid.UUID, **built: object) -> uuid.UUID:
    """A completed build of a space, with these agents in it."""
    build_id, node = new_id(), built.pop("node", "here")
    await conn.execute(builds.insert().values(id=build_id, space=space, status="completed", created_by="x", node=node))
    made = {"digest": "d" * 64, "runtime": "python3", "handler": "main.process_message", "commit": "c", **built}
    for agent_id in agent_ids:
        await conn.execute(built_agents.insert().values(build_id=build_id, agent_id=agent_id, **made))
    return build_id
