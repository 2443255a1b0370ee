"""The code that a space's agents run: what its newest completed build made."""

from raworc.store import built_agents as store
from raworc.store.built_agents import BuiltAgentRow
from raworc.store.database import Database

__all__ = ["BuiltAgentRow", "BuiltAgents"]


class BuiltAgents:
    """Built code agents, for who runs them."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def of_space(self, space: str) -> list[BuiltAgentRow]:
        """The active code agents of a space that its newest completed build has, by name."""
        async with self._db.reading() as conn:
            return await store.of_space(conn, space)
