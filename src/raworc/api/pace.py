"""How many requests somebody may make: a bucket for each account, and for each address without one. None by default.

Each server process counts by itself.
"""

import math
import uuid
from collections.abc import Callable
from time import monotonic
from typing import Final

from starlette.types import Scope

from raworc.api.contracts import bearer_of
from raworc.errors import RateLimited

_MINUTE_S: Final = 60.0
_MOST_KNOWN: Final = 10_000


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
        self._free_at_s: dict[str, float] = {}

    def count(self, scope: Scope) -> None:
        """Count one request.

        Raises:
            RateLimited: it is one too many; nothing is counted.
        """
        if self._per_minute == 0:
            return
        caller = self._caller(scope)
        now, each_s = self._clock(), _MINUTE_S / self._per_minute
        free_at_s = max(self._free_at_s.get(caller, now), now) + each_s
        wait_s = free_at_s - now - _MINUTE_S
        if wait_s > each_s / 2:
            raise self._too_many(math.ceil(wait_s))
        if len(self._free_at_s) >= _MOST_KNOWN:
            self._free_at_s = {known: at_s for known, at_s in self._free_at_s.items() if at_s > now}
        self._free_at_s[caller] = free_at_s

    def _caller(self, scope: Scope) -> str:
        token = bearer_of(scope)
        account = self._holder(token) if token else None
        return str(account or (scope.get("client") or ("",))[0])

    def _too_many(self, wait_s: int) -> RateLimited:
        told = f"More than {self._per_minute} requests in a minute: try again in {wait_s} s"
        return RateLimited(told, headers={"Retry-After": str(wait_s)})
