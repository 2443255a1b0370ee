"""Where an agent's files lie, for tests without an operator."""

from pathlib import Path

from sqlalchemy import select

from raworc.ids import SessionId
from raworc.sandbox.driver import Workspace
from raworc.sandbox.files import workspace_path
from raworc.settings import Settings
from raworc.store.database import Database
from raworc.store.schema import agents, sessions


async def place(name: str, db: Database, settings: Settings) -> Path:
    async with db.reading() as conn:
        query = select(sessions).join(agents, agents.c.session_id == sessions.c.id).where(agents.c.name == name)
        row = (await conn.execute(query)).one()
    return workspace_path(settings.sessions_dir, Workspace(SessionId(row.id), row.number))


def make(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder
