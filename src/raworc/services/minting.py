"""Tokens made for others: by administrators for people and programs, by whoever looks after an agent for that agent."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.domain.agents import DEFAULT_SPACE
from raworc.domain.names import check_account_name
from raworc.errors import BadRequest, Conflict, FieldError, Forbidden
from raworc.ids import new_id
from raworc.services import agents, audit
from raworc.services.accounts import Accounts, Caller, LoginAnswer, renewed, ttl_s_of
from raworc.services.audit import Deed
from raworc.services.operators import RESOURCE, Role, changed
from raworc.store import accounts, operators
from raworc.store.accounts import AccountRow
from raworc.store.database import Database

_NO_PASSWORD: Final = "none"  # noqa: S105  no hash, so no password matches it


@dataclass(frozen=True)
class AgentToken:
    """An agent's own token, and its name as it is stored."""

    token: str
    expires_at: datetime
    agent_name: str


class Minting:
    """Makes tokens for accounts."""

    def __init__(self, db: Database, accounts_: Accounts) -> None:
        self._db = db
        self._accounts = accounts_

    async def mint(self, caller: Caller, principal: str, role: Role, ttl_hours: float | None) -> LoginAnswer:
        """A token for ``principal``. An ordinary account (``user``) that is not there yet is made, without a password.

        Raises:
            Forbidden: the caller is no administrator.
            BadRequest: ``ttl_hours`` or the name is outside its rules, or the account's role is another one.
            Conflict: the account is blocked or not active.
        """
        ttl_s = ttl_s_of(ttl_hours)
        deed = Deed("create-token", RESOURCE, principal[:80], details={"ttl_s": ttl_s})

        async def work(conn: AsyncConnection, by: Caller) -> LoginAnswer:
            if not by.is_admin:
                raise Forbidden("Only an administrator makes tokens for others: log in yourself for one of your own")
            answer = self._accounts.issue(await _account(conn, principal, role), by.contract, ttl_s)
            if answer.role != role:
                reason = f"account '{answer.user}' is '{answer.role}': ask for that, or change its role first"
                raise BadRequest(f"'type': {reason}", details=(FieldError("type", reason),))
            return answer

        return await changed(self._db, caller, deed, work)

    async def for_agent(self, caller: Caller, name: str, ttl_hours: float | None) -> AgentToken:
        """An agent's own token, for a program that works for it from outside: it counts for that agent alone.

        It ends with the agent, when its maker may not change the agent any more, and with its maker's own tokens.
        Raises as ``agents.find``.

        Raises:
            BadRequest: ``ttl_hours`` is outside its range.
        """
        ttl_s = ttl_s_of(ttl_hours)

        async def work(conn: AsyncConnection) -> AgentToken:
            by = await renewed(conn, caller)
            row = await agents.find(conn, by, name, "update")
            await audit.done(conn, by, Deed("create-token", "agents", row.name, row.space, {"ttl_s": ttl_s}))
            return AgentToken(*self._accounts.issue_for_agent(by, row.id, ttl_s), row.name)

        return await self._db.run(work)


async def _account(conn: AsyncConnection, principal: str, role: Role) -> AccountRow:
    found = await accounts.by_name(conn, check_account_name(principal, "principal"))
    if found is None and role == "user":
        values = {"id": new_id(), "name": principal, "space": DEFAULT_SPACE, "password_hash": _NO_PASSWORD}
        await operators.insert(conn, values)
        found = await accounts.by_name(conn, principal)
    if found is None:
        reason = "names no account: make it an administrator first"
        raise BadRequest(f"'principal' {reason}", details=(FieldError("principal", reason),))
    if not found.is_in_use:
        raise Conflict(f"Account '{found.name}' is blocked or not active: let it in again first")
    return found
