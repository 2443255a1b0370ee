"""One request and its answer, as the log and the error bodies name it."""

import re
import time
import uuid
from dataclasses import dataclass, field
from typing import Final, cast

from starlette.types import Scope

from raworc.api.contracts import CONTRACTS
from raworc.services.accounts import Caller

_SCOPE_KEY: Final = "raworc.exchange"
_SANE_ID: Final = re.compile(rb"[A-Za-z0-9._:-]{1,128}")


@dataclass
class Exchange:
    """Facts collected while a request is served.

    ``asked_contract`` is what the path's prefix or the ``Raworc-Contract`` header names, ``contract`` the one that
    answers. ``account`` and ``caller`` are set once the caller is known, ``permission`` (verb and resource) by a route
    that names one, ``body_digest`` (SHA-256) once a JSON body is read.
    """

    request_id: str
    asked_contract: str | None
    contract: str = "agents"
    began_s: float = field(default_factory=time.perf_counter)
    status: int = 0
    account: str | None = None
    caller: Caller | None = None
    permission: tuple[str, str] | None = None
    body_digest: bytes = b""

    @property
    def elapsed_ms(self) -> float:
        """Since the request's headers were read."""
        return round((time.perf_counter() - self.began_s) * 1000, 2)


def begin(scope: Scope, *, prefix: str | None) -> Exchange:
    """Open the exchange of this request; its id is the caller's ``X-Request-Id`` where that is sane.

    ``prefix``: the contract that the path names.
    """
    given = _header(scope, b"x-request-id")
    request_id = given.decode("ascii") if _SANE_ID.fullmatch(given) else str(uuid.uuid4())
    named = _header(scope, b"raworc-contract").decode("latin-1")
    exchange = Exchange(request_id=request_id, asked_contract=prefix or (named if named in CONTRACTS else None))
    scope[_SCOPE_KEY] = exchange
    return exchange


def of(scope: Scope) -> Exchange:
    """The exchange that this request belongs to."""
    return cast("Exchange", scope[_SCOPE_KEY])


def _header(scope: Scope, wanted: bytes) -> bytes:
    return next((value for name, value in scope["headers"] if name == wanted), b"")
