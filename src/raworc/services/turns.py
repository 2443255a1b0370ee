"""Turns as the agents contract knows them: responses, started, awaited, read, and changed from outside."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from time import monotonic
from typing import Any, Final, Literal, TypeVar, cast, get_args

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.domain.content import check_input, check_output, input_content, merged_output, output_content
from raworc.domain.lifecycle import ASLEEP, SETTLED, TurnStatus
from raworc.domain.text import storable
from raworc.errors import (
    BadRequest,
    Conflict,
    DatabaseUnavailable,
    FieldError,
    GatewayTimeout,
    NotFound,
    PayloadTooLarge,
)
from raworc.ids import new_id
from raworc.services import agents, audit
from raworc.services.accounts import Caller, renewed
from raworc.services.agent_states import cancelling, stopped
from raworc.services.agents import AgentRow
from raworc.services.answers import Keep, unkept
from raworc.services.audit import Deed
from raworc.services.changes import Change, appended, cancelled, queued, woken
from raworc.services.progress import ResponseChanged
from raworc.services.queue import QueueLimits, check_room
from raworc.settings import Settings
from raworc.store import sessions
from raworc.store import turns as store
from raworc.store.database import Database
from raworc.store.notify import EventNotice, Listener, Subscription
from raworc.store.turns import OpenTurn, TurnRow

T = TypeVar("T")
Json = dict[str, Any]
WhenBusy = Literal["queue", "reject", "interrupt"]

MAX_PAGE: Final = 1000
MAX_SEGMENT_BYTES: Final = 16_777_216
MAX_OUTPUT_BYTES: Final = 2_097_152
_LEAST_BYTES: Final = 1024
_LOOK_AGAIN_S: Final = 5.0
_MAX_OFFSET: Final = 2**53


@dataclass(frozen=True)
class TurnView:
    """A response as the agents contract shows it."""

    id: uuid.UUID
    agent_name: str
    status: TurnStatus
    input_content: list[Json]
    output_content: list[Json]
    segments: list[Json]
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class TurnPage:
    """Turns of a page, as many as are read at once; ``left``: how many more the page has behind them."""

    turns: list[TurnView]
    left: int


@dataclass(frozen=True)
class TurnCount:
    """How many turns an agent has, and its name as it is stored."""

    count: int
    agent_name: str


@dataclass(frozen=True)
class TurnChange:
    """An outside writer's wish. None keeps; ``output`` is ``{text?, items?, ...}``."""

    status: str | None = None
    input: Json | None = None
    output: Json | None = None


