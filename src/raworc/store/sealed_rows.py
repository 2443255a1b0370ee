"""Everything that is sealed under the data key of a space, shelf by shelf: to be sealed anew under another one."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Integer, Text, bindparam, text
from sqlalchemy.dialects.postgresql import BYTEA
from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.store.secrets import Sealed


@dataclass(frozen=True)
class Shelf:
    """A table with sealed columns. ``owner`` (of a ``kind``) and ``key`` name a row; ``owned``: which are a space's."""

    table: str
    owner: str
    kind: str
    key: str
    owned: str

    @property
    def start(self) -> tuple[str, str]:
        """Before the first row."""
        return (str(uuid.UUID(int=0)) if self.kind == "uuid" else "", "")


AGENTS: Final = Shelf(
    "agent_secrets", "agent_id", "uuid", "key", "agent_id IN (SELECT id FROM agents WHERE space = :space)"
)
SPACES: Final = Shelf("space_secrets", "space", "text", "key", "space = :space")
UPSTREAMS: Final = Shelf("upstreams", "id", "uuid", "''::text", "key_version IS NOT NULL AND :space = 'default'")
SHELVES: Final = (AGENTS, SPACES, UPSTREAMS)


@dataclass(frozen=True)
class Row:
    """One sealed value: where it stands, and how it is sealed now."""

    owner: str
    sealed: Sealed


async def stale(
    conn: AsyncConnection, shelf: Shelf, space: str, *, version: int, after: tuple[str, str], limit: int
) -> list[Row]:
    """The next rows behind ``after`` (owner and key) that an older key sealed. They stay so while ``conn`` does."""
    values = {"space": space, "version": version, "owner": after[0], "key": after[1], "limit": limit}
    rows = await conn.execute(_STALE[shelf], values)
    return [Row(str(owner), Sealed(*sealed)) for owner, *sealed in rows]


async def replace(conn: AsyncConnection, shelf: Shelf, owner: str, sealed: Sealed) -> None:
    """Store a value that is sealed anew. When it was changed last stays what it was: it did not change."""
    columns = {"key_version": sealed.key_version, "nonce": sealed.nonce, "ciphertext": sealed.ciphertext}
    await conn.execute(_REPLACE[shelf], {**columns, "owner": owner, "key": sealed.key})


def _statements(template: str, **types: Any) -> Mapping[Shelf, Any]:  # noqa: ANN401  SQLAlchemy's types and statements
    binds = [bindparam(name, type_=kind) for name, kind in types.items()]
    return {shelf: text(template.format(**vars(shelf))).bindparams(*binds) for shelf in SHELVES}


_STALE: Final = _statements(
    """
SELECT {owner}, {key}, key_version, nonce, ciphertext FROM {table}
WHERE {owned} AND key_version < :version AND ({owner}, {key}) > (CAST(:owner AS {kind}), :key)
ORDER BY {owner}, {key} LIMIT :limit FOR UPDATE
""",
    space=Text,
    owner=Text,
    key=Text,
    version=Integer,
)
_REPLACE: Final = _statements(
    "UPDATE {table} SET key_version = :key_version, nonce = :nonce, ciphertext = :ciphertext"
    " WHERE {owner} = CAST(:owner AS {kind}) AND {key} = :key",
    owner=Text,
    key=Text,
    nonce=BYTEA,
    ciphertext=BYTEA,
)
