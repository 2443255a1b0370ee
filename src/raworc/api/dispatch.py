"""Which application of a server process takes a request. No middleware: the gateway's path stays short."""

import uuid
from typing import Final, cast

from starlette.types import ASGIApp, Receive, Scope, Send

from raworc.api.cycle import Calls
from raworc.api.problems import problem
from raworc.errors import NotFound
from raworc.wire.peer import SCOPE_KEY, ListenerKind, Peer

_MODEL_CALLS: Final = "/v1/"
_CLIENT_TELEMETRY: Final = "/api/event_logging/"


class Dispatcher:
    """Model calls go to the gateway from every listener, everything else to the API from the port only.

    It is the API as an ASGI application; the gateway is asked without one (``api/cycle.py``).
    """

    def __init__(self, api: ASGIApp, gateway: Calls) -> None:
        self._api = api
        self._gateway = gateway

    def calls(self, method: str, path: str, listener: ListenerKind) -> Calls | None:
        """The gateway, where the request is its."""
        is_call = path.startswith(_MODEL_CALLS) or (path == "/" and method == "HEAD")
        return self._gateway if is_call or (listener == "public" and path.startswith(_CLIENT_TELEMETRY)) else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request that is none of the gateway's."""
        if scope["type"] != "http" or cast("Peer", scope[SCOPE_KEY]).listener == "public":
            await self._api(scope, receive, send)
        else:
            error = NotFound("Only model calls are served here")
            await problem(error, request_id=str(uuid.uuid4()))(scope, receive, send)
