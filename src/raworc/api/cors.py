"""Cross-origin requests: what a browser has to be told before pages of other origins may use the API.

Tokens travel in a header that such pages set themselves, so no credentials of the browser's are ever admitted.
"""

from typing import Final

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Scope

from raworc.domain.origins import Origins

Header = tuple[bytes, bytes]

_ASKED: Final = "access-control-request-method"
_METHODS: Final = "GET, POST, PUT, PATCH, DELETE"
_SENT: Final = "Accept, Authorization, Content-Type, Idempotency-Key, Last-Event-ID, Raworc-Contract"
_SHOWN: Final = (
    b"Content-Disposition, Idempotent-Replayed, Raworc-Contract, Raworc-Notice, Retry-After, "
    b"WWW-Authenticate, X-Raworc-File-Size, X-Request-Id"
)
_KEPT_S: Final = "600"


def cors_headers(origins: Origins, scope: Scope) -> list[Header]:
    """What every answer to a request carries; nothing where no origins are configured."""
    if not origins.allowed:
        return []
    origin = Headers(scope=scope).get("origin", "")
    vary: Header = (b"vary", b"Origin")
    if not origin or not origins.admit(origin):
        return [vary]
    admitted = (b"access-control-allow-origin", origin.encode("latin-1"))
    return [vary, admitted, (b"access-control-expose-headers", _SHOWN)]


def preflight(origins: Origins, scope: Scope) -> Response | None:
    """The answer to a browser's question before a request, where this is one that has an answer."""
    headers = Headers(scope=scope)
    is_asked = scope["method"] == "OPTIONS" and _ASKED in headers
    if not is_asked or not origins.admit(headers.get("origin", "")):
        return None
    told = {
        "Access-Control-Allow-Methods": _METHODS,
        "Access-Control-Allow-Headers": _SENT,
        "Access-Control-Max-Age": _KEPT_S,
    }
    return Response(status_code=204, headers=told)
