"""What the audit log knows of writes and of refusals, looked at from outside."""

from sqlalchemy import text

from raworc.store.database import Database

WRITING = frozenset({"POST", "PUT", "PATCH", "DELETE"})
LOOKED_FOR_ELSEWHERE = frozenset(
    {
        "DELETE /api/keys/{key_id}",
        "PUT /api/upstreams/{upstream}",
        "POST /api/upstreams/{upstream}/refresh",
        "DELETE /api/upstreams/{upstream}",
        "POST /api/v0/operators/{name}/login",
        "POST /spaces/api/v0/auth/login",
        "POST /spaces/api/v0/sessions/{id}/resume",
        "POST /organizations/api/v0/auth/internal",
        "POST /organizations/api/v0/auth/external",
        "POST /api/v0/agents/{name}/wake",
        "DELETE /api/v0/agents/{name}/secrets/{key}",
        "POST /api/v0/agents/{name}/approvals/{approval_id}",
        "POST /api/v0/agents/{name}/context/compact",
        "POST /api/v0/agents/{name}/context/restore",
        "DELETE /api/v0/agents/{name}/files/delete/{path:file}",
        "DELETE /spaces/api/v0/spaces/{name}",
    }
)
"""Writes that nobody of the matrices of access gets done: ``api/test_audit_writes.py`` does each of them."""


async def newest(db: Database) -> int:
    """The number of the newest entry."""
    async with db.reading() as conn:
        return await conn.scalar(text("SELECT coalesce(max(number), 0) FROM audit"))


async def since(db: Database, number: int) -> list[str]:
    """What was done and allowed after that entry."""
    async with db.reading() as conn:
        query = text("SELECT verb || ' ' || resource FROM audit WHERE number > :number AND allowed ORDER BY number")
        return list(await conn.scalars(query, {"number": number}))


async def refusals(db: Database) -> int:
    """How many refusals there are, those that are only counted included."""
    async with db.reading() as conn:
        query = text(
            "SELECT (SELECT coalesce(sum(coalesce((details ->> 'repeated')::int, 1)), 0) FROM audit WHERE NOT allowed)"
            " + (SELECT coalesce(sum(count), 0) FROM denials)"
        )
        return await conn.scalar(query)
