"""Who of a session's agents answers a turn: decided before its first step, and stored for whoever goes on with it.

What decides is said in ``domain/routing.py``. The model that is asked is told nothing that a guardrail of any of the
agents keeps from models; without its answer the words of the message decide.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import structlog

from raworc.domain.context import Prompt, seen_by
from raworc.domain.guardrails import guardrails
from raworc.domain.routing import Question, Routes, by_words
from raworc.domain.turns import final_text
from raworc.ids import new_id
from raworc.operator.asking import Asking
from raworc.operator.desk import Desk
from raworc.operator.model import CallBroken, ProviderError
from raworc.operator.patience import patiently
from raworc.operator.stop import Stop
from raworc.services.holds import Hold
from raworc.services.steps import Brief, Work

_ANSWER_TOKENS: Final = 256
_PATIENCE_S: Final = 30.0

_How = Literal["routes", "model", "words", "order"]

log = structlog.get_logger()


@dataclass(frozen=True)
class Chosen:
    """A turn as the agent that answers it finds it. ``remarks`` are about routes that mean nothing, for people."""

    work: Work
    remarks: Sequence[str] = ()


class Choosing:
    """Chooses for one turn."""

    def __init__(self, desk: Desk, hold: Hold, stop: Stop, work: Work) -> None:
        self._desk = desk
        self._hold = hold
        self._stop = stop
        self._work = work

    async def choose(self) -> Chosen:
        """Who answers. Whatever goes wrong while that is found out is no failure of the turn.

        Raises:
            Stopped: while a model was asked.
            LostHold: see ``Steps``.
        """
        parties = self._work.candidates or [self._work.agent]
        has_routes = any(agent.routes for agent in parties)
        routes = await asyncio.to_thread(Routes[Brief].of, parties) if has_routes else Routes[Brief](())
        if self._work.candidates:
            await self._decide(routes)
        work = self._work
        return Chosen(replace(work, past=seen_by(work.agent.agent_id, work.past)), routes.remarks)

    async def _decide(self, routes: Routes[Brief]) -> None:
        agent, how = await self._found(routes)
        turn_id, steps = self._work.turn_id, self._desk.steps
        log.info("agent chosen", turn_id=str(turn_id), agent=agent.name, by=how)
        await patiently(lambda: steps.route(self._hold, turn_id, agent))
        self._work = replace(self._work, agent=agent, candidates=())

    async def _found(self, routes: Routes[Brief]) -> tuple[Brief, _How]:
        given, candidates = self._work.present.input, self._work.candidates
        found = await asyncio.to_thread(routes.chosen, given)
        if found is not None:
            return found, "routes"
        if not await asyncio.to_thread(_is_kept_from_models, candidates, given):
            found = await self._named()
            if found is not None:
                return found, "model"
        found = await asyncio.to_thread(by_words, candidates, given)
        return (candidates[0], "order") if found is None else (found, "words")

    async def _named(self) -> Brief | None:
        """Whom a model names. Its call is one of the turn's."""
        work = self._work
        question = Question[Brief].about(work.candidates, work.present.input, _answered_last(work))
        prompt = Prompt([{"type": "text", "text": question.system}], [], question.messages)
        asking, asked = Asking(self._desk, self._hold, self._stop, work), self._asked()
        try:
            await self._spend(calls=1)
            async with asyncio.timeout(_PATIENCE_S):
                reply = await asking.answer(
                    lambda: asking.request(asked, prompt, _ANSWER_TOKENS, new_id()),
                    lambda: self._spend(calls=1),
                    aloud=False,
                )
        except (ProviderError, CallBroken, TimeoutError) as error:
            log.info("no model said who answers", turn_id=str(work.turn_id), reason=str(error))
            return None
        await self._spend(tokens=reply.tokens)
        return question.chosen(final_text(reply.blocks))

    def _asked(self) -> Brief:
        """Who is asked: the space's default model, else the installation's, else the first agent's, which is there."""
        host, first = self._work.place_of, self._work.candidates[0]
        own = host.model or self._desk.models.default or first.model
        return replace(host, model=own)

    async def _spend(self, *, calls: int = 0, tokens: int = 0) -> None:
        work, steps = self._work, self._desk.steps
        await patiently(lambda: steps.spend(self._hold, work.turn_id, calls=calls, tokens=tokens))
        self._work = replace(work, model_calls=work.model_calls + calls, stepless_tokens=work.stepless_tokens + tokens)


def _is_kept_from_models(candidates: Sequence[Brief], given: object) -> bool:
    return any(guardrails(candidate.guardrails).blocked_input(given) for candidate in candidates)


def _answered_last(work: Work) -> Brief | None:
    speaker = next((turn.speaker for turn in reversed(work.past) if turn.speaker is not None), None)
    if speaker is None:
        return None
    return next((candidate for candidate in work.candidates if candidate.agent_id == speaker.agent_id), None)
