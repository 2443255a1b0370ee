"""Which application of a server process takes a request. No middleware: the gateway's path stays short."""

import uuid
from typing import Final, cast

from starlette.types import ASGIApp, Receive, Scope, Send

from raworc.api.problems import problem
from raworc.errors import NotFound
from raworc.wire.peer import SCOPE_KEY, Peer

_MODEL_CALLS: Final = "/v1/"
_CLIENT_TELEMETRY: Final = "/api/event_logging/"


class Dispatcher:
    """Model calls go to the gateway from every listener, everything else to the API from the port only."""

    def __init__(self, api: ASGIApp, gateway: ASGIApp) -> None:
        self._api = api
        self._gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._api(scope, receive, send)
            return
        path: str = scope["path"]
        is_public = cast("Peer", scope[SCOPE_KEY]).listener == "public"
        is_probe = path == "/" and scope["method"] == "HEAD"
        if path.startswith(_MODEL_CALLS) or is_probe or (is_public and path.startswith(_CLIENT_TELEMETRY)):
            await self._gateway(scope, receive, send)
        elif is_public:
            await self._api(scope, receive, send)
        else:
            error = NotFound("Only model calls are served here")
            await problem(error, request_id=str(uuid.uuid4()))(scope, receive, send)
