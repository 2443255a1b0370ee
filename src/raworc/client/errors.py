"""What the client raises: one class for every error a server answers, and two for having no answer.

    ClientError
    ├── ServerError 500
    │   ├── BadRequest 400
    │   ├── Unauthorized 401
    │   ├── Forbidden 403
    │   ├── NotFound 404
    │   │   └── MethodNotAllowed 405
    │   ├── RequestTimeout 408
    │   ├── Conflict 409
    │   ├── PayloadTooLarge 413
    │   ├── RateLimited 429
    │   ├── Unavailable 503
    │   └── GatewayTimeout 504
    ├── Unreachable         (no server answered; nothing is known about the request)
    └── BadAnswer           (something answered that is not a Raworc server)

``str(error)`` is the server's own message. Codes are the stable names of the error body.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import msgspec


@dataclass(frozen=True)
class FieldError:
    """One refused field: its dotted path in the body or query, and why."""

    field: str
    message: str


class ClientError(Exception):
    """The root of everything this package raises on purpose."""


class Unreachable(ClientError):
    """No connection, or it broke before the answer was complete."""


class StillWorking(ClientError):
    """What was waited for has not happened in the time that was given; it goes on."""


class BadAnswer(ClientError):
    """The answer is not what a Raworc server says; the address is probably another program's."""


class ServerError(ClientError):
    """The server refused or failed. ``retry_after_s`` is set where it says when to try again."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "INTERNAL_SERVER_ERROR"

    def __init__(self, message: str, *, details: tuple[FieldError, ...] = (), request_id: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.details = details
        self.request_id = request_id
        self.retry_after_s: float | None = None


class BadRequest(ServerError):
    """Missing, malformed or impossible input; ``details`` names the fields."""

    status = 400
    code = "BAD_REQUEST"


class Unauthorized(ServerError):
    """No token, or one that does not count any more: log in again."""

    status = 401
    code = "UNAUTHORIZED"


class Forbidden(ServerError):
    """This account may not do that."""

    status = 403
    code = "FORBIDDEN"


class NotFound(ServerError):
    """No such thing, or none that this account may see."""

    status = 404
    code = "NOT_FOUND"


class MethodNotAllowed(NotFound):
    """The path exists, the method does not."""

    status = 405
    code = "METHOD_NOT_ALLOWED"


class RequestTimeout(ServerError):
    """The request took too long to arrive."""

    status = 408
    code = "REQUEST_TIMEOUT"


class Conflict(ServerError):
    """The thing is in a state that does not allow this, or its name is taken."""

    status = 409
    code = "CONFLICT"


class PayloadTooLarge(ServerError):
    """A body or file above its limit."""

    status = 413
    code = "PAYLOAD_TOO_LARGE"


class RateLimited(ServerError):
    """Too much at once."""

    status = 429
    code = "RATE_LIMITED"


class Unavailable(ServerError):
    """Not now: the database is away, or a disk is full. Nothing acknowledged is lost."""

    status = 503
    code = "SERVICE_UNAVAILABLE"


class GatewayTimeout(ServerError):
    """A blocking request reached its time limit; the work itself goes on."""

    status = 504
    code = "GATEWAY_TIMEOUT"


_KINDS: tuple[type[ServerError], ...] = (
    ServerError,
    BadRequest,
    Unauthorized,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    RequestTimeout,
    Conflict,
    PayloadTooLarge,
    RateLimited,
    Unavailable,
    GatewayTimeout,
)
BY_CODE = {kind.code: kind for kind in _KINDS}
_BY_STATUS = {kind.status: kind for kind in _KINDS}


def from_answer(status: int, headers: Mapping[str, str], body: bytes) -> ClientError:
    """The exception for an answer of 400 or above: by its code, else by its status."""
    said = _read(body)
    error = _mapping(said.get("error"))
    kind = BY_CODE.get(str(error.get("code"))) or _BY_STATUS.get(status)
    message = said.get("message") or error.get("message") or _of_oauth(said)
    if not isinstance(message, str):
        return BadAnswer(f"got status {status} without an error message: is this a Raworc server?")
    request_id = said.get("request_id")
    answer = (kind or ServerError)(
        message,
        details=_details(error.get("details")),
        request_id=request_id if isinstance(request_id, str) else None,
    )
    answer.retry_after_s = _seconds(headers.get("retry-after"))
    return answer


def _of_oauth(said: dict[str, Any]) -> str | None:
    """What a token endpoint said (RFC 6749, 5.2)."""
    code, description = said.get("error"), said.get("error_description")
    return f"{description} ({code})" if isinstance(code, str) and isinstance(description, str) else None


def _read(body: bytes) -> dict[str, Any]:
    try:
        return _mapping(msgspec.json.decode(body))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}


def _mapping(value: object) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _details(value: object) -> tuple[FieldError, ...]:
    items = cast("list[object]", value) if isinstance(value, list) else []
    rows = [_mapping(item) for item in items]
    return tuple(FieldError(str(row.get("field", "")), str(row.get("message", ""))) for row in rows)


def _seconds(value: str | None) -> float | None:
    try:
        seconds = float(value) if value else None
    except ValueError:  # the other form, a date, is never sent by our servers
        return None
    return seconds if seconds is not None and math.isfinite(seconds) else None
