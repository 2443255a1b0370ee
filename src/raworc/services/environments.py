"""The secrets that a session's sandbox is given: those of its space, and of the agent whose home it is.

Who may have commands run can have secrets printed. A session of a space is made by who may make sessions there. An
agent of somebody's own needs no right in its space, so its sandbox has the space's secrets only where its owner may
at least see which there are (``get`` on ``secrets``: whoever is ``developer`` or more there).
"""

import uuid
from collections.abc import Collection

from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.domain.access import may
from raworc.domain.environment import Given, is_off
from raworc.services.accounts import grants_of
from raworc.services.secrets import Secrets, of_space
from raworc.store import accounts, secrets, space_secrets, spaces
from raworc.store.database import Database
from raworc.store.secrets import Keeper


class Environments:
    """Opens secrets for sandboxes, and for nothing else."""

    def __init__(self, db: Database, sealed: Secrets) -> None:
        self._db = db
        self._sealed = sealed

    async def of(self, session_id: uuid.UUID) -> Given:
        """What a sandbox of this session is given now; nothing for a session without secrets.

        Raises:
            Unavailable: they cannot be opened; the message says why.
        """
        async with self._db.reading() as conn:
            (keeper,) = await secrets.keepers(conn, [session_id]) or [None]
            if keeper is None:
                return Given()
            entitled = session_id in await entitled_to_space(conn, [keeper])
            space = await spaces.find(conn, keeper.space)
            return Given(
                space=await of_its_space(conn, self._sealed, keeper) if entitled else {},
                agent=await of_its_agent(conn, self._sealed, keeper),
                is_off=space is not None and is_off(space.settings),
            )


async def of_its_space(conn: AsyncConnection, sealed: Secrets, keeper: Keeper) -> dict[str, str]:
    """The opened secrets of a session's space. Raises as ``Secrets.opened``."""
    return await sealed.opened(
        conn, keeper.space, of_space(keeper.space), await space_secrets.of_space(conn, keeper.space)
    )


async def of_its_agent(conn: AsyncConnection, sealed: Secrets, keeper: Keeper) -> dict[str, str]:
    """The opened secrets of the agent whose home the session is. Raises as ``Secrets.opened``."""
    return {} if keeper.agent_id is None else await sealed.values(conn, keeper.agent_id, keeper.space)


async def entitled_to_space(conn: AsyncConnection, keepers: Collection[Keeper]) -> set[uuid.UUID]:
    """The sessions among these that are given their space's secrets."""
    owners = {keeper.owner_id for keeper in keepers if keeper.owner_id is not None and keeper.has_space}
    found = await accounts.by_ids(conn, owners) if owners else {}
    return {keeper.session_id for keeper in keepers if keeper.has_space and _is_entitled(keeper, found)}


def _is_entitled(keeper: Keeper, owners: dict[uuid.UUID, accounts.AccountRow]) -> bool:
    if keeper.owner_id is None:
        return True
    owner = owners.get(keeper.owner_id)
    return owner is not None and may(grants_of(owner.grants), "get", "secrets", space=keeper.space)
