"""Secrets of sessions as the recorder knows them: to strike them out of what is recorded, and for nothing else."""

import uuid
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.domain.redaction import NOTHING, Known
from raworc.errors import DatabaseUnavailable, Unavailable
from raworc.services.environments import entitled_to_space, of_its_agent, of_its_space
from raworc.services.secrets import Secrets
from raworc.store import secrets as store
from raworc.store.database import Database
from raworc.store.secrets import Keeper

_MOST_SESSIONS: Final = 128
_MOST_VALUES: Final = 1024

_log = structlog.get_logger(__name__)
_ValuesOf = Callable[[AsyncConnection, Secrets, Keeper], Awaitable[dict[str, str]]]


@dataclass(frozen=True)
class _Remembered:
    version: object
    values: frozenset[str]
    known: Known


class KnownSecrets:
    """The values that sandboxes of sessions at work have: their agents' and their spaces'.

    Values that were replaced or taken away since this process saw them are remembered, with the last
    ``_MOST_SESSIONS`` sessions: a sandbox has them until it closes, and calls are recorded a little later.
    """

    def __init__(self, db: Database, secrets: Secrets) -> None:
        self._db = db
        self._secrets = secrets
        self._sessions: OrderedDict[uuid.UUID, _Remembered] = OrderedDict()

    async def of(self, session_ids: Collection[uuid.UUID]) -> Mapping[uuid.UUID, Known]:
        """What is known of these sessions; nothing for those without secrets.

        A secret that cannot be opened is nobody's to use either, and holds nothing up.

        Raises:
            DatabaseUnavailable: it does not answer: try again.
        """
        if not session_ids:
            return {}
        async with self._db.reading() as conn:
            keepers = await store.keepers(conn, session_ids)
            entitled = await entitled_to_space(conn, keepers)
        for keeper in keepers:
            former, has_common = self._sessions.get(keeper.session_id), keeper.session_id in entitled
            if former is None or former.version != (keeper.version, has_common):
                await self._learn(keeper, former, has_common=has_common)
        found = {session_id: self._recall(session_id) for session_id in session_ids}
        while len(self._sessions) > _MOST_SESSIONS:  # only now: one batch may have more of them
            self._sessions.popitem(last=False)
        return found

    async def _learn(self, keeper: Keeper, former: _Remembered | None, *, has_common: bool) -> None:
        present = await self._opened(keeper, of_its_agent)
        if has_common:
            present |= await self._opened(keeper, of_its_space)
        past = former.values if former else frozenset[str]()
        every = present | past if len(present | past) <= _MOST_VALUES else present
        self._sessions[keeper.session_id] = _Remembered((keeper.version, has_common), every, Known.of(every))

    async def _opened(self, keeper: Keeper, values_of: _ValuesOf) -> frozenset[str]:
        try:
            async with self._db.reading() as conn:
                return frozenset((await values_of(conn, self._secrets, keeper)).values())
        except DatabaseUnavailable:
            raise
        except Unavailable as error:
            _log.warning("secrets_unknown", session_id=str(keeper.session_id), reason=error.message)
            return frozenset()

    def _recall(self, session_id: uuid.UUID) -> Known:
        remembered = self._sessions.get(session_id)
        if remembered is None:
            return NOTHING
        self._sessions.move_to_end(session_id)
        return remembered.known
