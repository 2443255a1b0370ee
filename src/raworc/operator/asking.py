"""The model calls of one turn, made again where the way to the answer broke, which nobody else can do."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from raworc.domain.context import Prompt
from raworc.domain.text import storable_text
from raworc.operator.desk import Desk
from raworc.operator.dialect import DEFAULT_MAX_TOKENS, Ask, Reply
from raworc.operator.model import CallBroken, Deltas, NoRoom
from raworc.operator.stop import Stop
from raworc.services.holds import Hold
from raworc.services.steps import Brief, Work
from raworc.services.tokens import WorkClaims
from raworc.wire.anthropic import Delta

_TOKEN_TTL_S: Final = 8 * 24 * 3600  # longer than the longest busy timeout
_NO_ROOM_DELAY_S: Final = 1.0  # until there is room: as while the database is away
_UNREACHED_DELAYS_S: Final = (0.1, 0.2, 0.5, 1.0, *[2.0] * 14)  # half a minute: a server that starts again
_BROKEN_DELAYS_S: Final = (0.2, 1.0)

log = structlog.get_logger()


class Asking:
    """Asks for one turn. ``last_call`` names the record of the newest call."""

    def __init__(self, desk: Desk, hold: Hold, stop: Stop, work: Work) -> None:
        self._desk = desk
        self._hold = hold
        self._stop = stop
        self._work = work
        self.last_call: uuid.UUID | None = None

    def request(
        self,
        agent: Brief,
        prompt: Prompt,
        limit: int | None,
        request_id: uuid.UUID,
        *,
        needed: int = DEFAULT_MAX_TOKENS,
    ) -> Ask:
        """A request to an agent's model; ``limit`` and ``needed`` as the tokens in ``Ask``."""
        hold, work = self._hold, self._work
        choice = self._desk.models.choice(agent.model, work.upstreams)
        claims = WorkClaims("turn", hold.session_id, hold.epoch, hold.space, agent.train_id, work.turn_id)
        return Ask(
            model=choice.model,
            max_tokens=limit,
            prompt=prompt,
            token=self._desk.tokens.work(claims, ttl_s=_TOKEN_TTL_S),
            request_id=request_id,
            wire=choice.wire,
            else_tokens=needed,
        )

    async def answer(self, ask: Callable[[], Ask], start_again: Callable[[], Awaitable[None]], *, aloud: bool) -> Reply:
        """Ask; ``start_again`` is called before a call that was made has to be made anew.

        Raises:
            ProviderError, CallBroken: see ``Model.ask``; broken too often.
            Stopped: meanwhile.
        """
        unreached, broken = iter(_UNREACHED_DELAYS_S), iter(_BROKEN_DELAYS_S)
        while True:
            asked, deltas = ask(), Deltas(self._publish)
            self.last_call = asked.request_id
            try:
                return await self._stop.race(self._desk.model.ask(asked, deltas.hear if aloud else _unheard))
            except CallBroken as error:
                delay_s = next(broken if error.sent else unreached, None)
                if delay_s is None:
                    raise
                log.info("model call broke", request_id=str(asked.request_id), reason=error.message, again_in_s=delay_s)
                again = error.sent
            except NoRoom:
                delay_s, again = _NO_ROOM_DELAY_S, False
                log.info("no room to record a model call, work pauses", request_id=str(asked.request_id))
            finally:
                await deltas.close()
            await self._stop.race(asyncio.sleep(delay_s))
            if again:
                await start_again()

    async def _publish(self, channel: str, text: str) -> None:
        await self._desk.steps.publish(self._hold, self._work.turn_id, channel, storable_text(text))


def _unheard(_: Delta) -> None:
    """A summary is shown once it is whole, and so is what guardrails look at."""
