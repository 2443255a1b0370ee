"""A gateway behind the real HTTP edge in the test's own event loop, and what it is told about callers."""

import fcntl
import os
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from raworc.api.edge import EdgeOptions, door_preamble
from raworc.errors import DatabaseUnavailable, Unauthorized
from raworc.gateway.app import GatewayApp, GatewayLimits
from raworc.gateway.callers import Callers
from raworc.gateway.scripted import Scripted
from raworc.gateway.spool import Spool, SpoolLimits
from raworc.gateway.upstreams import Providers, ProviderSettings
from raworc.services.tokens import LoginClaims, Tokens, WorkClaims
from raworc.wire.client import Timeouts
from raworc.wire.frames import Frame, read_frame
from served import Served, serve

DOOR_KEY = b"d" * 32


@dataclass
class Someone:
    account_id: uuid.UUID


@dataclass
class KnownAccounts:
    """Accounts by id; ``away`` plays a database that does not answer."""

    tokens: Tokens
    ids: set[uuid.UUID] = field(default_factory=set)
    away: bool = False
    asked: int = 0

    async def authenticate(self, token: str) -> Someone:
        self.asked += 1
        if self.away:
            raise DatabaseUnavailable("The database does not answer")
        claims = self.tokens.read(token)
        if not isinstance(claims, LoginClaims) or claims.account_id not in self.ids:
            raise Unauthorized("Invalid or expired token")
        return Someone(claims.account_id)


@dataclass
class ProcessingTurns:
    """Which session processes which turn, under which epoch."""

    known: dict[tuple[uuid.UUID, int], uuid.UUID] = field(default_factory=dict)

    async def processing(self, session_id: uuid.UUID, epoch: int) -> uuid.UUID | None:
        return self.known.get((session_id, epoch))


@dataclass
class Gate:
    served: Served
    home: Path
    worker_id: uuid.UUID
    tokens: Tokens
    accounts: KnownAccounts
    turns: ProcessingTurns
    spool: Spool
    app: GatewayApp

    @property
    def url(self) -> str:
        return self.served.url

    def login(self) -> str:
        """The token of an account that exists."""
        account_id = uuid.uuid4()
        self.accounts.ids.add(account_id)
        return self.tokens.login(account_id, 1, "agents", ttl_s=600)[0]

    def turn_token(self, session_id: uuid.UUID, turn_id: uuid.UUID) -> str:
        claims = WorkClaims("turn", session_id, 1, "default", "default.agent", turn_id)
        return self.tokens.work(claims, ttl_s=600)

    def sandbox_token(self, session_id: uuid.UUID, epoch: int) -> str:
        return self.tokens.work(WorkClaims("sandbox", session_id, epoch, "default", "default.agent", None), ttl_s=600)

    @asynccontextmanager
    async def door(self, session_id: uuid.UUID, epoch: int):
        async with self.served.wire("gateway.sock") as wire:
            await wire.send(door_preamble(DOOR_KEY, session_id, epoch))
            yield wire

    def frames(self) -> list[Frame]:
        """Everything that was spooled, in order."""
        frames: list[Frame] = []
        for path in sorted((self.home / "spool").iterdir()):
            data, at = path.read_bytes(), 0
            while (frame := read_frame(data, at)) is not None:
                frames.append(frame)
                at += frame.size
        return frames


@asynccontextmanager
async def gate(
    home: Path,
    *,
    base_url: str | None = None,
    api_key: str | None = None,
    passthrough: bool = True,
    limits: SpoolLimits | None = None,
    timeouts: Timeouts | None = None,
    body_bytes: int = 32 * 1024 * 1024,
    clock_s: Callable[[], float] = time.monotonic,
) -> AsyncIterator[Gate]:
    """A gateway that serves ``home``'s port and sockets and spools below it."""
    tokens, worker_id = Tokens(b"k" * 32), uuid.uuid4()
    accounts, known_turns = KnownAccounts(tokens), ProcessingTurns()
    (home / "run").mkdir(exist_ok=True)
    spool = Spool(home / "spool", worker_id, limits or SpoolLimits(free_bytes=0))
    providers = Providers(Scripted(), ProviderSettings(base_url, api_key), timeouts)
    callers = Callers(tokens, accounts, known_turns, passthrough=passthrough, clock_s=clock_s)
    app = GatewayApp(callers, providers.upstreams, spool, GatewayLimits(body_bytes=body_bytes))
    run = home / "run"
    options = EdgeOptions(str(run / "gateway.sock"), str(run / "model.sock"), DOOR_KEY)
    lock = os.open(run / f"{worker_id}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    spool.open()
    try:
        async with serve(app, options, ["gateway.sock", "model.sock"]) as served:
            yield Gate(served, home, worker_id, tokens, accounts, known_turns, spool, app)
    finally:
        await spool.close()
        await providers.close()
        os.close(lock)
