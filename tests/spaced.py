"""Sessions of spaces as tests of the API make them, and what operators would write about them."""

import uuid
from typing import Any

from sqlalchemy import select, update

from asking import PASSWORD, Api, client_of
from raworc.services import progress
from raworc.services.progress import Entry, ResponseChanged, SegmentAdded, StateChanged
from raworc.store.database import Database
from raworc.store.schema import sessions, turns

FIELDS = {
    "id",
    "space",
    "created_by",
    "state",
    "container_id",
    "persistent_volume_id",
    "parent_session_id",
    "created_at",
    "started_at",
    "last_activity_at",
    "terminated_at",
    "termination_reason",
    "metadata",
}
MESSAGE_FIELDS = {"id", "session_id", "role", "content", "created_at"}


async def made_space(spaces: Api) -> str:
    name = f"space-{uuid.uuid4().hex[:12]}"
    assert (await spaces.ask("POST", "/spaces", {"name": name})).status_code == 200
    return name


async def begun(spaces: Api, **fields: Any) -> dict[str, Any]:
    answer = await spaces.ask("POST", "/sessions", fields)
    assert answer.status_code == 200, answer.text
    return answer.json()


def id_of(path: str) -> uuid.UUID:
    return uuid.UUID(path.rpartition("/")[2])


async def stand(db: Database, path: str, *entries: Entry, **columns: Any) -> None:
    """What an operator would have written."""
    async with db.transaction() as conn:
        if columns:
            await conn.execute(update(sessions).where(sessions.c.id == id_of(path)).values(**columns))
        await progress.write(conn, id_of(path), list(entries))


async def opened(db: Database, path: str) -> None:
    await stand(db, path, StateChanged("idle"), desired=None)


async def answered(db: Database, path: str, text: str) -> None:
    """The oldest message that waits."""
    waiting = select(turns.c.id).where(turns.c.session_id == id_of(path), turns.c.status == "pending")
    async with db.reading() as conn:
        turn_id = await conn.scalar(waiting.order_by(turns.c.number).limit(1))
    await stand(db, path, ResponseChanged(turn_id, "processing"), StateChanged("busy"))
    final = SegmentAdded(turn_id, {"type": "final", "channel": "final", "text": text})
    await stand(db, path, final, ResponseChanged(turn_id, "completed"), StateChanged("idle"))


async def state_of(spaces: Api, path: str) -> str:
    return (await spaces.get(path)).json()["state"]


async def member(spaces: Api, role: str, *places: str) -> Any:
    name = f"user-{uuid.uuid4().hex[:12]}"
    await spaces.ask("POST", "/service-accounts", {"user": name, "pass": PASSWORD})
    for place in places:
        await spaces.ask("POST", "/role-bindings", {"subject": name, "role_ref": role, "space": place})
    login = {"user": name, "pass": PASSWORD}
    token = (await spaces.http.post(f"{spaces.served.url}/api/v0/auth/login", json=login)).json()["token"]
    return client_of(spaces.served, token, "spaces")
