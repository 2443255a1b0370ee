"""The core services on a database of their own, and who may call them."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from outage import Watched
from raworc.services.accounts import Accounts, Caller
from raworc.services.agent_states import AgentStates
from raworc.services.agents import Agents
from raworc.services.events import Events
from raworc.services.secrets import Secrets
from raworc.services.tokens import Tokens
from raworc.services.turns import Turns
from raworc.settings import Settings
from raworc.store import accounts as account_rows
from raworc.store.database import Database
from raworc.store.notify import EVENTS, WORK, Listener
from rows import add_account


@dataclass
class People:
    """Callers as their tokens make them."""

    db: Database
    accounts: Accounts
    tokens: Tokens

    async def caller(self, name: str) -> Caller:
        async with self.db.reading() as conn:
            account = await account_rows.by_name(conn, name)
        token, _ = self.tokens.login(account.id, account.version, "agents", ttl_s=60)
        return await self.accounts.authenticate(token)


@pytest.fixture
def tokens() -> Tokens:
    return Tokens(b"k" * 32)


@pytest.fixture
def accounts(db: Database, tokens: Tokens):
    service = Accounts(db, tokens)
    yield service
    service.close()


@pytest.fixture
def people(db: Database, accounts: Accounts, tokens: Tokens) -> People:
    return People(db, accounts, tokens)


@pytest.fixture
async def admin(people: People) -> Caller:
    return await people.caller("admin")


@pytest.fixture
async def ann(people: People) -> Caller:
    """An ordinary account."""
    async with people.db.transaction() as conn:
        await add_account(conn, "ann")
    return await people.caller("ann")


@pytest.fixture
async def bob(people: People) -> Caller:
    """Another ordinary account."""
    async with people.db.transaction() as conn:
        await add_account(conn, "bob")
    return await people.caller("bob")


@pytest.fixture
def narrow() -> Settings:
    """Settings whose queues are quickly full."""
    return Settings(home=Path("/nowhere"), max_pending_turns=3, max_queued_per_space=5)


@pytest.fixture
def secrets() -> Secrets:
    return Secrets(b"m" * 32)


@pytest.fixture
def agents(db: Database, secrets: Secrets, narrow: Settings) -> Agents:
    return Agents(db, secrets, narrow)


@pytest.fixture
def sessions(db: Database) -> AgentStates:
    return AgentStates(db)


@pytest.fixture
async def listener(database_url: str, anyio_backend: str) -> AsyncIterator[Listener]:
    async with Listener(database_url, [WORK, EVENTS]) as listening:
        yield listening


@pytest.fixture
async def watched(database_url: str, anyio_backend: str) -> AsyncIterator[Watched]:
    """The same database by a pool that says who met it away."""
    database = Watched(database_url, pool_size=2)
    yield database
    await database.close()


@pytest.fixture
def turns(db: Database, listener: Listener, narrow: Settings) -> Turns:
    return Turns(db, listener, narrow)


@pytest.fixture
def events(db: Database, listener: Listener) -> Events:
    return Events(db, listener, ping_s=0.3)
