"""What the gateway of a server process is made of."""

import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from raworc.gateway.app import GatewayApp, GatewayLimits
from raworc.gateway.callers import Callers
from raworc.gateway.scripted import Scripted
from raworc.gateway.spool import Spool, SpoolLimits
from raworc.gateway.upstreams import Providers, ProviderSettings
from raworc.services.accounts import Accounts
from raworc.services.requests import Requests
from raworc.services.tokens import Tokens
from raworc.settings import Settings


@asynccontextmanager
async def gateway_parts(
    settings: Settings, *, worker_id: uuid.UUID, tokens: Tokens, accounts: Accounts, requests: Requests
) -> AsyncGenerator[GatewayApp]:
    """The gateway, its connections to providers, and its spool. ``worker_id`` holds its lock file while this lasts."""
    spool = Spool(settings.spool_dir, worker_id, SpoolLimits(strict=settings.record_sync == "strict"))
    provider = ProviderSettings(settings.anthropic_base_url, settings.anthropic_api_key)
    providers = Providers(Scripted(), provider)
    callers = Callers(tokens, accounts, requests, passthrough=settings.passthrough and settings.is_loopback)
    limits = GatewayLimits(body_bytes=settings.gateway_body_limit_bytes)
    spool.open()
    try:
        yield GatewayApp(callers, providers.upstreams, spool, limits)
    finally:
        await spool.close()
        await providers.close()
