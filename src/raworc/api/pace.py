"""How many requests somebody may make: a minute's worth for each account, and for each address without one.

None by default. Each server process counts by itself; the rule is ``domain/pace.py``'s.
"""

import math
import uuid
from collections.abc import Callable
from time import monotonic

from starlette.types import Scope

from raworc.api.contracts import bearer_of
from raworc.domain.pace import Free, Known, counted
from raworc.errors import RateLimited


def _nobody(_token: str) -> uuid.UUID | None:
    return None


class Pace:
    """``per_minute`` requests of each caller, at once or one after another; 0: any number.

    ``holder`` tells the account that a token was issued to.
    """

    def __init__(
        self,
        per_minute: int = 0,
        holder: Callable[[str], uuid.UUID | None] = _nobody,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._per_minute = per_minute
        self._holder = holder
        self._clock = clock
        self._known = Known()

    def count(self, scope: Scope) -> None:
        """Count one request.

        Raises:
            RateLimited: it is one too many; nothing is counted.
        """
        if self._per_minute == 0:
            return
        caller, now_s = self._caller(scope), self._clock()
        found = counted(self._known.free_at_s(caller, now_s), now_s, per_minute=self._per_minute)
        if not isinstance(found, Free):
            raise self._too_many(math.ceil(found.for_s))
        self._known.keep(caller, found.at_s, now_s)

    def _caller(self, scope: Scope) -> str:
        token = bearer_of(scope)
        account = self._holder(token) if token else None
        return str(account or (scope.get("client") or ("",))[0])

    def _too_many(self, wait_s: int) -> RateLimited:
        told = f"More than {self._per_minute} requests in a minute: try again in {wait_s} s"
        return RateLimited(told, headers={"Retry-After": str(wait_s)})
