"""Rows of ``accounts`` with what they are granted, and the failures that slow down guessing."""

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Text, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY, UUID
from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.store.statement import Statement


@dataclass(frozen=True)
class AccountRow:
    """An account, in the order of ``_ACCOUNT``. ``grants``: JSON text ``[{"space", "rules"}]`` of its bindings."""

    id: uuid.UUID
    name: str
    space: str | None
    active: bool
    is_blocked: bool
    version: int
    password_hash: str
    grants: str

    @property
    def is_in_use(self) -> bool:
        """Whether it may log in, and its tokens count."""
        return self.active and not self.is_blocked


async def by_id(conn: AsyncConnection, account_id: uuid.UUID) -> AccountRow | None:
    """One account and what it is granted, in one query."""
    row = await _BY_ID.first(conn, {"account_id": account_id})
    return None if row is None else AccountRow(*row)


async def by_ids(conn: AsyncConnection, account_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, AccountRow]:
    """The same for several: those that there are."""
    rows = await _BY_IDS.all(conn, {"account_ids": list(account_ids)})
    return {row[0]: AccountRow(*row) for row in rows}


async def by_name(conn: AsyncConnection, name: str) -> AccountRow | None:
    """The same, whatever the case of the name."""
    row = await _BY_NAME.first(conn, {"name": name})
    return None if row is None else AccountRow(*row)


async def logged_in(conn: AsyncConnection, account_id: uuid.UUID) -> None:
    """Note the time of a login."""
    await conn.execute(_LOGGED_IN, {"account_id": account_id})


async def failures(conn: AsyncConnection, subjects: Sequence[str]) -> tuple[int, int]:
    """The most failures of any subject within the window, and the seconds until those are forgotten."""
    row = (await conn.execute(_FAILURES, {"subjects": list(subjects)})).one_or_none()
    return (0, 0) if row is None else (row.failures, row.seconds)


async def count_failure(conn: AsyncConnection, subjects: Sequence[str]) -> None:
    """One more failure of each subject; what is older than the window is forgotten."""
    await conn.execute(_FORGET_OLD)
    await conn.execute(_COUNT_FAILURE, {"subjects": sorted(subjects)})


async def forget_failures(conn: AsyncConnection, subjects: Sequence[str]) -> None:
    """A subject proved itself."""
    await conn.execute(_FORGET, {"subjects": list(subjects)})


async def is_usual(conn: AsyncConnection, place: str) -> bool:
    """Whether there was a login from this place within the last 30 days."""
    return bool(await conn.scalar(_IS_USUAL, {"place": place}))


async def logged_in_from(conn: AsyncConnection, place: str) -> None:
    """Note a login from a place; what is older than 30 days is forgotten."""
    await conn.execute(_FORGET_PLACES)
    await conn.execute(_LOGGED_IN_FROM, {"place": place})


_ACCOUNT: Final = """
SELECT a.id, a.name, a.space, a.active, a.blocked_at IS NOT NULL AS is_blocked, a.version, a.password_hash,
       coalesce((
           SELECT jsonb_agg(jsonb_build_object('space', b.space, 'rules', r.rules) ORDER BY b.id)
           FROM bindings b JOIN roles r ON r.id = b.role_id
           WHERE b.account_id = a.id OR b.account_id IS NULL
       ), '[]')::text AS grants
FROM accounts a
"""
_BY_ID: Final = Statement(text(_ACCOUNT + "WHERE a.id = :account_id").bindparams(bindparam("account_id", type_=UUID)))
_BY_IDS: Final = Statement(
    text(_ACCOUNT + "WHERE a.id = ANY(:account_ids)").bindparams(bindparam("account_ids", type_=ARRAY(UUID)))
)
_BY_NAME: Final = Statement(
    text(_ACCOUNT + "WHERE lower(a.name) = lower(:name)").bindparams(bindparam("name", type_=Text))
)

_LOGGED_IN: Final = text("UPDATE accounts SET last_login_at = now() WHERE id = :account_id").bindparams(
    bindparam("account_id", type_=UUID)
)

_SUBJECTS: Final = bindparam("subjects", type_=ARRAY(Text))
_FAILURES: Final = text(
    """
SELECT failures, ceil(extract(epoch FROM since + interval '5 minutes' - clock_timestamp()))::int AS seconds
FROM login_failures
WHERE subject = ANY(:subjects) AND since > clock_timestamp() - interval '5 minutes'
ORDER BY failures DESC, seconds DESC LIMIT 1
"""
).bindparams(_SUBJECTS)
_COUNT_FAILURE: Final = text(
    """
INSERT INTO login_failures (subject, failures) SELECT subject, 1 FROM unnest(:subjects) AS subject
ON CONFLICT (subject) DO UPDATE SET failures = login_failures.failures + 1
"""
).bindparams(_SUBJECTS)
_FORGET: Final = text("DELETE FROM login_failures WHERE subject = ANY(:subjects)").bindparams(_SUBJECTS)
_FORGET_OLD: Final = text("DELETE FROM login_failures WHERE since <= clock_timestamp() - interval '5 minutes'")

_PLACE: Final = bindparam("place", type_=Text)
_IS_USUAL: Final = text(
    "SELECT EXISTS (SELECT FROM login_places WHERE place = :place AND last_at > now() - interval '30 days')"
).bindparams(_PLACE)
_LOGGED_IN_FROM: Final = text(
    "INSERT INTO login_places (place) VALUES (:place) ON CONFLICT (place) DO UPDATE SET last_at = now()"
).bindparams(_PLACE)
_FORGET_PLACES: Final = text("DELETE FROM login_places WHERE last_at <= now() - interval '30 days'")
