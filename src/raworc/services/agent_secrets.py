"""An agent's secrets after its creation: put, taken away, listed by name. Nobody is ever answered a value.

A sandbox has the secrets that were there when it was opened: what changes here counts from the next wake.
"""

from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.domain.names import check_secret_key
from raworc.domain.text import storable_text
from raworc.errors import NotFound
from raworc.services import agents, audit
from raworc.services.accounts import Caller
from raworc.services.agents import AgentRow
from raworc.services.audit import Deed
from raworc.services.secrets import Secrets
from raworc.store import secrets as store
from raworc.store.database import Database
from raworc.store.secrets import SecretName

__all__ = ["AgentSecrets", "SecretName"]


class AgentSecrets:
    """Every method raises as ``agents.find``: to see names takes the verb ``get``, to change them ``update``."""

    def __init__(self, db: Database, secrets: Secrets) -> None:
        self._db = db
        self._secrets = secrets

    async def names(self, caller: Caller, name: str) -> list[SecretName]:
        """The names of an agent's secrets, in their order."""
        async with self._db.reading() as conn:
            row = await agents.find(conn, caller, name, "get")
            return await store.names(conn, row.id)

    async def put(self, caller: Caller, name: str, key: str, value: str) -> SecretName:
        """Add a secret, or give it another value.

        Raises:
            BadRequest: a name or value outside its rules, or too much in all. Values are not repeated.
            Unavailable: the space's data key was sealed by another master key.
        """
        check_secret_key(key)

        async def work(conn: AsyncConnection) -> SecretName:
            row = await agents.find_locked(conn, caller, name, "update")
            await self._secrets.put(conn, row.id, row.space, {key: value})
            await audit.done(conn, caller, _deed("update", row, key))
            return next(found for found in await store.names(conn, row.id) if found.key == key)

        return await self._db.run(work)

    async def delete(self, caller: Caller, name: str, key: str) -> None:
        """Take a secret away.

        Raises:
            NotFound: the agent has none of this name.
        """

        async def work(conn: AsyncConnection) -> None:
            row = await agents.find_locked(conn, caller, name, "update")
            if not await store.remove(conn, row.id, storable_text(key)):
                raise NotFound(f"Agent '{row.name}' has no secret '{storable_text(key[:80])}'")
            await audit.done(conn, caller, _deed("delete", row, key))

        await self._db.run(work)


def _deed(verb: str, row: AgentRow, key: str) -> Deed:
    return Deed(verb, "secrets", row.name, row.space, {"key": key})
