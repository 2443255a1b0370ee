"""``GET /metrics``: numbers for Prometheus, and who may read them."""

import hmac
from dataclasses import dataclass
from typing import Annotated, Final, cast

from fastapi import Depends
from starlette.requests import Request
from starlette.responses import Response

from raworc.api.auth import SignedIn
from raworc.api.parts import parts_of
from raworc.api.routes import Route
from raworc.errors import DatabaseUnavailable, Forbidden, Unauthorized
from raworc.wire.peer import SCOPE_KEY, Peer

_TEXT: Final = "text/plain"
_FORMAT: Final = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True)
class Scraper:
    """A dependency that passes programs of this machine, the metrics token, and administrators.

    Raises:
        Unauthorized: somebody else without any of these.
        Forbidden: an account that is no administrator's.
    """

    async def __call__(self, request: Request) -> None:
        """Return for who may read."""
        peer = cast("Peer | None", request.scope.get(SCOPE_KEY))
        if peer is not None and peer.is_local:
            return
        wanted, given = parts_of(request).telemetry.token, request.headers.get("authorization", "")
        if wanted and hmac.compare_digest(given.encode(), f"Bearer {wanted}".encode()):
            return
        caller = await SignedIn()(request)
        if not caller.is_admin:
            raise Forbidden(f"Account '{caller.name}' may not read metrics: it takes an administrator")


MayScrape = Annotated[None, Depends(Scraper())]


async def metrics(request: Request, _may: MayScrape) -> Response:
    """Numbers of every process of this home and of the installation, in Prometheus' text format.

    Programs on the server's own machine need no token; others send `RAWORC_METRICS_TOKEN`, or an administrator's.
    """
    return Response(await parts_of(request).telemetry.show(), media_type=_FORMAT)


ROUTES: Final = (
    Route(
        "GET",
        "/metrics",
        metrics,
        fails=(Unauthorized, Forbidden, DatabaseUnavailable),
        media_type=_TEXT,
        is_root=True,
    ),
)
