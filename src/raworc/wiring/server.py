"""What a server process is made of: the documented API and the gateway, one application for every listener."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import cast

from sqlalchemy import text
from starlette.types import ASGIApp

from raworc.api.app import Api, Guards, create_api
from raworc.api.dispatch import Dispatcher
from raworc.api.edge import EdgeOptions, EdgeProtocol, edge_protocol
from raworc.api.pace import Pace
from raworc.api.parts import ApiParts, TenantParts, TrainParts
from raworc.api.routes import Contract
from raworc.domain.forwarding import Proxies
from raworc.domain.origins import Origins
from raworc.domain.storage import Watermarks
from raworc.gateway.app import GatewayApp, GatewayLimits
from raworc.gateway.callers import Asked, Callers
from raworc.gateway.spool import Spool, SpoolLimits
from raworc.ids import WorkerId
from raworc.keys import Keys, MasterKeys, load_keys
from raworc.metrics import Metrics
from raworc.sandbox.files import workspace_files
from raworc.services.accounts import Accounts
from raworc.services.agent_logs import AgentLogs
from raworc.services.agent_secrets import AgentSecrets
from raworc.services.agent_states import AgentStates
from raworc.services.agents import Agents
from raworc.services.answers import Answers
from raworc.services.approvals import Approvals
from raworc.services.audit_log import AuditLog
from raworc.services.bindings import Bindings
from raworc.services.blocklist import Blocklist
from raworc.services.builds import Builds
from raworc.services.client_keys import ClientKeys
from raworc.services.code_agents import CodeAgents
from raworc.services.context import Context
from raworc.services.conversations import Conversations
from raworc.services.definitions import Definitions
from raworc.services.deployments import Deployments
from raworc.services.events import Events
from raworc.services.feed import Feed
from raworc.services.files import AgentFiles
from raworc.services.identities import Identities
from raworc.services.ledger import Ledger
from raworc.services.messages import Messages
from raworc.services.minting import Minting
from raworc.services.operators import Operators, find_hiding
from raworc.services.passwords import Passwords
from raworc.services.provided_upstreams import provided_upstreams
from raworc.services.published import Published
from raworc.services.queue import QueueLimits
from raworc.services.remixes import Remixes
from raworc.services.requests import Requests
from raworc.services.roles import Roles
from raworc.services.secrets import Secrets
from raworc.services.session_remixes import SessionRemixes
from raworc.services.session_states import SessionStates
from raworc.services.sessions import Sessions
from raworc.services.space_secrets import SpaceSecrets
from raworc.services.spaces import Spaces
from raworc.services.storage import Storage
from raworc.services.telemetry import Telemetry
from raworc.services.tokens import Tokens
from raworc.services.turns import Turns
from raworc.services.upstreams import Upstreams
from raworc.services.usage import Usage
from raworc.services.workers import Worker, working
from raworc.settings import Settings
from raworc.store.database import Database
from raworc.store.notify import ACCOUNTS, CALLS, EVENTS, LOGS, Listener, ListenerOnDemand
from raworc.wiring.database import database_url
from raworc.wiring.identities import identity_providers
from raworc.wiring.metrics import published
from raworc.wiring.upstreams import upstream_parts


@dataclass(frozen=True)
class ServerParts:
    """One application, the protocol class that carries it, and what a person may want to know."""

    app: ASGIApp
    protocol: type[EdgeProtocol]
    metrics: Metrics
    facts: dict[str, str]


@asynccontextmanager
async def server_parts(settings: Settings, process: str = "server") -> AsyncGenerator[ServerParts]:
    """A server that is ready to listen."""
    url, keys = database_url(settings), load_keys(settings)
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        db = await enter(_database(url, settings))
        worker, metrics = await enter(_worker(settings, db, process))
        listener = await enter(Listener(url, [ACCOUNTS, EVENTS, LOGS]))
        tokens, passwords, secrets = Tokens(keys.jwt), Passwords(), Secrets(MasterKeys.of(settings))
        accounts, requests, client_keys = Accounts(db, tokens, passwords), Requests(db), ClientKeys(db)
        callers = _callers(settings, tokens, Asked(accounts, client_keys, requests))
        gateway, upstreams = await enter(_gateway(settings, worker.id, metrics, callers, db, secrets))
        parts = ApiParts(
            accounts=accounts,
            operators=Operators(db, passwords),
            minting=Minting(db, accounts),
            blocklist=Blocklist(db),
            keys=client_keys,
            upstreams=upstreams,
            agents=Agents(db, secrets, settings),
            published=Published(db),
            remixes=Remixes(db, secrets, settings),
            secrets=AgentSecrets(db, secrets),
            agent_states=AgentStates(db, QueueLimits.of(settings)),
            turns=(turns := Turns(db, listener, settings)),
            context=Context(db, turns, settings),
            approvals=Approvals(db),
            events=Events(db, listener),
            files=_files(settings, db),
            train=await _train(stack, db, requests),
            answers=Answers(db, keys.jwt),
            telemetry=Telemetry(metrics, db, worker=worker.id, home=settings.home, token=settings.metrics_token),
            tenants=await _tenants(stack, settings, db, _Shared(accounts, passwords, secrets, listener)),
            ready=_ready(db),
            contract=_contract(settings),
            storage=Storage.of(settings),
            body_limit_bytes=settings.body_limit_bytes,
            blocking_timeout_s=settings.blocking_timeout_s,
        )
        yield _ready_to_listen(settings, keys, metrics, Dispatcher(_api(settings, parts), gateway))


@asynccontextmanager
async def _database(url: str, settings: Settings) -> AsyncGenerator[Database]:
    db = Database(url, pool_size=settings.pool_size)
    try:
        yield db
    finally:
        await db.close()


@asynccontextmanager
async def _worker(settings: Settings, db: Database, process: str) -> AsyncGenerator[tuple[Worker, Metrics]]:
    async with (
        working(db.url, "server", node=settings.node, run_dir=settings.run_dir) as worker,
        published(process, worker, settings.run_dir, db) as metrics,
    ):
        yield worker, metrics


def _ready_to_listen(settings: Settings, keys: Keys, metrics: Metrics, app: ASGIApp) -> ServerParts:
    protocol = edge_protocol(_edge(settings, keys))
    return ServerParts(app=app, protocol=protocol, metrics=metrics, facts={"model": _model(settings)})


def _contract(settings: Settings) -> Contract:
    return cast("Contract", settings.contract)  # one of its choices


@dataclass(frozen=True)
class _Shared:
    accounts: Accounts
    passwords: Passwords
    secrets: Secrets
    listener: Listener


async def _tenants(stack: AsyncExitStack, settings: Settings, db: Database, shared: _Shared) -> TenantParts:
    providers = await stack.enter_async_context(identity_providers(settings))
    return TenantParts(
        spaces=Spaces(db),
        secrets=SpaceSecrets(db, shared.secrets),
        identities=Identities(db, shared.accounts, providers),
        accounts=Operators(db, shared.passwords, find_hiding),
        roles=Roles(db),
        bindings=Bindings(db),
        agents=Definitions(db),
        deployments=Deployments(db),
        logs=AgentLogs(db, shared.listener),
        code_agents=CodeAgents(db, files=settings.files_allowed),
        builds=Builds(db),
        sessions=Sessions(db, limits := QueueLimits.of(settings)),
        session_states=SessionStates(db),
        session_remixes=SessionRemixes(db, limits),
        messages=Messages(db, limits),
        audit=AuditLog(db),
    )


def _callers(settings: Settings, tokens: Tokens, asked: Asked) -> Callers:
    return Callers(tokens, asked, passthrough=settings.passthrough and settings.is_loopback)


async def _train(stack: AsyncExitStack, db: Database, requests: Requests) -> TrainParts:
    recorded = await stack.enter_async_context(ListenerOnDemand(db.url, [ACCOUNTS, CALLS]))
    return TrainParts(
        requests=requests, ledger=Ledger(db), conversations=Conversations(db), usage=Usage(db), feed=Feed(db, recorded)
    )


def _files(settings: Settings, db: Database) -> AgentFiles:
    reach = workspace_files(settings.sessions_dir, settings.uid_base)
    return AgentFiles(db, reach, settings.sessions_dir, Storage.of(settings))


@asynccontextmanager
async def _gateway(
    settings: Settings, worker_id: WorkerId, metrics: Metrics, callers: Callers, db: Database, secrets: Secrets
) -> AsyncGenerator[tuple[GatewayApp, Upstreams]]:
    free_bytes = Watermarks.of_mb(settings.disk_free_mb).growth_bytes
    limits = SpoolLimits(
        rotate_s=settings.spool_rotate_s,
        free_bytes=free_bytes,
        strict=settings.record_sync == "strict",
        may_pass=settings.record_full == "pass",
    )
    spool = Spool(settings.spool_dir, worker_id, limits)
    metrics.gauge("raworc_unrecorded_calls", "Model calls made without a record", lambda: spool.unrecorded)
    metrics.gauge("raworc_lost_frames", "Pieces of records that found no room", lambda: spool.lost_frames)
    spool.open()
    try:
        async with upstream_parts(settings, db, secrets) as (upstreams, routing):
            body_limit = GatewayLimits(settings.gateway_body_limit_bytes)
            yield GatewayApp(callers, routing, spool, body_limit, metrics), upstreams
    finally:
        await spool.close()


def _edge(settings: Settings, keys: Keys) -> EdgeOptions:
    return EdgeOptions(
        door_socket=str(settings.gateway_socket),
        model_socket=str(settings.model_socket),
        door_key=keys.door,
        proxies=Proxies.parse(settings.proxy_headers),
        header_timeout_s=settings.header_timeout_s,
        body_idle_timeout_s=settings.body_idle_timeout_s,
        write_timeout_s=settings.write_timeout_s,
    )


def _api(settings: Settings, parts: ApiParts) -> Api:
    pace = Pace(settings.requests_per_minute, parts.accounts.holder_of)
    return create_api(parts, Guards(Origins.parse(settings.cors_origins), pace))


def _ready(db: Database) -> Callable[[], Awaitable[None]]:
    async def ready() -> None:
        async with db.reading() as conn:
            await conn.execute(text("SELECT 1"))

    return ready


def _model(settings: Settings) -> str:
    """One line for people."""
    found = [f"{use.offer.name} ({use.base_url})" for use in provided_upstreams(settings)]
    instead = "scripted, unless upstreams are stored ('raworc upstreams'); ANTHROPIC_API_KEY and the like provide some"
    return ", ".join(found) or instead
