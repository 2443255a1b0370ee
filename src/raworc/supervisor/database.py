"""A start's dealings with its database: bring it up to date, and know whether anyone may log in as ``admin``."""

import asyncio
from typing import Final

from raworc.errors import BadRequest, DatabaseUnavailable, Unavailable
from raworc.services.passwords import Passwords
from raworc.settings import DEFAULT_PASSWORD, Settings
from raworc.store.first_look import FirstLook, first_look
from raworc.supervisor.processes import Child, Program

MIN_SERVER_MAJOR: Final = 16


async def brought_up_to_date(settings: Settings) -> FirstLook:
    """Migrate and bootstrap where something is missing; what the database looks like then.

    ``settings.database_url`` must be set.

    Raises:
        Unavailable: it cannot be reached, is too old, or was written by a newer program.
    """
    url = settings.database_url
    if url is None:
        raise DatabaseUnavailable("No database is configured")
    look = await asyncio.to_thread(first_look, url)
    if look.server_major < MIN_SERVER_MAJOR:
        raise Unavailable(f"The database is Postgres {look.server_major}: raworc needs {MIN_SERVER_MAJOR} or newer")
    if look.is_current and look.admin_hash is not None:
        return look
    secret = {"RAWORC_ADMIN_PASSWORD": settings.admin_password}
    await Child(Program("prepare", "prepare", environ=secret), settings).run_once()
    return await asyncio.to_thread(first_look, url)


async def has_default_password(look: FirstLook) -> bool:
    """Whether everyone who read our documentation can log in as ``admin``. Takes some 60 ms of a thread."""
    return look.admin_hash is not None and await Passwords().verify(look.admin_hash, DEFAULT_PASSWORD)


async def refuse_default_password(settings: Settings, look: FirstLook) -> None:
    """Off loopback, strangers reach the port.

    Raises:
        BadRequest: they could log in.
    """
    if await has_default_password(look):
        how = "a proxy passes requests on" if settings.proxy_headers else f"'{settings.host}' is reachable"
        raise BadRequest(
            f"Account 'admin' has the password that the documentation shows, and {how} from"
            " other machines: set 'RAWORC_ADMIN_PASSWORD' before the first start (later: change it while listening on"
            " 127.0.0.1), or use '--host 127.0.0.1'"
        )