def view(row: TurnRow, agent_name: str) -> TurnView:
    """What is shown of a turn."""
    return TurnView(
        id=row.id,
        agent_name=agent_name,
        status=row.status,
        input_content=input_content(row.input),
        output_content=output_content(row.output, row.segments),
        segments=row.segments,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


class Turns:
    """Responses of named agents. Every method raises as ``agents.find``."""

    def __init__(self, db: Database, listener: Listener, settings: Settings) -> None:
        self._db = db
        self._listener = listener
        self._limits = QueueLimits.of(settings)

    async def start(
        self,
        caller: Caller,
        name: str,
        given: object,
        *,
        when_busy: WhenBusy = "queue",
        keep: Keep[TurnView] = unkept,
    ) -> TurnView:
        """Queue an input; a sleeping agent wakes for it.

        ``interrupt`` cancels what is processing first; what waits already stays before the new one.

        Raises:
            BadRequest: ``given`` is no input.
            Conflict: busy, and ``when_busy`` is ``reject``.
            RateLimited: the agent's or the space's queue is full.
        """
        content = check_input(storable(given))
        turn_id = new_id()

        async def work(conn: AsyncConnection) -> TurnView:
            row = await agents.find_locked(conn, caller, name, "update")
            open_turns = await store.open_turns(conn, row.session_id)
            ended = _in_the_way(row, open_turns, when_busy)
            change = stopped(row, ended, cancelled(ended, "interrupt")) + queued(turn_id, row.id, content, caller.name)
            deeds = [*(cancelling(row, turn) for turn in ended), _starting(row, turn_id)]
            await check_room(conn, self._limits, row.space, open_turns)
            if row.state in ASLEEP:
                change = woken(row.id, caller.name, "implicit_wake") + change
                await sessions.want(conn, row.session_id, "idle")
            at = (await change.write(conn, row.session_id, [audit.entry(caller, deed) for deed in deeds])).at
            made = TurnView(turn_id, row.name, "pending", input_content(content), [], [], at, at)
            await keep(conn, made)
            return made

        return await self._db.run(work)

    async def wait(self, caller: Caller, name: str, turn_id: uuid.UUID, timeout_s: float) -> TurnView:
        """The turn, once it is settled. Holds no database connection meanwhile.

        Raises:
            NotFound: no such turn, or it went with its agent.
            Unauthorized: the caller's token stopped to count meanwhile.
            GatewayTimeout: not settled in time; the work goes on.
        """
        deadline = monotonic() + timeout_s
        row = await self._find(caller, name)
        async with self._listener.subscribe(row.session_id) as notices:
            while not await self._is_settled(row.session_id, turn_id):
                if not await _more(notices, deadline):
                    raise GatewayTimeout("Timed out waiting for response to complete")
        async with self._db.reading() as conn:
            await renewed(conn, caller)
            return view(_found(await store.find(conn, row.session_id, turn_id), turn_id), row.name)

    async def page(self, caller: Caller, name: str, limit: int, offset: int) -> TurnPage:
        """Turns, oldest first; of big ones not all at once. ``limit`` is clamped to 0..1000."""
        bounded = min(max(limit, 0), MAX_PAGE)
        async with self._db.reading() as conn:
            row = await agents.find(conn, caller, name, "get")
            start = min(max(offset, 0), _MAX_OFFSET)
            rows, left = await store.page(conn, row.session_id, limit=bounded, offset=start) if bounded else ([], 0)
        return TurnPage([view(turn, row.name) for turn in rows], left)

    async def get(self, caller: Caller, name: str, turn_id: uuid.UUID) -> TurnView:
        """One turn.

        Raises:
            NotFound: the agent has no such turn.
        """
        async with self._db.reading() as conn:
            row = await agents.find(conn, caller, name, "get")
            return view(_found(await store.find(conn, row.session_id, turn_id), turn_id), row.name)

    async def count(self, caller: Caller, name: str) -> TurnCount:
        """How many turns there are, markers included."""
        async with self._db.reading() as conn:
            row = await agents.find(conn, caller, name, "get")
            return TurnCount(await store.count(conn, row.session_id), row.name)

    async def change(self, caller: Caller, name: str, turn_id: uuid.UUID, wish: TurnChange) -> TurnView:
        """Write to a turn from outside: append items at any time, settle it, or replace a waiting input.

        Raises:
            NotFound: the agent has no such turn.
            BadRequest: nothing given, a malformed part, or status ``cancelled``.
            Conflict: a status for a settled turn, one backwards, or an input that is not waiting any more.
            PayloadTooLarge: the turn's segments would have more than ``MAX_SEGMENT_BYTES`` together, or the other
                keys of its output more than ``MAX_OUTPUT_BYTES``.
        """
        status, given = _checked(wish)
        merged, items = (None, []) if wish.output is None else check_output(storable(wish.output))

        async def work(conn: AsyncConnection) -> TurnView:
            row = await agents.find_locked(conn, caller, name, "update")
            turn = _found(await store.find(conn, row.session_id, turn_id), turn_id)
            if status is not None and turn.status in SETTLED:
                raise Conflict(f"Response '{turn_id}' is {turn.status} already: its status cannot change")
            if given is not None and turn.status != "pending":
                raise Conflict(f"The input of response '{turn_id}' cannot change: it is {turn.status}")
            if items:
                await _check_weight(conn, turn_id, items)
            if given is not None or merged is not None:
                new_output = None if merged is None else _bounded(merged_output(turn.output, merged))
                await store.set_content(conn, turn_id, given=given, output=new_output)
            deed = _changing(row, turn_id, wish)
            await _written(row, turn, status, items).write(conn, row.session_id, [audit.entry(caller, deed)])
            return view(_found(await store.find(conn, row.session_id, turn_id), turn_id), row.name)

        return await self._db.run(work)

    async def _find(self, caller: Caller, name: str) -> AgentRow:
        async with self._db.reading() as conn:
            return await agents.find(conn, caller, name, "get")

    async def _is_settled(self, session_id: uuid.UUID, turn_id: uuid.UUID) -> bool:
        try:
            async with self._db.reading() as conn:
                return _found(await store.status(conn, session_id, turn_id), turn_id) in SETTLED
        except DatabaseUnavailable:
            return False  # the turn is stored, so its client may as well wait for the database too


async def _more(notices: Subscription, deadline: float) -> bool:
    """Wait until a turn of the session may have settled; False when the time is up."""
    while (left_s := deadline - monotonic()) > 0:
        notice = await notices.get(min(left_s, _LOOK_AGAIN_S))
        notices.overflowed = False
        if notice is None or (isinstance(notice, EventNotice) and notice.settles):
            return True
    return False


def _found(thing: T | None, turn_id: uuid.UUID) -> T:
    if thing is None:
        raise NotFound(f"Response '{turn_id}' not found")
    return thing


async def _check_weight(conn: AsyncConnection, turn_id: uuid.UUID, items: list[Json]) -> None:
    """Whoever reads a response gets all of it at once, so there is an end to it."""
    new_bytes = sum(max(len(msgspec.json.encode(item)), _LEAST_BYTES) for item in items)
    if await store.weight(conn, turn_id) + new_bytes > MAX_SEGMENT_BYTES:
        raise PayloadTooLarge(
            f"The segments of response '{turn_id}' may have {MAX_SEGMENT_BYTES} bytes together, each counting as "
            f"{_LEAST_BYTES} at least: put the rest into another response, or into a file"
        )


def _bounded(output: Json) -> Json:
    """Keys that nobody shows add up, too."""
    if len(msgspec.json.encode(output)) > MAX_OUTPUT_BYTES:
        raise PayloadTooLarge(f"The 'output' of a response may have {MAX_OUTPUT_BYTES} bytes in all its keys together")
    return output


def _starting(row: AgentRow, turn_id: uuid.UUID) -> Deed:
    return Deed("create-response", "agents", row.name, row.space, {"response": str(turn_id)})


def _changing(row: AgentRow, turn_id: uuid.UUID, wish: TurnChange) -> Deed:
    told = {
        "status": wish.status,
        "input": None if wish.input is None else "replaced",
        "output": None if wish.output is None else "appended",
    }
    said = {name: value for name, value in told.items() if value}
    return Deed("update-response", "agents", row.name, row.space, {"response": str(turn_id), **said})


def _in_the_way(row: AgentRow, open_turns: list[OpenTurn], when_busy: WhenBusy) -> list[OpenTurn]:
    """The turns that end for a new one."""
    match when_busy:
        case "queue":
            return []
        case "reject":
            if open_turns or row.state == "busy" or row.busy_hold_from is not None:
                raise Conflict(f"Agent '{row.name}' is busy: wait until it is idle, or let the input queue")
            return []
        case "interrupt":
            return [turn for turn in open_turns if turn.status == "processing"]


def _checked(wish: TurnChange) -> tuple[TurnStatus | None, Json | None]:
    if wish == TurnChange():
        raise BadRequest("Nothing to change: give 'status', 'input' or 'output'")
    if wish.status == "cancelled":
        raise _refused("status", "cannot be set to 'cancelled': cancel the agent's response instead")
    if wish.status is not None and wish.status not in get_args(TurnStatus):
        raise _refused("status", "must be one of pending, processing, completed, failed")
    given = None if wish.input is None else check_input(storable(wish.input))
    return cast("TurnStatus | None", wish.status), given


def _written(row: AgentRow, turn: TurnRow, status: TurnStatus | None, items: list[Json]) -> Change:
    change = appended(turn.id, items)
    if status is None or status == turn.status:
        return change if turn.status in SETTLED else change + Change((ResponseChanged(turn.id, turn.status),))
    if status not in SETTLED:
        raise Conflict(f"Response '{turn.id}' is {turn.status}: it cannot be made {status} from outside")
    return stopped(row, [OpenTurn(turn.id, turn.status, row.id)], change + Change((ResponseChanged(turn.id, status),)))


def _refused(field: str, reason: str) -> BadRequest:
    return BadRequest(f"'{field}' {reason}", details=(FieldError(field, reason),))
