"""What a server process is made of: the documented API and the gateway, one application for every listener."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from sqlalchemy import text
from starlette.types import ASGIApp

from raworc.api.app import create_api
from raworc.api.dispatch import Dispatcher
from raworc.api.edge import EdgeOptions, EdgeProtocol, edge_protocol
from raworc.api.parts import ApiParts
from raworc.domain.forwarding import Proxies
from raworc.domain.storage import Watermarks
from raworc.gateway.app import GatewayApp, GatewayLimits
from raworc.gateway.callers import Callers
from raworc.gateway.scripted import Scripted
from raworc.gateway.spool import Spool, SpoolLimits
from raworc.gateway.upstreams import Providers, ProviderSettings
from raworc.ids import WorkerId
from raworc.keys import Keys, MasterKeys, load_keys
from raworc.metrics import Metrics
from raworc.sandbox.files import workspace_files
from raworc.services.accounts import Accounts
from raworc.services.agents import Agents
from raworc.services.answers import Answers
from raworc.services.blocklist import Blocklist
from raworc.services.context import Context
from raworc.services.events import Events
from raworc.services.files import AgentFiles
from raworc.services.minting import Minting
from raworc.services.operators import Operators
from raworc.services.passwords import Passwords
from raworc.services.published import Published
from raworc.services.queue import QueueLimits
from raworc.services.remixes import Remixes
from raworc.services.requests import Requests
from raworc.services.secrets import Secrets
from raworc.services.sessions import Sessions
from raworc.services.storage import Storage
from raworc.services.telemetry import Telemetry
from raworc.services.tokens import Tokens
from raworc.services.turns import Turns
from raworc.services.workers import working
from raworc.settings import Settings
from raworc.store.database import Database
from raworc.store.notify import ACCOUNTS, EVENTS, Listener
from raworc.wiring.database import database_url
from raworc.wiring.metrics import published


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
        db = Database(url, pool_size=settings.pool_size)
        stack.push_async_callback(db.close)
        worker = await stack.enter_async_context(working(url, "server", node=settings.node, run_dir=settings.run_dir))
        listener = await stack.enter_async_context(Listener(url, [ACCOUNTS, EVENTS]))
        metrics = await stack.enter_async_context(published(process, worker, settings.run_dir, db))
        tokens, passwords, secrets = Tokens(keys.jwt), Passwords(), Secrets(MasterKeys.of(settings))
        accounts, requests = Accounts(db, tokens, passwords), Requests(db)
        turns, callers = Turns(db, listener, settings), _callers(settings, tokens, accounts, requests)
        gateway = await stack.enter_async_context(_gateway(settings, worker.id, metrics, callers))
        parts = ApiParts(
            accounts=accounts,
            operators=Operators(db, passwords),
            minting=Minting(db, accounts),
            blocklist=Blocklist(db),
            agents=Agents(db, secrets, settings),
            published=Published(db),
            remixes=Remixes(db, secrets, settings),
            sessions=Sessions(db, QueueLimits.of(settings)),
            turns=turns,
            context=Context(db, turns, settings),
            events=Events(db, listener),
            files=AgentFiles(db, workspace_files(settings.sessions_dir, settings.uid_base), settings.sessions_dir),
            requests=requests,
            answers=Answers(db, keys.jwt),
            telemetry=Telemetry(metrics, db, worker=worker.id, home=settings.home, token=settings.metrics_token),
            ready=_ready(db),
            storage=Storage.of(settings),
            body_limit_bytes=settings.body_limit_bytes,
            blocking_timeout_s=settings.blocking_timeout_s,
        )
        yield ServerParts(
            app=Dispatcher(create_api(parts), gateway),
            protocol=edge_protocol(_edge(settings, keys)),
            metrics=metrics,
            facts={"model": _model(settings)},
        )


def _callers(settings: Settings, tokens: Tokens, accounts: Accounts, requests: Requests) -> Callers:
    return Callers(tokens, accounts, requests, passthrough=settings.passthrough and settings.is_loopback)


@asynccontextmanager
async def _gateway(
    settings: Settings, worker_id: WorkerId, metrics: Metrics, callers: Callers
) -> AsyncGenerator[GatewayApp]:
    named = ProviderSettings(base_url=settings.anthropic_base_url, api_key=settings.anthropic_api_key)
    providers = Providers(Scripted(), named)
    free_bytes = Watermarks.of_mb(settings.disk_free_mb).growth_bytes
    limits = SpoolLimits(free_bytes=free_bytes, strict=settings.record_sync == "strict")
    spool = Spool(settings.spool_dir, worker_id, limits)
    spool.open()
    try:
        yield GatewayApp(callers, providers.upstreams, spool, GatewayLimits(settings.gateway_body_limit_bytes), metrics)
    finally:
        await providers.close()
        await spool.close()


def _edge(settings: Settings, keys: Keys) -> EdgeOptions:
    return EdgeOptions(
        door_socket=str(settings.gateway_socket),
        model_socket=str(settings.model_socket),
        door_key=keys.door,
        proxies=Proxies.parse(settings.proxy_headers),
        header_timeout_s=settings.header_timeout_s,
        body_idle_timeout_s=settings.body_idle_timeout_s,
    )


def _ready(db: Database) -> Callable[[], Awaitable[None]]:
    async def ready() -> None:
        async with db.reading() as conn:
            await conn.execute(text("SELECT 1"))

    return ready


def _model(settings: Settings) -> str:
    if settings.anthropic_api_key:
        return f"anthropic, {settings.anthropic_base_url or 'https://api.anthropic.com'}"
    return "scripted, which needs no key; set ANTHROPIC_API_KEY for a real one"
