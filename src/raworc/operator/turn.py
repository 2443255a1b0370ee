"""One turn: ask the model, run the tools it asks for, tell it what they said, until it answers.

Every step is stored before it begins and after it ended: whoever continues knows where it is (``domain/turns.py``).
"""

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

import structlog

from raworc.domain.compaction import step_characters
from raworc.domain.context import Message, Prompt, system_text, tool_result
from raworc.domain.guardrails import guardrails, not_approved
from raworc.domain.output import SEGMENT_CHARACTERS, shown
from raworc.domain.text import storable, storable_text
from raworc.domain.turns import (
    UNKNOWN_OUTCOME,
    Answer,
    Block,
    CallModel,
    Failure,
    ReportUnknown,
    RunTool,
    Segment,
    Step,
    crash_looped,
    final_text,
    following,
    message_segments,
    note,
    resumed,
)
from raworc.errors import BadRequest
from raworc.ids import TurnId, new_id
from raworc.operator.asking import Asking
from raworc.operator.bench import Bench
from raworc.operator.choosing import Choosing, Chosen
from raworc.operator.desk import Desk
from raworc.operator.dialect import DEFAULT_MAX_TOKENS, Ask
from raworc.operator.guard import Guard
from raworc.operator.handler_turn import HandlerTurn
from raworc.operator.history import History
from raworc.operator.model import (
    CallBroken,
    ProviderError,
)
from raworc.operator.patience import patiently
from raworc.operator.places import Place
from raworc.operator.stop import Stop, Stopped
from raworc.operator.tools import ToolOutput, refused
from raworc.services.holds import Hold
from raworc.services.steps import Finished, Outcome, Started, Work

Move = CallModel | RunTool | ReportUnknown | Answer | Failure

_LOOK_AGAIN_S: Final = 5.0  # for a decision whose notice got lost
_SUMMARY_TOKENS: Final = 4_096
_COMPACTED: Final = "The context was {percent} % full: it was compacted, and the work goes on with a summary"
_NOT_COMPACTED: Final = "The context is {percent} % full and could not be compacted: {reason}"
_CUT: Final = "The answer reached 'max_tokens' and was cut off"

log = structlog.get_logger()


