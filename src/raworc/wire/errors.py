"""Errors of our own in the shape of the wire that was called. No I/O.

Shapes: https://docs.anthropic.com/en/api/errors and https://platform.openai.com/docs/guides/error-codes.
"""

from typing import Final

from raworc.domain.wires import Wire
from raworc.wire.anthropic import Json, error_json

ID_HEADERS: Final[dict[Wire, bytes]] = {"anthropic": b"request-id", "openai": b"x-request-id"}
"""Where each wire's clients look for the name of their call."""

_OVERLOADED: Final = 529
_OPENAI_TYPES: Final = {403: "permission_error", 429: "rate_limit_error"}
_OPENAI_CODES: Final = {
    401: "invalid_api_key",
    403: "permission_denied",
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    413: "request_too_large",
    429: "rate_limit_exceeded",
    502: "bad_gateway",
    503: "overloaded",
    504: "upstream_timeout",
}
_FIRST_OF_SERVER: Final = 500


def status_on(wire: Wire, status: int) -> int:
    """The status by which this wire says it: only Anthropic's has one of its own for overload."""
    return 503 if status == _OVERLOADED and wire == "openai" else status


def error_on(wire: Wire, status: int, message: str, *, request_id: str | None = None, kind: str | None = None) -> Json:
    """The body of an error with this wire's ``status``; ``kind`` is Anthropic's or our own word for it."""
    if wire == "anthropic":
        return error_json(status, message, request_id=request_id, kind=kind)
    return {"error": openai_error(status, message)}


def openai_error(status: int, message: str) -> Json:
    """``type`` by whose fault it is, ``code`` by the status."""
    kind = "server_error" if status >= _FIRST_OF_SERVER else _OPENAI_TYPES.get(status, "invalid_request_error")
    return {"message": message, "type": kind, "param": None, "code": _OPENAI_CODES.get(status)}
