"""From a call to its first answer worth passing on: retries, and the next account after a 429.

All of it happens before the client has seen a byte. A client that leaves meanwhile ends it.
"""

import asyncio
import random
from collections.abc import Iterable
from typing import Final

from raworc.clock import now
from raworc.domain.retries import TOO_MANY, cool_down_s, wait_s
from raworc.domain.upstreams import SCRIPTED
from raworc.gateway.routing import Route
from raworc.gateway.upstreams import Answer, Call, Header, Upstream
from raworc.wire.client import ConnectFailed, UpstreamClosed, UpstreamError, UpstreamTimeout
from raworc.wire.frames import Attempt

_FIRST_FAILURE: Final = 400
_NO_HEADERS: Final[list[Header]] = []


class Attempts:
    """The attempts of one call. ``failed``: those that were followed by another; ``account``: who was asked last."""

    def __init__(self, route: Route) -> None:
        self._route = route
        self.account = route.name
        self.failed: list[Attempt] = []

    @property
    def moved_to(self) -> str | None:
        """Who was asked last, if that is not who was asked first."""
        return self.account if self.account != self._route.name else None

    async def answer(self, call: Call) -> Answer:
        """An answer, good or not, that the client is to see. ``call.body`` is gone then.

        Raises:
            wire.client.UpstreamError: there is none, and trying again does not help.
            Refused: there is nothing to call the upstream with.
        """
        for upstream in self._route.upstreams[:-1]:
            answer = await self._of(upstream, call)
            if answer.status != TOO_MANY:
                break
            await answer.close()
            self._note(TOO_MANY, None)
        else:
            answer = await self._of(self._route.upstreams[-1], call)
        call.body = b""
        return answer

    async def _of(self, upstream: Upstream, call: Call) -> Answer:
        """One upstream's answer, after as many retries as it takes and may have."""
        self.account = upstream.name
        retries = 0
        while True:
            try:
                answer = await upstream.open(call)
            except UpstreamError as error:
                pause_s = self._pause_s(None, _NO_HEADERS, retries) if _may_pass(error) else None
                if pause_s is None:
                    raise
                self._note(None, str(error))
            else:
                is_good = answer.status < _FIRST_FAILURE
                pause_s = None if is_good else self._pause_s(answer.status, answer.headers, retries)
                if pause_s is None:
                    self._cool(upstream, answer)
                    return answer
                await answer.close()
                self._note(answer.status, None)
            retries += 1
            await asyncio.sleep(pause_s)

    def _pause_s(self, status: int | None, headers: Iterable[Header], retries: int) -> float | None:
        first_s = self._route.first_wait_s
        if first_s is None:
            return None
        chance = random.random()  # noqa: S311  spread, not secrecy
        return wait_s(status, headers, retries=retries, first_s=first_s, chance=chance, now=now())

    def _cool(self, upstream: Upstream, answer: Answer) -> None:
        if answer.status == TOO_MANY and upstream.name != SCRIPTED:
            self._route.cool(upstream.name, cool_down_s(answer.headers, now()))

    def _note(self, status: int | None, error: str | None) -> None:
        self.failed.append(Attempt(self.account, status, error))


def _may_pass(error: UpstreamError) -> bool:
    """No connection, or one that ended: not an answer that takes too long or is none."""
    is_connecting = isinstance(error, UpstreamTimeout) and error.phase == "connect"
    return isinstance(error, ConnectFailed | UpstreamClosed) or is_connecting
