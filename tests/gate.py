"""A gateway behind the real HTTP edge in the test's own event loop, and what it is told about callers."""

import fcntl
import os
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from starlette.types import Receive, Scope, Send

from raworc.api.dispatch import Dispatcher
from raworc.api.edge import EdgeOptions
from raworc.api.preamble import door_preamble
from raworc.domain.credentials import ApiKey, OAuth
from raworc.domain.upstreams import Offer
from raworc.errors import DatabaseUnavailable, Unauthorized
from raworc.gateway.app import GatewayApp, GatewayLimits
from raworc.gateway.callers import Asked, Callers
from raworc.gateway.routing import Addresses, Routing
from raworc.gateway.scripted import Scripted
from raworc.gateway.spool import Spool, SpoolLimits
from raworc.gateway.upstreams import Renewing
from raworc.services.client_keys import KeyUse
from raworc.services.tokens import LoginClaims, Tokens, WorkClaims
from raworc.services.upstream_uses import Use
from raworc.wire.client import Reach
from raworc.wire.frames import Frame
from served import Served, reply, serve

DOOR_KEY = b"d" * 32
NOWHERE = "http://127.0.0.1:1"


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
    warm: set[tuple[uuid.UUID, int, uuid.UUID]] = field(default_factory=set)

    async def keeps_warm(self, session_id: uuid.UUID, epoch: int, agent_id: uuid.UUID) -> bool:
        return (session_id, epoch, agent_id) in self.warm

    async def processing(self, session_id: uuid.UUID, epoch: int) -> uuid.UUID | None:
        return self.known.get((session_id, epoch))


@dataclass
class KnownKeys:
    """Client keys and what each is good for; ``away`` plays a database that does not answer."""

    known: dict[str, KeyUse] = field(default_factory=dict)
    away: bool = False

    async def authenticate(self, key: str) -> KeyUse:
        if self.away:
            raise DatabaseUnavailable("The database does not answer")
        if key not in self.known:
            raise Unauthorized("Invalid key")
        return self.known[key]


@dataclass
class KnownUpstreams:
    """Upstreams as stored; ``away`` plays a database that does not answer."""

    uses: list[Use] = field(default_factory=list)
    away: bool = False
    cool: dict[str, float] = field(default_factory=dict)

    async def now(self, _: Mapping[str, Use]) -> tuple[Use, ...]:
        if self.away:
            raise DatabaseUnavailable("The database does not answer")
        return tuple(self.uses)

    async def cooling(self, met: Mapping[str, float]) -> Mapping[str, float]:
        self.cool |= met
        return self.cool


class NobodyRenews:
    async def renewed(self, upstream_id: str, _: OAuth) -> OAuth:
        raise AssertionError(upstream_id)


@dataclass
class Gate:
    served: Served
    home: Path
    worker_id: uuid.UUID
    tokens: Tokens
    accounts: KnownAccounts
    keys: KnownKeys
    turns: ProcessingTurns
    spool: Spool
    app: Dispatcher
    gateway: GatewayApp
    directory: KnownUpstreams
    routing: Routing

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

    def sandbox_token(self, session_id: uuid.UUID, epoch: int, agent_id: uuid.UUID | None = None) -> str:
        claims = WorkClaims("sandbox", session_id, epoch, "default", "default.agent", None, agent_id)
        return self.tokens.work(claims, ttl_s=600)

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
            while (frame := self.spool.framing.read(data, at)) is not None:
                frames.append(frame)
                at += frame.size
        return frames


async def no_api(_scope: Scope, _receive: Receive, send: Send) -> None:
    """Answers what is no model call."""
    await reply(send, b"not the gateway's")


@asynccontextmanager
async def gate(
    home: Path,
    *,
    base_url: str | None = None,
    api_key: str | None = None,
    passthrough: bool = True,
    limits: SpoolLimits | None = None,
    reach: Reach | None = None,
    body_bytes: int = 32 * 1024 * 1024,
    clock_s: Callable[[], float] = time.monotonic,
    patience_s: float | None = None,
    uses: Sequence[Use] = (),
    renewing: Renewing | None = None,
) -> AsyncIterator[Gate]:
    """A gateway that serves ``home``'s port and sockets and spools below it. ``patience_s``: with clients."""
    tokens, worker_id = Tokens(b"k" * 32), uuid.uuid4()
    accounts, keys, known_turns = KnownAccounts(tokens), KnownKeys(), ProcessingTurns()
    (home / "run").mkdir(exist_ok=True)
    spool = Spool(home / "spool", worker_id, limits or SpoolLimits(free_bytes=0))
    addresses = Addresses(base_url or NOWHERE, base_url or NOWHERE, is_configured=base_url is not None)
    directory = KnownUpstreams(list(uses))
    if base_url and api_key:
        directory.uses.append(Use("anthropic", 1, Offer("anthropic", "custom"), base_url, ApiKey(api_key)))
    renews = renewing or NobodyRenews()
    routing = Routing(Scripted(), directory, renews, addresses, reach=reach, first_wait_s=0.001)
    callers = Callers(tokens, Asked(accounts, keys, known_turns), passthrough=passthrough, clock_s=clock_s)
    app = Dispatcher(no_api, gateway := GatewayApp(callers, routing, spool, GatewayLimits(body_bytes=body_bytes)))
    run = home / "run"
    waits = {} if patience_s is None else {"header_timeout_s": patience_s, "body_idle_timeout_s": patience_s}
    options = EdgeOptions(str(run / "gateway.sock"), str(run / "model.sock"), DOOR_KEY, **waits)
    lock = os.open(run / f"{worker_id}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    spool.open()
    try:
        async with routing.kept(), serve(app, options, ["gateway.sock", "model.sock"]) as served:
            known = (tokens, accounts, keys, known_turns)
            yield Gate(served, home, worker_id, *known, spool, app, gateway, directory, routing)
    finally:
        await spool.close()
        os.close(lock)
