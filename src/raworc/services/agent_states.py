"""An agent's home session by hand: hold, release, sleep, wake, cancel."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast, get_args

from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.domain.content import text_input
from raworc.domain.lifecycle import (
    ASLEEP,
    MAX_TIMEOUT_S,
    MIN_DELAY_S,
    Refusal,
    Request,
    ShownState,
    requested,
    shown_state,
)
from raworc.domain.text import storable_text
from raworc.errors import BadRequest, Conflict, FieldError
from raworc.ids import new_id
from raworc.services import agents, audit
from raworc.services.accounts import Caller
from raworc.services.agents import AgentRow, AgentView
from raworc.services.answers import Keep, unkept
from raworc.services.audit import Deed
from raworc.services.changes import Change, cancelled, queued, slept, woken
from raworc.services.progress import StateChanged, StateShown
from raworc.services.queue import QueueLimits, check_room
from raworc.store import runs, turns
from raworc.store import sessions as store
from raworc.store.database import Database
from raworc.store.turns import OpenTurn

_DEFAULT_LIMITS = QueueLimits()


@dataclass(frozen=True)
class CancelAnswer:
    """Whether there was something to cancel, and the agent's name as it is stored."""

    agent_name: str
    cancelled: bool


@dataclass(frozen=True)
class Runtime:
    """How long an agent has been awake, in whole seconds: in all, and since its last wake (0 while asleep)."""

    agent_name: str
    total_runtime_seconds: int
    current_session_seconds: int


class AgentStates:
    """What a person may ask of a home session. Every method raises as ``agents.find`` for the verb ``update``."""

    def __init__(self, db: Database, limits: QueueLimits = _DEFAULT_LIMITS) -> None:
        self._db = db
        self._limits = limits

    async def set_state(self, caller: Caller, name: str, state: str, keep: Keep[str] = unkept) -> str:
        """Bring the session to ``state``, which is answered; the present state changes nothing.

        ``slept`` sleeps at once, ``busy`` holds, ``idle`` ends a hold or wakes.

        Raises:
            BadRequest: no such state, or ``init`` when that is not the present one.
            Conflict: ``busy`` while asleep, ``idle`` or ``init`` while a turn is processing.
        """
        if state not in get_args(ShownState):
            reason = f"must be one of {', '.join(get_args(ShownState))}"
            raise BadRequest(f"'state' {reason}", details=(FieldError("state", reason),))
        wanted = cast("ShownState", state)

        async def work(conn: AsyncConnection) -> str:
            row = await agents.find_locked(conn, caller, name, "update")
            open_turns = await turns.open_turns(conn, row.session_id)
            request = _request(row, open_turns, wanted)
            await _fulfil(conn, row, request, open_turns, caller)
            if request != "nothing":
                await _moved(conn, caller, row, wanted)
            await keep(conn, wanted)
            return wanted

        return await self._db.run(work)

    async def busy(self, caller: Caller, name: str, keep: Keep[str] = unkept) -> str:
        """Hold: shown as busy, the idle timer paused, until ``idle`` or the busy timeout; also while a turn runs.

        Raises:
            Conflict: asleep.
        """

        async def work(conn: AsyncConnection) -> str:
            row = await agents.find_locked(conn, caller, name, "update")
            if row.state in ASLEEP:
                raise Conflict(f"Agent '{row.name}' is asleep: wake it first")
            if row.busy_hold_from is None:
                await _fulfil(conn, row, "hold", [], caller)
                await _moved(conn, caller, row, "busy")
            await keep(conn, "busy")
            return "busy"

        return await self._db.run(work)

    async def idle(self, caller: Caller, name: str, keep: Keep[str] = unkept) -> str:
        """End a hold; a sleeping session wakes. Raises as `set_state`."""
        return await self.set_state(caller, name, "idle", keep)

    async def sleep(
        self, caller: Caller, name: str, *, delay_s: int | None, note: str | None, keep: Keep[AgentView] = unkept
    ) -> AgentView:
        """Sleep after ``delay_s`` seconds (at least 5), instead of whenever that was planned before.

        Raises:
            BadRequest: asleep already, or a delay of more than a week.
        """
        delay = MIN_DELAY_S if delay_s is None else max(MIN_DELAY_S, delay_s)
        if delay > MAX_TIMEOUT_S:
            reason = f"must be at most {MAX_TIMEOUT_S}"
            raise BadRequest(f"'delay_seconds' {reason}", details=(FieldError("delay_seconds", reason),))
        remark = None if note is None else storable_text(note)

        async def work(conn: AsyncConnection) -> AgentView:
            row = await agents.find_locked(conn, caller, name, "update")
            if row.state in ASLEEP:
                raise BadRequest(f"Agent '{row.name}' is asleep already")
            await store.schedule_sleep(conn, row.session_id, delay_s=delay, note=remark, by=caller.name)
            await store.tell_operators(conn, row.session_id)
            await _moved(conn, caller, row, "slept")
            return await agents.shown(conn, caller, name, keep)

        return await self._db.run(work)

    async def wake(self, caller: Caller, name: str, *, prompt: str | None, keep: Keep[AgentView] = unkept) -> AgentView:
        """Leave the sleep; ``prompt`` becomes a turn.

        Raises:
            BadRequest: not asleep, or a prompt without text.
            RateLimited: there is a prompt, and the space's queue is full.
        """
        given = None if prompt is None else text_input(storable_text(prompt))

        async def work(conn: AsyncConnection) -> AgentView:
            row = await agents.find_locked(conn, caller, name, "update")
            if row.state not in ASLEEP:
                raise BadRequest(f"Agent '{row.name}' is not asleep")
            self._limits.storage.check()
            change, told = woken(row.id, caller.name, "user_wake"), {"state": "idle"}
            if given is not None:
                await check_room(conn, self._limits, row.space, ())
                change += queued(turn_id := new_id(), row.id, given, caller.name)
                told["response"] = str(turn_id)
            await store.want(conn, row.session_id, "idle")
            await change.write(conn, row.session_id, [audit.entry(caller, _moving(row, told))])
            return await agents.shown(conn, caller, name, keep)

        return await self._db.run(work)

    async def cancel(self, caller: Caller, name: str, keep: Keep[CancelAnswer] = unkept) -> CancelAnswer:
        """Settle the processing turn, else the newest pending one; nothing when there is neither."""

        async def work(conn: AsyncConnection) -> CancelAnswer:
            row = await agents.find_locked(conn, caller, name, "update")
            open_turns = await turns.open_turns(conn, row.session_id)
            if open_turns:
                turn = next((turn for turn in open_turns if turn.status == "processing"), open_turns[-1])
                change = stopped(row, [turn], cancelled([turn], "user_cancel"))
                await change.write(conn, row.session_id, deeds=[audit.entry(caller, cancelling(row, turn))])
            done = CancelAnswer(row.name, cancelled=bool(open_turns))
            await keep(conn, done)
            return done

        return await self._db.run(work)

    async def runtime(self, caller: Caller, name: str) -> Runtime:
        """How long it has been awake, by the database's clock. Raises as ``agents.find`` for the verb ``get``."""
        async with self._db.reading() as conn:
            row = await agents.find(conn, caller, name, "get")
            total_s, current_s = await runs.seconds(conn, row.session_id)
        return Runtime(row.name, int(total_s), int(current_s))


