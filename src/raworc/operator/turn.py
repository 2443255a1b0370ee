"""One turn: ask the model, run the tools it asks for, tell it what they said, until it answers.

Every step is stored before it begins and after it ended, so that whoever continues the turn knows where it is.
What comes next is decided in ``domain/turns.py``.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import structlog

from raworc.domain.compaction import step_characters
from raworc.domain.context import Message, Prompt, system_text, tool_result
from raworc.domain.guardrails import guardrails
from raworc.domain.knowledge import knowledge_bases
from raworc.domain.output import SEGMENT_CHARACTERS, shown
from raworc.domain.text import storable, storable_text
from raworc.domain.toolset import toolset
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
    ToolUse,
    crash_looped,
    final_text,
    following,
    message_segments,
    note,
    resumed,
)
from raworc.errors import BadRequest
from raworc.ids import TurnId, new_id
from raworc.operator.guard import Guard
from raworc.operator.history import History
from raworc.operator.library import Library
from raworc.operator.model import (
    DEFAULT_MAX_TOKENS,
    Ask,
    CallBroken,
    Deltas,
    Model,
    NoRoom,
    ProviderError,
    Reply,
    chosen,
)
from raworc.operator.patience import patiently
from raworc.operator.places import Place
from raworc.operator.stop import Stop
from raworc.operator.tools import ToolOutput, definition, refused, run
from raworc.sandbox.driver import SandboxDied, SandboxError
from raworc.services.holds import Hold
from raworc.services.knowledge import Knowledge
from raworc.services.steps import Finished, Outcome, Started, Steps, Work
from raworc.services.tokens import Tokens, WorkClaims
from raworc.wire.anthropic import Delta

Move = CallModel | RunTool | ReportUnknown | Answer | Failure

_TOKEN_TTL_S: Final = 8 * 24 * 3600  # longer than the longest busy timeout
_NO_ROOM_DELAY_S: Final = 1.0  # until there is room: as while the database is away
_UNREACHED_DELAYS_S: Final = (0.1, 0.2, 0.5, 1.0, *[2.0] * 14)  # half a minute: a server that starts again
_BROKEN_DELAYS_S: Final = (0.2, 1.0)
_SANDBOX_DIED: Final = "outcome unknown, the sandbox stopped while this ran; it opens again on the same workspace"
_SUMMARY_TOKENS: Final = 4_096
_COMPACTED: Final = "The context was {percent} % full: it was compacted, and the work goes on with a summary"
_NOT_COMPACTED: Final = "The context is {percent} % full and could not be compacted: {reason}"
_CUT: Final = "The answer reached 'max_tokens' and was cut off"

log = structlog.get_logger()


@dataclass(frozen=True)
class Desk:
    """What turns are worked with."""

    steps: Steps
    knowledge: Knowledge
    model: Model
    tokens: Tokens
    default_model: str | None
    has_anthropic: bool
    max_model_calls: int
    soft_limit_tokens: int


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
        self._equipped: str | None = None

    async def take(self, turn_id: TurnId) -> None:
        """Run a pending turn.

        Raises:
            Stopped: by the wish handed in; the turn is still processing.
            TurnSettled: a server settled it meanwhile.
            LostHold: nothing may be written any more.
            SandboxError: no sandbox can be had.
        """
        self._begin(await patiently(lambda: self._desk.steps.take(self._hold, turn_id, self._request_id)))
        await self._go_on(CallModel(1))

    async def resume(self, turn_id: TurnId) -> None:
        """Go on with a turn that another worker, or this one before, has left. Raises as ``take``."""
        work = await patiently(lambda: self._desk.steps.resume(self._hold, turn_id))
        self._begin(work)
        log.info("turn resumed", turn_id=str(turn_id), attempt=work.attempts, steps=len(work.present.steps))
        move = crash_looped(work.attempts - 1) or resumed(
            work.present.steps, model_calls=self._model_calls, max_model_calls=self._desk.max_model_calls
        )
        if isinstance(move, CallModel | RunTool):
            await self._start(move)
        await self._go_on(move)

    def _begin(self, work: Work) -> None:
        self._work = work
        self._steps = [step for step in work.present.steps if step.state != "started"]
        self._model_calls = work.model_calls
        self._history = History(work, soft_limit=self._desk.soft_limit_tokens)
        bases, unread = knowledge_bases(work.agent.knowledge_bases)
        self._library = Library(self._desk.knowledge, work.agent.agent_id, bases)
        self._toolset = toolset(work.agent.tools, knows=bool(bases))
        self._rules = guardrails(work.agent.guardrails)
        self._guard = Guard(self._rules)
        if not self._steps and not work.compacts:
            ignored = (*self._toolset.remarks, *self._rules.remarks, *unread)
            self._remarks += [note("warning", text) for text in ignored]

    async def _go_on(self, move: Move) -> None:
        if self._work.compacts and isinstance(move, CallModel):
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
        if self._history.is_full(self._steps):
            await self._make_room()
        try:
            reply = await self._answer(self._ask, lambda: self._start(move), aloud=True)
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

    async def _answer(
        self, ask: Callable[[], Ask], start_again: Callable[[], Awaitable[None]], *, aloud: bool
    ) -> Reply:
        """Ask, and ask again where the way to the answer broke, which nobody else can do."""
        unreached, broken = iter(_UNREACHED_DELAYS_S), iter(_BROKEN_DELAYS_S)
        while True:
            deltas = Deltas(self._publish)
            try:
                hear = deltas.hear if aloud and not self._rules.hides_output else _unheard
                return await self._stop.race(self._desk.model.ask(ask(), hear))
            except CallBroken as error:
                delay_s = next(broken if error.sent else unreached, None)
                if delay_s is None:
                    raise
                log.info("model call broke", turn_id=str(self._work.turn_id), reason=error.message, again_in_s=delay_s)
                again = error.sent
            except NoRoom:
                delay_s, again = _NO_ROOM_DELAY_S, False
                log.info("no room to record a model call, work pauses", turn_id=str(self._work.turn_id))
            finally:
                await deltas.close()
            await self._stop.race(asyncio.sleep(delay_s))
            if again:
                await start_again()

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
        own_id, self._request_id = self._request_id, new_id()  # the step's own is the next call's
        try:
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
        reply = await self._answer(lambda: self._asking(messages, _SUMMARY_TOKENS), start_again, aloud=False)
        text = storable_text(final_text(reply.blocks)).strip()
        blocked = await self._guard.blocked_output(reply.blocks)
        if blocked is not None:
            raise ProviderError(blocked.code, blocked.message)
        if not text:
            raise ProviderError("no_summary", "The model answered without a summary")
        return await self._guard.struck(text)

    async def _another_call(self) -> None:
        self._request_id = new_id()

    async def _open_place(self) -> None:
        self._remarks += await self._place.reopened(self._work.agent, self._stop)
        if self._toolset.servers and self._equipped != (life := self._place.around.sandbox.sandbox_id):
            self._equipped = life  # once a turn and sandbox: who does not start is not waited for again
            self._remarks += await self._stop.race(self._place.equip(self._toolset.servers))

    async def _run_tool(self, move: RunTool) -> Move | None:
        denied = self._guard.denied(move.use)
        if denied is not None:
            return await self._record_tool(move, denied, duration_ms=0)
        await self._open_place()
        began = time.monotonic()
        try:
            output = await self._stop.race(self._tool(move.use))
        except SandboxDied as error:
            log.warning("sandbox died under a tool", session_id=str(self._hold.session_id), reason=str(error))
            await self._place.close()  # the news of its death may come later than the next tool
            output = refused(_SANDBOX_DIED)
        except SandboxError as error:
            log.warning("sandbox failed a tool", session_id=str(self._hold.session_id), reason=str(error))
            output = refused(f"not run: {error}")
        return await self._record_tool(move, output, duration_ms=round((time.monotonic() - began) * 1000))

    async def _tool(self, use: ToolUse) -> ToolOutput:
        theirs = {tool["name"]: tool for tool in self._theirs()}
        if self._place.servers is not None and use.name in theirs:
            return await self._place.servers.call(use)
        around = replace(self._place.around, library=self._library)
        return await run(use, around, self._toolset.builtins, also=theirs)

    def _theirs(self) -> list[Block]:
        """The tools of servers, as far as these run."""
        return self._place.servers.definitions if self._place.servers is not None and self._toolset.servers else []

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
            move = self._rules.spent(sum(known.tokens for known in self._steps)) or move
        match move:
            case Answer():
                return await self._complete(segments, done)
            case Failure():
                return await self._fail(move, segments, done)
            case CallModel() | RunTool():
                return await self._advance(done, segments, move)

    async def _advance(self, done: Finished, segments: Sequence[Segment], move: CallModel | RunTool) -> Move | None:
        leaving = self._draining()
        then = None if leaving else self._started(move)
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
        max_tokens = self._work.agent.max_tokens or DEFAULT_MAX_TOKENS
        return self._asking(self._history.messages(self._steps), max_tokens)

    def _asking(self, messages: list[Message], max_tokens: int) -> Ask:
        work, agent, hold = self._work, self._work.agent, self._hold
        claims = WorkClaims("turn", hold.session_id, hold.epoch, hold.space, agent.train_id, work.turn_id)
        prompt = Prompt(
            system=[{"type": "text", "text": system_text(agent.name, agent.instructions)}],
            tools=self._tools(),
            messages=messages,
        )
        return Ask(
            model=chosen(agent.model, self._desk.default_model, has_anthropic=self._desk.has_anthropic),
            max_tokens=max_tokens,
            prompt=prompt,
            token=self._desk.tokens.work(claims, ttl_s=_TOKEN_TTL_S),
            request_id=self._request_id,
        )

    def _tools(self) -> list[Block]:
        offered = [*(definition(name) for name in self._toolset.builtins), *self._theirs()]
        return [tool for tool in offered if not self._rules.denies_tool(tool["name"])]

    async def _publish(self, channel: str, text: str) -> None:
        await self._desk.steps.publish(self._hold, self._work.turn_id, channel, storable_text(text))


def _unheard(_: Delta) -> None:
    """A summary is shown once it is whole, and so is what guardrails look at."""