class Turn:
    """One turn of a held session, from taking it to its end. ``draining`` says when to give it back."""

    def __init__(self, desk: Desk, hold: Hold, place: Place, stop: Stop, draining: Callable[[], bool]) -> None:
        self._desk = desk
        self._hold = hold
        self._place = place
        self._stop = stop
        self._draining = draining
        self._request_id = new_id()
        self._remarks: list[Segment] = []

    async def take(self, turn_id: TurnId) -> None:
        """Run a pending turn.

        Raises:
            Stopped: by the wish handed in, or to be given back while it waits for a person; it is still processing.
            TurnSettled: a server settled it meanwhile.
            LostHold: nothing may be written any more.
            SandboxError: no sandbox can be had.
        """
        work = await patiently(lambda: self._desk.steps.take(self._hold, turn_id, self._request_id))
        self._begin(await self._choosing(work).choose())
        await self._go_on(CallModel(1))

    async def resume(self, turn_id: TurnId) -> None:
        """Go on with a turn that another worker, or this one before, has left. Raises as ``take``."""
        taken = await patiently(lambda: self._desk.steps.resume(self._hold, turn_id))
        self._begin(await self._choosing(taken).choose())
        work = self._work
        log.info("turn resumed", turn_id=str(turn_id), attempt=work.attempts, steps=len(work.present.steps))
        move = crash_looped(work.attempts - 1) or resumed(
            work.present.steps, model_calls=self._model_calls, max_model_calls=self._desk.max_model_calls
        )
        if isinstance(move, CallModel | RunTool) and self._begins_at_once(move) and not self._is_handled:
            await self._start(move)
        await self._go_on(move)

    def _choosing(self, work: Work) -> Choosing:
        return Choosing(self._desk, self._hold, self._stop, work)

    def _begin(self, chosen: Chosen) -> None:
        self._work = work = chosen.work
        self._calls = Asking(self._desk, self._hold, self._stop, work)
        self._steps = [step for step in work.present.steps if step.state != "started"]
        self._model_calls, self._stepless_tokens = work.model_calls, work.stepless_tokens
        self._history = History(work, soft_limit=self._desk.soft_limit_tokens)
        self._bench = Bench(self._place, work, self._desk.knowledge, self._stop)
        self._rules = guardrails(work.agent.guardrails)
        self._guard = Guard(self._rules)
        if not self._steps and not work.compacts:
            ignored = (*chosen.remarks, *self._bench.ignored, *self._rules.remarks)
            self._remarks += [note("warning", text) for text in ignored]

    @property
    def _is_handled(self) -> bool:
        """Whether an agent's own program answers, and no model of ours."""
        return self._work.agent.kind == "code" and not self._work.compacts

    async def _go_on(self, move: Move) -> None:
        if self._is_handled:
            await HandlerTurn(self._desk, self._hold, self._place, self._stop, self._work).run(self._remarks)
        elif self._work.compacts and isinstance(move, CallModel):
            await self._compact(move)
        else:
            await self._run(move)

    async def _run(self, first: Move) -> None:
        if isinstance(first, CallModel) and not self._steps:
            first = await self._guard.blocked_input(self._work.present.input) or first
        if not isinstance(first, Failure):
            await self._open_place()
        move: Move | None = first
        while move is not None:
            match move:
                case CallModel():
                    move = await self._call_model(move)
                case RunTool():
                    move = await self._run_tool(move)
                case ReportUnknown():
                    move = await self._record_tool(move, refused(UNKNOWN_OUTCOME), duration_ms=0)
                case Answer():
                    move = await self._complete([{"type": "final", "channel": "final", "text": move.text}])
                case Failure():
                    move = await self._fail(move)

    # ── steps ─────────────────────────────────────────────────────────────────────────────────────────
    async def _call_model(self, move: CallModel) -> Move | None:
        if self._history.is_full(self._steps) and self._model_calls < self._desk.max_model_calls:
            await self._make_room()
            spent = await self._spent()
            if spent is not None:
                return await self._fail(spent)
        try:
            aloud = not self._rules.hides_output
            reply = await self._calls.answer(self._ask, lambda: self._start(move), aloud=aloud)
            blocks = storable(reply.blocks)
        except (ProviderError, CallBroken) as error:
            return await self._fail(Failure(error.code, storable_text(error.message)))
        except BadRequest as error:
            return await self._fail(Failure("unusable_answer", f"The model's answer cannot be kept: {error}"))
        blocked = await self._guard.blocked_output(blocks)
        if blocked is not None:
            return await self._fail(blocked)
        segments = message_segments(blocks)
        if reply.stop_reason == "max_tokens":
            segments.insert(0, note("warning", _CUT))
        step = Step(move.number, "model", "done", blocks, None, reply.context_tokens, reply.tokens)
        return await self._record(step, segments)

    # ── the context ───────────────────────────────────────────────────────────────────────────────────
    async def _compact(self, move: CallModel) -> None:
        """The whole of a turn that is there to compact: one model call, and the cutoff with its summary."""
        try:
            summary = await self._summary(None, lambda: self._start(move))
        except (ProviderError, CallBroken) as error:
            await self._fail(Failure(error.code, storable_text(error.message)))
            return
        done, cut = Finished(move.number, "done", None), self._history.whole_cut(summary)
        await patiently(lambda: self._desk.steps.settle_compaction(self._hold, self._work.turn_id, cut, done))

    async def _make_room(self) -> None:
        """Compact a context that is nearly full; the turn goes on with all of it where no summary can be had."""
        percent = self._history.percent(self._steps)
        own_id = self._request_id
        try:
            await self._another_call()
            summary = await self._summary(self._steps, self._another_call)
        except (ProviderError, CallBroken) as error:
            self._history.keep()
            reason = storable_text(error.message)
            self._remarks.append(note("warning", _NOT_COMPACTED.format(percent=percent, reason=reason)))
            return
        finally:
            self._request_id = own_id
        cut = self._history.shorten(summary, self._steps)
        remark = note("info", _COMPACTED.format(percent=percent))
        number = await patiently(lambda: self._desk.steps.compact(self._hold, self._work.turn_id, cut, remark))
        self._history.build_on(number)

    async def _summary(self, steps: Sequence[Step] | None, start_again: Callable[[], Awaitable[None]]) -> str:
        messages = self._history.to_summarise(steps)
        if not messages:
            return ""
        ask = partial(self._asking, messages, None, _SUMMARY_TOKENS)
        reply = await self._calls.answer(ask, start_again, aloud=False)
        await self._spend(tokens=reply.tokens)
        text = storable_text(final_text(reply.blocks)).strip()
        blocked = await self._guard.blocked_output(reply.blocks)
        if blocked is not None:
            raise ProviderError(blocked.code, blocked.message)
        if not text:
            raise ProviderError("no_summary", "The model answered without a summary")
        return await self._guard.struck(text)

    async def _another_call(self) -> None:
        self._request_id = new_id()
        await self._spend(calls=1)

    async def _spend(self, *, calls: int = 0, tokens: int = 0) -> None:
        """Count what a summary takes as the turn's own."""
        self._model_calls, self._stepless_tokens = self._model_calls + calls, self._stepless_tokens + tokens
        await patiently(lambda: self._desk.steps.spend(self._hold, self._work.turn_id, calls=calls, tokens=tokens))

    async def _spent(self) -> Failure | None:
        spent = self._rules.spent(self._stepless_tokens + sum(step.tokens for step in self._steps))
        if spent is not None or self._rules.max_turn_cost_usd is None:
            return spent
        turn_id, last_call = self._work.turn_id, self._calls.last_call
        cost = await patiently(lambda: self._desk.requests.cost_of_turn(turn_id, last_call))
        self._remarks += self._guard.unpriced(cost)
        return self._rules.overspent(cost.usd)

    # ── tools ─────────────────────────────────────────────────────────────────────────────────────────
    async def _open_place(self) -> None:
        self._remarks += await self._bench.open()

    async def _run_tool(self, move: RunTool) -> Move | None:
        denied = self._guard.denied(move.use) or await self._unapproved(move)
        if denied is not None:
            return await self._record_tool(move, denied, duration_ms=0)
        await self._open_place()
        began = time.monotonic()
        output = await self._bench.run(move.use)
        return await self._record_tool(move, output, duration_ms=round((time.monotonic() - began) * 1000))

    async def _unapproved(self, move: RunTool) -> ToolOutput | None:
        """Wait until a person has decided about a call that needs it, then begin its step; the answer to a denied one.

        The step begins no sooner, so that whoever takes the turn over while it waits goes on waiting.
        """
        question = await self._guard.question(move.number, move.use)
        if question is None:
            return None
        approvals, turn_id = self._desk.approvals, self._work.turn_id
        asked = await patiently(lambda: approvals.ask(self._hold, turn_id, question))
        while True:
            answer = await patiently(lambda: approvals.answer(asked))
            if answer is not None and answer.decision is not None:
                break
            if self._draining():
                raise Stopped
            await self._stop.stirring(_LOOK_AGAIN_S)
        await self._start(move)
        return None if answer.decision == "approve" else refused(not_approved(move.use.name, answer.reason))

    async def _record_tool(self, move: RunTool | ReportUnknown, output: ToolOutput, *, duration_ms: int) -> Move | None:
        output = await self._guard.cleaned(output)
        kept, told = shown(output.text, SEGMENT_CHARACTERS), shown(output.text, output.model_characters)
        segment: Segment = {
            "type": "tool_result",
            "id": move.use.id,
            "tool": move.use.name,
            "output": storable_text(kept) if output.content is None else output.content,
            "is_error": output.is_error,
            "duration_ms": duration_ms,
            "truncated": kept != output.text.head + output.text.tail,
        }
        block = tool_result(move.use.id, storable_text(told), is_error=output.is_error)
        state = "done" if isinstance(move, RunTool) else "unknown"
        return await self._record(Step(move.number, "tool", state, block, move.use.id), [segment])

    # ── what is stored ────────────────────────────────────────────────────────────────────────────────
    async def _record(self, step: Step, segments: Sequence[Segment]) -> Move | None:
        """Store a step's end and the next one's beginning in one go; the next one, None when the turn is over."""
        self._steps.append(step)
        size = step_characters(step.content)
        done = Finished(step.number, step.state, step.content, size, step.context_tokens, step.tokens)
        move = following(self._steps, model_calls=self._model_calls, max_model_calls=self._desk.max_model_calls)
        if isinstance(move, CallModel):
            move = await self._spent() or move
        match move:
            case Answer():
                return await self._complete(segments, done)
            case Failure():
                return await self._fail(move, segments, done)
            case CallModel() | RunTool():
                return await self._advance(done, segments, move)

    async def _advance(self, done: Finished, segments: Sequence[Segment], move: CallModel | RunTool) -> Move | None:
        leaving = self._draining()
        then = None if leaving or not self._begins_at_once(move) else self._started(move)
        shown_now, steps, turn_id = await self._with_remarks(segments), self._desk.steps, self._work.turn_id
        await patiently(lambda: steps.advance(self._hold, turn_id, done, shown_now, then))
        if not leaving:
            return move
        log.info("turn handed back", turn_id=str(turn_id))
        return None

    async def _complete(self, segments: Sequence[Segment], done: Finished | None = None) -> None:
        await self._settle(Outcome.completed(await self._with_remarks(segments)), done)

    async def _fail(self, failure: Failure, segments: Sequence[Segment] = (), done: Finished | None = None) -> None:
        failed = Outcome.failed(failure)
        log.warning("turn failed", turn_id=str(self._work.turn_id), code=failure.code)
        await self._settle(replace(failed, segments=await self._with_remarks([*segments, *failed.segments])), done)

    async def _settle(self, outcome: Outcome, done: Finished | None) -> None:
        await patiently(lambda: self._desk.steps.settle(self._hold, self._work.turn_id, outcome, done))

    def _begins_at_once(self, move: CallModel | RunTool) -> bool:
        """Whether nobody has to be asked before."""
        return isinstance(move, CallModel) or not self._rules.asks(move.use)

    async def _start(self, move: CallModel | RunTool) -> None:
        step = self._started(move)
        await patiently(lambda: self._desk.steps.start(self._hold, self._work.turn_id, step))

    def _started(self, move: CallModel | RunTool) -> Started:
        if isinstance(move, RunTool):
            return Started(move.number, "tool", tool_use_id=move.use.id)
        self._request_id = new_id()
        self._model_calls += 1
        return Started(move.number, "model", self._request_id)

    async def _with_remarks(self, segments: Sequence[Segment]) -> list[Segment]:
        """What is shown next: what happened to the sandbox first."""
        remarks, self._remarks = self._remarks, []
        return await self._guard.shown([*remarks, *segments])

    # ── the request ───────────────────────────────────────────────────────────────────────────────────
    def _ask(self) -> Ask:
        return self._asking(self._history.messages(self._steps), self._work.agent.max_tokens)

    def _asking(self, messages: list[Message], limit: int | None, needed: int = DEFAULT_MAX_TOKENS) -> Ask:
        agent = self._work.agent
        prompt = Prompt(
            system=[{"type": "text", "text": system_text(agent.name, agent.instructions)}],
            tools=self._tools(),
            messages=messages,
        )
        return self._calls.request(agent, prompt, limit, self._request_id, needed=needed)

    def _tools(self) -> list[Block]:
        return [tool for tool in self._bench.definitions if not self._rules.denies_tool(tool["name"])]
