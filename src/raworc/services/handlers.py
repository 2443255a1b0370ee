"""What operators need to know to run the handlers of a session's code agents."""

from collections.abc import Sequence
from dataclasses import dataclass

from raworc.ids import SessionId
from raworc.store import built_agents
from raworc.store.built_agents import BuiltAgentRow
from raworc.store.database import Database

__all__ = ["BuiltAgentRow", "Coded", "Handlers"]


@dataclass(frozen=True)
class Coded:
    """The active code agents of a session's space that are built, by name, and who made the session.

    ``is_building``: a build of the space runs or waits, so there may soon be more.
    """

    built: Sequence[BuiltAgentRow] = ()
    created_by: str = ""
    is_building: bool = False


class Handlers:
    """Code agents, for operators."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def of_session(self, session_id: SessionId) -> Coded:
        """What there is now."""
        async with self._db.reading() as conn:
            found = await built_agents.of_session(conn, session_id)
        if found is None:
            return Coded()
        created_by, is_building, built = found
        return Coded(built, created_by, is_building)
