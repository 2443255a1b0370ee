"""Whom a server process calls, and who may change that."""

import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from raworc.errors import BadRequest
from raworc.gateway.routing import Addresses, Routing
from raworc.gateway.scripted import Scripted
from raworc.services.provided_upstreams import anthropic_url, openai_url, provided_upstreams
from raworc.services.renewals import Renewals
from raworc.services.secrets import Secrets
from raworc.services.upstream_uses import UpstreamUses
from raworc.services.upstreams import Upstreams
from raworc.settings import Settings
from raworc.store.database import Database
from raworc.wire.client import Reach, Timeouts, trusting


@asynccontextmanager
async def upstream_parts(
    settings: Settings, db: Database, secrets: Secrets
) -> AsyncGenerator[tuple[Upstreams, Routing]]:
    """The upstreams for administrators and for calls. What was begun for them is ended with the block."""
    provided, trust = provided_upstreams(settings), _trust(settings)
    renewals = Renewals(db, secrets, trust)
    addresses = Addresses(
        anthropic=anthropic_url(settings),
        openai=openai_url(settings),
        is_configured=bool(settings.anthropic_base_url or settings.openai_base_url),
    )
    timeouts = Timeouts(
        connect_s=settings.upstream_connect_timeout_s,
        first_byte_s=settings.upstream_first_byte_timeout_s,
        idle_s=settings.upstream_idle_timeout_s,
    )
    urls = {"anthropic": addresses.anthropic, "openai": addresses.openai}
    uses = UpstreamUses(db, secrets, provided, urls)
    routing = Routing(Scripted(), uses, renewals, addresses, reach=Reach(timeouts, trust))
    try:
        async with routing.kept():
            yield Upstreams(db, secrets, renewals, provided), routing
    finally:
        await renewals.close()


def _trust(settings: Settings) -> ssl.SSLContext:
    try:
        return trusting(settings.upstream_ca_file)
    except OSError as error:
        raise BadRequest(
            f"'RAWORC_UPSTREAM_CA_FILE': '{settings.upstream_ca_file}' is no file of certificates (PEM): {error}"
        ) from None
