"""What agents are told of what was said before: models that listen, and workers that die over a summary."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select

from operating import WAIT_S, World
from raworc.domain.summary import SUMMARY_INSTRUCTION
from raworc.ids import SessionId, WorkerId, new_id
from raworc.operator.dialect import Ask, Reply
from raworc.operator.model import Hear, Model, ProviderError
from raworc.operator.session import HeldSession, Parts
from raworc.services.agents import AgentView
from raworc.services.steps import Steps
from raworc.services.turns import TurnView
from raworc.store.schema import context_cutoffs


class Listening(Model):
    """Knows what was asked, and may refuse to summarise."""

    def __init__(self, model: Model, refusal: ProviderError | None = None) -> None:
        super().__init__(model._client)
        self.asked: list[list[dict[str, Any]]] = []
        self.named: list[str] = []
        self.refusal = refusal

    @property
    def summaries(self) -> int:
        return sum(SUMMARY_INSTRUCTION in str(messages[-1]) for messages in self.asked)

    async def ask(self, ask: Ask, hear: Hear) -> Reply:
        self.asked.append(ask.prompt.messages)
        self.named.append(ask.model)
        if self.refusal is not None and SUMMARY_INSTRUCTION in str(ask.prompt.messages[-1]):
            raise self.refusal
        return await super().ask(ask, hear)


def listening(soft_limit: int, into: list[Listening], refusal: ProviderError | None = None) -> Callable[[Parts], Parts]:
    def change(parts: Parts) -> Parts:
        into.append(Listening(parts.desk.model, refusal))
        return replace(parts, desk=replace(parts.desk, model=into[-1], soft_limit_tokens=soft_limit))

    return change


async def compact(place: World, name: str = "demo"):
    return await place.context.compact(place.admin, name, WAIT_S)


async def agent(place: World) -> AgentView:
    return await place.agents.get(place.admin, "demo")


async def newest(place: World) -> TurnView:
    return (await place.all_turns())[-1]


async def heard(place: World) -> list[Any]:
    """What the agent's model is told now, its system and tools apart."""
    models: list[Listening] = []
    async with place.operator(parts=listening(100_000, models)):
        await place.ask("what was said?")
    return models[0].asked[0]


def texts(messages: list[dict[str, Any]]) -> list[str]:
    return [block["text"] for message in messages for block in message["content"] if block["type"] == "text"]


class Crash(Exception):
    """The worker is dead from here on."""


class DyingSteps(Steps):
    """Dies before, or after, a compaction is stored."""

    after = False

    async def settle_compaction(self, *given: Any) -> None:
        if self.after:
            await super().settle_compaction(*given)
        raise Crash

    async def compact(self, *given: Any) -> int | None:
        if self.after:
            await super().compact(*given)
        raise Crash


class DyingLater(DyingSteps):
    after = True


async def die(place: World, session_id: SessionId, steps: type[DyingSteps], soft_limit: int = 100_000) -> None:
    """A worker takes the session, works, and dies there. What it held is not given back."""
    worker_id = WorkerId(new_id())
    hold, holds = await place.claimed(session_id, worker_id)
    parts = listening(soft_limit, [])(place.parts(holds, steps=steps(place.db)))
    with pytest.raises(Crash):
        await HeldSession(parts, hold).run()
    place.dead.add(worker_id)


async def any_pending(place: World) -> bool:
    return any(turn.status == "pending" for turn in await place.all_turns())


async def cutoffs(place: World, session_id: SessionId) -> list[Any]:
    async with place.db.reading() as conn:
        found = await conn.execute(select(context_cutoffs).where(context_cutoffs.c.session_id == session_id))
        return list(found.all())
