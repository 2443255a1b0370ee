"""Every error a caller can meet, drawn as one tree.

    RaworcError
    ├── BadRequest 400
    ├── Unauthorized 401
    ├── Forbidden 403
    ├── NotFound 404
    │   ├── Hidden
    │   └── MethodNotAllowed 405
    ├── RequestTimeout 408
    ├── Conflict 409
    ├── PayloadTooLarge 413
    ├── RateLimited 429
    ├── Unavailable 503
    │   ├── DatabaseUnavailable
    │   └── StorageFull
    ├── GatewayTimeout 504
    ├── LostHold            (inside operators only: another one holds the session now)
    └── TurnSettled         (inside operators only: a server settled the turn meanwhile)

An error is raised where it is found, carries a message a person can act on, and is turned into an answer
in one place (``api/problems.py``). Each class knows its HTTP status, its stable code, and what its reader can do.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class FieldError:
    """One field that was refused: its dotted path in the body or query, and why."""

    field: str
    message: str


class RaworcError(Exception):
    """A defect of the server; the root of every error.

    ``str(error)`` is the message that the caller reads.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "INTERNAL_SERVER_ERROR"
    advice: ClassVar[str] = "Look for the request id in the server's log, and report what stands there."

    def __init__(
        self, message: str, *, details: tuple[FieldError, ...] = (), headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.details = details
        self.headers = dict(headers or {})
        self.is_kept = False
        """A refusal that stands in the audit log already."""


class BadRequest(RaworcError):
    """Missing, malformed or impossible input; ``details`` names the fields."""

    status = 400
    code = "BAD_REQUEST"
    advice = "Correct the fields that `details` names and send it again."


class Unauthorized(RaworcError):
    """No token, or one that does not count (any more); the text is the same for every reason."""

    status = 401
    code = "UNAUTHORIZED"
    advice = "Log in again (`raworc login`) and send the new token."


class Forbidden(RaworcError):
    """The caller is known and may not do this."""

    status = 403
    code = "FORBIDDEN"
    advice = "Ask its owner, or an administrator for a role that allows it."


class NotFound(RaworcError):
    """No such thing, or none that the caller may see."""

    status = 404
    code = "NOT_FOUND"
    advice = "Check the name; ask its owner whether it is there."


class Hidden(NotFound):
    """It is there, and the caller may not see it: answered as what is not there, kept as a refusal."""

    advice = "Ask its owner, or an administrator for a role that shows it."


class MethodNotAllowed(NotFound):
    """The path exists, the method does not; the header ``Allow`` names those that do."""

    status = 405
    code = "METHOD_NOT_ALLOWED"
    advice = "Use a method that the header `Allow` names."


class RequestTimeout(RaworcError):
    """The client took too long to send its request."""

    status = 408
    code = "REQUEST_TIMEOUT"
    advice = "Send it again, faster or in smaller pieces."


class Conflict(RaworcError):
    """The thing is in a state that does not allow this, or its name is taken."""

    status = 409
    code = "CONFLICT"
    advice = "Read the message: wait, change the thing's state, or take another name; then send it again."


class PayloadTooLarge(RaworcError):
    """A body or file above its limit."""

    status = 413
    code = "PAYLOAD_TOO_LARGE"
    advice = "Send less at once."


class RateLimited(RaworcError):
    """Too much at once; the header ``Retry-After`` says how many seconds to wait."""

    status = 429
    code = "RATE_LIMITED"
    advice = "Wait as long as the header `Retry-After` says."


class Unavailable(RaworcError):
    """Not now; the header ``Retry-After`` says how many seconds to wait."""

    status = 503
    code = "SERVICE_UNAVAILABLE"
    advice = "Wait as long as the header `Retry-After` says, and send it again."


class DatabaseUnavailable(Unavailable):
    """Postgres is away. Nothing acknowledged is lost; try again shortly."""

    advice = "Send it again shortly; operators look at Postgres and its log."


class StorageFull(Unavailable):
    """A disk is full or below its watermark: new work is refused until there is room."""

    advice = "Make room on the server's disk. Reading, deleting and putting to sleep go on meanwhile."


class GatewayTimeout(RaworcError):
    """A blocking request reached its time limit; the work itself goes on."""

    status = 504
    code = "GATEWAY_TIMEOUT"
    advice = "Ask for the response by its id, or follow its events."


class LostHold(RaworcError):
    """Another operator holds the session now: the work in hand must be dropped, nothing may be written."""

    status = 409
    code = "CONFLICT"


class TurnSettled(RaworcError):
    """The turn was settled by someone else: its command must be stopped, its result dropped."""

    status = 409
    code = "CONFLICT"
