"""Version and health: public, and the only routes that need no database to answer."""

import asyncio
from typing import Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from raworc import __version__
from raworc.api.parts import parts_of
from raworc.api.render import Json
from raworc.api.routes import Route
from raworc.api.schemas import Health, Version
from raworc.clock import now, rfc3339
from raworc.errors import Unavailable

_READY_TIMEOUT_S: Final = 2.0


async def version() -> Response:
    """The server's version and API namespace."""
    return Json({"version": __version__, "api": "v0"})


async def health(request: Request) -> Response:
    """`OK` as text, or JSON for callers that accept it: this server is up and reaches its database."""
    await _check(request)
    return _healthy(request, database="connected")


async def livez(request: Request) -> Response:
    """This process answers."""
    return _healthy(request, database=None)


async def readyz(request: Request) -> Response:
    """This process can serve: its database answers."""
    await _check(request)
    return _healthy(request, database="connected")


async def _check(request: Request) -> None:
    try:
        async with asyncio.timeout(_READY_TIMEOUT_S):
            await parts_of(request).ready()
    except TimeoutError:
        raise Unavailable("The database does not answer; try again shortly", headers={"Retry-After": "1"}) from None


def _healthy(request: Request, *, database: str | None) -> Response:
    if "application/json" not in request.headers.get("accept", ""):
        return PlainTextResponse("OK")
    storage = "low" if parts_of(request).storage.is_low else "ok"
    found = {"status": "ok", "timestamp": rfc3339(now()), "version": __version__, "database": database}
    return Json({**found, "storage": storage})


_TEXT: Final = "text/plain"

EVERYWHERE: Final = (
    Route("GET", "/version", version, Version),
    Route("GET", "/health", health, Health, fails=(Unavailable,), media_type=_TEXT),
)
"""What every contract has."""

ROUTES: Final = (
    *EVERYWHERE,
    Route("GET", "/livez", livez, Health, media_type=_TEXT, is_root=True),
    Route("GET", "/readyz", readyz, Health, fails=(Unavailable,), media_type=_TEXT, is_root=True),
)
