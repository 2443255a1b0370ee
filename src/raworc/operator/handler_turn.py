"""One turn of a code agent: its handler is asked once, in the sandbox; its answer is the turn's.

The step is stored before the handler is asked and after it has answered, as those of tools are: who was cut is not
asked again.
"""

from dataclasses import replace
from typing import Final

import structlog

from raworc.clock import now
from raworc.domain.compaction import step_characters
from raworc.domain.context import input_blocks
from raworc.domain.guardrails import guardrails
from raworc.domain.handlers import Message, RunHandler, next_of_handler
from raworc.domain.text import storable_text
from raworc.domain.turns import Block, Failure, Segment, crash_looped, final_text
from raworc.operator.desk import Desk
from raworc.operator.guard import Guard
from raworc.operator.patience import patiently
from raworc.operator.places import Place
from raworc.operator.runners import HandlerFailed
from raworc.operator.stop import Stop
from raworc.sandbox.driver import SandboxDied
from raworc.services.handlers import BuiltAgentRow, Coded
from raworc.services.holds import Hold
from raworc.services.steps import Finished, Outcome, Started, Work

STEP: Final = "handler"
"""What stands in the step's row where a tool's has the id of its call."""
_LOOK_AGAIN_S: Final = 1.0
_NOT_BUILT: Final = (
    "Agent '{name}' is in no completed build of its space, and none is being made: look why it failed, with"
    " GET /spaces/{space}/build/latest"
)
_ELSEWHERE: Final = (
    "Agent '{name}' was built on node '{node}', and this session is on another: have its space built here"
)
_GONE: Final = "The code of agent '{name}' is not on this node any more: have its space built again"
_SANDBOX_DIED: Final = "The sandbox stopped while the handler ran: what it has done by then is unknown"

log = structlog.get_logger()


class HandlerTurn:
    """The rest of a turn that was taken and begun. ``remarks`` are shown with its end."""

    def __init__(self, desk: Desk, hold: Hold, place: Place, stop: Stop, work: Work) -> None:
        self._desk = desk
        self._hold = hold
        self._place = place
        self._stop = stop
        self._work = work
        self._guard = Guard(guardrails(work.agent.guardrails))

    async def run(self, remarks: list[Segment]) -> None:
        """To its end. Raises as ``Turn.take``."""
        move = crash_looped(self._work.attempts - 1) or next_of_handler(self._work.present.steps)
        if isinstance(move, RunHandler):
            move = await self._guard.blocked_input(self._work.present.input) or move
        if isinstance(move, Failure):
            await self._settle(_failed(move, remarks), None)
            return
        place = self._place
        coded = await self._coded()
        agent = self._runnable(coded)
        if isinstance(agent, Failure):
            await self._settle(_failed(agent, remarks), None)
            return
        shown = [*remarks, *await place.reopened(self._work.place_of, self._stop, agent)]
        if not place.crew.has(agent):
            await self._settle(_failed(Failure("handler_not_built", _GONE.format(name=agent.name)), shown), None)
            return
        await self._ask(move, agent, coded.created_by, shown)

    async def _coded(self) -> Coded:
        """What is built, as soon as the agent is, or nothing of its space is being built any more."""
        shelf, session_id = self._place.shelf, self._hold.session_id
        while True:
            coded = await patiently(lambda: shelf.agents.of_session(session_id))
            if not coded.is_building or self._wanted(coded) is not None:
                return coded
            await self._stop.stirring(_LOOK_AGAIN_S)

    def _wanted(self, coded: Coded) -> BuiltAgentRow | None:
        return next((row for row in coded.built if row.agent_id == self._work.agent.agent_id), None)

    def _runnable(self, coded: Coded) -> BuiltAgentRow | Failure:
        """What is to be run, or why there is nothing."""
        wanted, agent = self._work.agent, self._wanted(coded)
        if agent is None:
            return Failure("handler_not_built", _NOT_BUILT.format(name=wanted.name, space=wanted.space))
        if agent.node != self._place.shelf.node:
            return Failure("handler_elsewhere", _ELSEWHERE.format(name=agent.name, node=agent.node))
        return agent

    async def _ask(self, move: RunHandler, agent: BuiltAgentRow, created_by: str, remarks: list[Segment]) -> None:
        work, hold = self._work, self._hold
        step = Started(move.number, "handler", tool_use_id=STEP)
        await patiently(lambda: self._desk.steps.start(hold, work.turn_id, step))
        text = "\n".join(str(block["text"]) for block in input_blocks(work.present.input))
        message = Message(text, str(hold.session_id), work.agent.space, created_by, now())
        try:
            answer = storable_text(await self._stop.race(self._place.crew.answer(agent, message)))
        except HandlerFailed as error:
            failure = replace(error.failure, message=storable_text(error.failure.message))
            await self._settle(_failed(failure, remarks), Finished(move.number, "done", None))
        except SandboxDied as error:
            log.warning("sandbox died under a handler", agent=agent.name, reason=str(error))
            await self._place.close()
            failure = Failure("sandbox_died", _SANDBOX_DIED)
            await self._settle(_failed(failure, remarks), Finished(move.number, "unknown", None))
        else:
            await self._answered(move, answer, remarks)

    async def _answered(self, move: RunHandler, answer: str, remarks: list[Segment]) -> None:
        blocks: list[Block] = [{"type": "text", "text": answer}]
        done = Finished(move.number, "done", blocks, step_characters(blocks))
        blocked = await self._guard.blocked_output(blocks)
        if blocked is not None:
            await self._settle(_failed(blocked, remarks), replace(done, content=None, characters=0))
            return
        final: Segment = {"type": "final", "channel": "final", "text": final_text(blocks)}
        await self._settle(Outcome.completed([*remarks, final]), done)

    async def _settle(self, outcome: Outcome, done: Finished | None) -> None:
        if outcome.failure is not None:
            log.warning("turn failed", turn_id=str(self._work.turn_id), code=outcome.failure.code)
        told = replace(outcome, segments=await self._guard.shown(outcome.segments))
        await patiently(lambda: self._desk.steps.settle(self._hold, self._work.turn_id, told, done))


def _failed(failure: Failure, remarks: list[Segment]) -> Outcome:
    outcome = Outcome.failed(failure)
    return replace(outcome, segments=[*remarks, *outcome.segments])
