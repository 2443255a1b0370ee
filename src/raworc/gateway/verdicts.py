"""What is known of a credential: asked for again and again, and kept while nobody can answer.

A call waits for the database only as long as that answers as it should. Callers who ask for the same at once ask
together; what was found holds for ``FRESH_S``, and for ``LAST_GOOD_S`` while the database is away or says nothing.
Half-way to that end it is asked for anew beside the calls, so that of a busy caller none waits.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from raworc.errors import Unauthorized, Unavailable

FRESH_S: Final = 1.0
_AHEAD_S: Final = FRESH_S / 2
LAST_GOOD_S: Final = 600.0
PATIENCE_S: Final = 2.0
_GIVEN_UP_S: Final = 10.0
_MOST: Final = 10_000

T = TypeVar("T")


@dataclass(slots=True)
class _Known(Generic[T]):
    value: T
    found_s: float
    asked_s: float  # when it was found, or nobody could say more


class Verdicts(Generic[T]):
    """Answers of ``ask``, which raises Unauthorized or Unavailable, by credential. ``clock_s`` is monotonic."""

    def __init__(self, ask: Callable[[str], Awaitable[T]], clock_s: Callable[[], float]) -> None:
        self._ask = ask
        self._clock_s = clock_s
        self._known: dict[str, _Known[T]] = {}
        self._asking: dict[str, tuple[asyncio.Task[T], float]] = {}

    async def of(self, credential: str) -> T:
        """What is known of it.

        Raises:
            Unauthorized: it is not, or no longer, good for anything.
            Unavailable: nothing is known of it and nobody can be asked.
        """
        at_s, value = self._clock_s(), self.fresh(credential)
        if value is not None:
            return value
        try:
            return await self._found(credential)
        except Unavailable:
            if not self._keep(credential, at_s):
                raise
            return self._known[credential].value

    def fresh(self, credential: str) -> T | None:
        """What is known of it, as long as nobody has to wait for that."""
        known, at_s = self._known.get(credential), self._clock_s()
        if known is None or at_s - known.asked_s >= FRESH_S:
            return None
        if at_s - known.asked_s >= _AHEAD_S and credential not in self._asking:
            self._begin(credential)
        return known.value

    def _keep(self, credential: str, at_s: float) -> bool:
        """Whether what was found last still holds; then the next second's callers need not ask."""
        known = self._known.get(credential)
        if known is None or at_s - known.found_s >= LAST_GOOD_S:
            return False
        known.asked_s = at_s
        return True

    async def _found(self, credential: str) -> T:
        """The answer to the question that is on its way, or to a new one. A caller who leaves ends neither."""
        asking, since_s = self._asking.get(credential) or self._begin(credential)
        now_s = asyncio.get_running_loop().time()
        await asyncio.wait([asking], timeout=max(since_s + PATIENCE_S - now_s, 0.0))
        if not asking.done():
            raise _silent()
        return asking.result()

    def _begin(self, credential: str) -> tuple[asyncio.Task[T], float]:
        loop = asyncio.get_running_loop()
        asking = loop.create_task(self._asked(credential))
        asking.add_done_callback(lambda task: self._answered(credential, task))
        self._asking[credential] = asking, loop.time()
        return self._asking[credential]

    async def _asked(self, credential: str) -> T:
        try:
            async with asyncio.timeout(_GIVEN_UP_S):
                return await self._ask(credential)
        except TimeoutError:
            raise _silent() from None

    def _answered(self, credential: str, task: asyncio.Task[T]) -> None:
        del self._asking[credential]
        error = None if task.cancelled() else task.exception()
        at_s = self._clock_s()
        if isinstance(error, Unauthorized):
            self._known.pop(credential, None)  # also when nobody waited for it any more
        elif isinstance(error, Unavailable):
            self._keep(credential, at_s)
        if task.cancelled() or error is not None:
            return
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[credential] = _Known(task.result(), at_s, at_s)


def _silent() -> Unavailable:
    return Unavailable("The database does not answer; try again shortly", headers={"Retry-After": "1"})