async def _moved(conn: AsyncConnection, caller: Caller, row: AgentRow, state: str) -> None:
    await audit.done(conn, caller, _moving(row, {"state": state}))


def _moving(row: AgentRow, told: Mapping[str, str]) -> Deed:
    return Deed("update-state", "agents", row.name, row.space, told)


def cancelling(row: AgentRow, turn: OpenTurn) -> Deed:
    """Somebody ends a turn before its time."""
    return Deed("cancel", "agents", row.name, row.space, {"response": str(turn.id)})


def stopped(row: AgentRow, ended: list[OpenTurn], change: Change) -> Change:
    """``change`` ends turns; the session is idle when the one that ran is among them."""
    ran = any(turn.status == "processing" for turn in ended)
    return change + Change((StateChanged("idle"),)) if ran and row.state == "busy" else change


def _request(row: AgentRow, open_turns: list[OpenTurn], wanted: ShownState) -> Request:
    shown = shown_state(row.state, on_hold=row.busy_hold_from is not None, queued=bool(open_turns))
    answer = requested(shown, wanted, processing=any(turn.status == "processing" for turn in open_turns))
    if not isinstance(answer, Refusal):
        return answer
    message = f"Agent '{row.name}' {answer.reason}"
    raise BadRequest(message) if answer.malformed else Conflict(message)


async def _fulfil(
    conn: AsyncConnection, row: AgentRow, request: Request, open_turns: list[OpenTurn], caller: Caller
) -> None:
    match request:
        case "nothing":
            return
        case "hold":
            await store.begin_hold(conn, row.session_id)
            await Change((StateShown("busy"),)).write(conn, row.session_id)
        case "release":
            await store.end_hold(conn, row.session_id)
            await Change((StateShown(row.state),)).write(conn, row.session_id)
        case "wake":
            await woken(row.id, caller.name, "user_wake").write(conn, row.session_id)
            await store.want(conn, row.session_id, "idle")
        case "sleep":
            await slept(row.id, open_turns, caller.name, None).write(conn, row.session_id)
            await store.want(conn, row.session_id, "slept")
