"""The one statement that moves a session on: turns, segments, states and their numbering, in one round trip.

``sessions.event_seq`` numbers everything a client can see happen. The statement raises it first, so the
session's row lock orders all writers, and only then adds rows: whoever reads number n has every number below.
"""

import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import BigInteger, BindParameter, Boolean, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB, UUID
from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.domain.lifecycle import SETTLED, State, TurnStatus
from raworc.store.audit import AuditRow
from raworc.store.statement import Statement

Json = dict[str, Any]


@dataclass(frozen=True)
class NewTurn:
    """A turn to be added. ``kind`` as in ``store/schema.py``; it carries no event of its own.

    ``reply_id``: what its answer is called where it is shown as messages.
    """

    turn_id: uuid.UUID
    agent_id: uuid.UUID | None
    kind: str
    status: TurnStatus
    input: Json
    created_by: str | None
    reply_id: uuid.UUID | None = None


@dataclass(frozen=True)
class SegmentAdded:
    """A segment as the API shows it; ``body["type"]`` is its type, which an outside writer's need not have."""

    turn_id: uuid.UUID
    body: Json


@dataclass(frozen=True)
class ResponseChanged:
    """A turn takes ``status``. ``error`` is ``{"code", "message"}`` of a failed one."""

    turn_id: uuid.UUID
    status: TurnStatus
    error: Json | None = None
    cancel_reason: str | None = None


@dataclass(frozen=True)
class StateChanged:
    """The session takes ``state``; ``idle_from`` and ``busy_from`` follow it."""

    state: State


@dataclass(frozen=True)
class StateShown:
    """Clients are told ``state``; the session's own stays (a hold began or ended)."""

    state: State


Entry = SegmentAdded | ResponseChanged | StateChanged | StateShown


@dataclass(frozen=True)
class Fence:
    """An operator's hold: its writes count only while the session is held by ``worker_id`` at ``epoch``."""

    worker_id: uuid.UUID
    epoch: int


@dataclass(frozen=True)
class Written:
    """The session's last event number, how many of the turns that were named took the change, and when."""

    event_seq: int
    turns: int
    at: datetime


async def write(
    conn: AsyncConnection,
    session_id: uuid.UUID,
    entries: Sequence[Entry],
    *,
    new_turns: Sequence[NewTurn] = (),
    fence: Fence | None = None,
    deeds: Sequence[AuditRow] = (),
) -> Written | None:
    """Apply ``entries`` in order; None when there is no such session, or it is not held as ``fence`` says.

    ``deeds`` go to the audit log with them, in the same round trip.

    Under a fence a paused session stays so, whatever its turn comes to, and only open turns (pending, processing)
    take changes. Call it inside a transaction, and undo that when ``turns`` is less than the turns named. Moving one
    turn to ``processing`` and another one out of it takes two calls. Without a fence operators are told as well as
    servers.
    """
    state = next((entry.state for entry in reversed(entries) if isinstance(entry, StateChanged)), None)
    statement = _WRITE_WITH_DEEDS if deeds else _WRITE
    row = await statement.first(
        conn,
        {
            "session_id": session_id,
            "entries": [_encoded(entry) for entry in entries],
            "new_turns": [_new_turn(turn, entries) for turn in new_turns],
            "deeds": [asdict(deed) for deed in deeds],
            "count": len(entries),
            "settles": any(isinstance(entry, ResponseChanged) and entry.status in SETTLED for entry in entries),
            "is_work": any(isinstance(entry, SegmentAdded | ResponseChanged) for entry in entries),
            "state": state,
            "leaves_paused": fence is not None and state in {"idle", "busy"},
            "worker_id": fence.worker_id if fence else None,
            "epoch": fence.epoch if fence else None,
        },
    )
    return None if row is None else Written(*row[:3])


def _encoded(entry: Entry) -> Json:
    match entry:
        case SegmentAdded():
            return {"kind": "segment", "turn": entry.turn_id, "body": entry.body}
        case ResponseChanged():
            settled = entry.status in SETTLED
            body = {"status": entry.status, "settled": settled, "error": entry.error, "reason": entry.cancel_reason}
            return {"kind": "response", "turn": entry.turn_id, "body": body}
        case StateChanged() | StateShown():
            return {"kind": "state", "body": {"state": entry.state}}


def _new_turn(turn: NewTurn, entries: Sequence[Entry]) -> Json:
    added = sum(isinstance(entry, SegmentAdded) and entry.turn_id == turn.turn_id for entry in entries)
    return {
        "id": turn.turn_id,
        "agent_id": turn.agent_id,
        "kind": turn.kind,
        "status": turn.status,
        "settled": turn.status in SETTLED,
        "input": turn.input,
        "created_by": turn.created_by,
        "reply_id": turn.reply_id,
        "added": added,
    }


_KEPT: Final = """
, kept AS (
    INSERT INTO audit (actor_id, actor, verb, resource, allowed, name, space, address, details)
    SELECT d.* FROM moved, jsonb_to_recordset(:deeds) AS d(
        actor_id uuid, actor text, verb text, resource text, allowed bool, name text, space text, address text,
        details jsonb
    )
)
"""
_SQL: Final = """
WITH entry AS (
    SELECT e.position, e.value ->> 'kind' AS kind, (e.value ->> 'turn')::uuid AS turn_id, e.value -> 'body' AS body
    FROM jsonb_array_elements(:entries) WITH ORDINALITY AS e(value, position)
),
moved AS (
    UPDATE sessions SET
        event_seq = event_seq + :count,
        state = CASE WHEN :leaves_paused AND state = 'paused' THEN state ELSE coalesce(:state, state) END,
        idle_from = CASE WHEN :state IS NULL THEN idle_from WHEN :state = 'idle' THEN clock_timestamp() END,
        busy_from = CASE WHEN :state IS NULL THEN busy_from WHEN :state = 'busy' THEN clock_timestamp() END,
        last_activity_at = CASE WHEN :is_work THEN clock_timestamp() ELSE last_activity_at END
    WHERE id = :session_id AND (:worker_id IS NULL OR (held_by = :worker_id AND hold_epoch = :epoch))
    RETURNING id, event_seq, event_seq - :count AS base, clock_timestamp() AS at,
              coalesce(state <> :state, false) AS stays
),
created AS (
    INSERT INTO turns (id, session_id, agent_id, kind, status, input, created_by, reply_id, segment_count,
                       created_at, updated_at, finished_at)
    SELECT t.id, moved.id, t.agent_id, t.kind, t.status, t.input, t.created_by, t.reply_id, t.added,
           moved.at, moved.at, CASE WHEN t.settled THEN moved.at END
    FROM moved, jsonb_to_recordset(:new_turns) AS t(
        id uuid, agent_id uuid, kind text, status text, settled bool, input jsonb, created_by text, reply_id uuid,
        added bigint
    )
    RETURNING id, 0 AS base
),
change AS (
    SELECT turn_id,
           count(*) FILTER (WHERE kind = 'segment') AS added,
           (array_agg(body ORDER BY position DESC) FILTER (WHERE kind = 'response'))[1] AS body
    FROM entry WHERE turn_id IS NOT NULL GROUP BY turn_id
),
changed AS (
    UPDATE turns SET
        segment_count = segment_count + change.added,
        attempts = CASE WHEN change.added > 0 THEN 0 ELSE attempts END,
        status = coalesce(change.body ->> 'status', status),
        error = CASE WHEN change.body IS NULL THEN error ELSE nullif(change.body -> 'error', 'null') END,
        cancel_reason = coalesce(change.body ->> 'reason', cancel_reason),
        started_at = CASE
            WHEN (change.body ->> 'status') = 'processing' THEN coalesce(started_at, moved.at) ELSE started_at
        END,
        finished_at = CASE WHEN (change.body -> 'settled')::bool THEN moved.at ELSE finished_at END,
        updated_at = moved.at
    FROM moved, change
    WHERE turns.id = change.turn_id AND turns.session_id = moved.id
      AND (:worker_id IS NULL OR status IN ('pending', 'processing'))
    RETURNING turns.id, segment_count - change.added AS base
),
touched AS (
    SELECT id, base FROM created UNION ALL SELECT id, base FROM changed
),
added AS (
    INSERT INTO segments (turn_id, seq, session_id, event_seq, type, body, created_at)
    SELECT entry.turn_id, touched.base + row_number() OVER (PARTITION BY entry.turn_id ORDER BY entry.position),
           moved.id, moved.base + entry.position, coalesce(entry.body ->> 'type', ''), entry.body, moved.at
    FROM moved, entry JOIN touched ON touched.id = entry.turn_id
    WHERE entry.kind = 'segment'
),
told AS (
    INSERT INTO session_events (session_id, event_seq, kind, turn_id, body, created_at)
    SELECT moved.id, moved.base + entry.position, entry.kind, entry.turn_id,
           CASE entry.kind WHEN 'state' THEN entry.body ELSE jsonb_build_object(
               'status', entry.body -> 'status',
               'updated_at', to_char(moved.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
           ) END,
           moved.at
    FROM moved, entry
    WHERE entry.kind = 'response' OR (entry.kind = 'state' AND NOT moved.stays)
)
{kept}
SELECT moved.event_seq,
       (SELECT count(*) FROM touched) AS turns,
       moved.at,
       CASE WHEN :count > 0 THEN pg_notify('raworc_events',
           json_build_object('session', moved.id, 'event', moved.event_seq, 'settles', :settles)::text
       ) END,
       CASE WHEN :worker_id IS NULL THEN pg_notify('raworc_work', moved.id::text) END
FROM moved
"""


def _statement(kept: str, *more: BindParameter[Any]) -> Statement:
    return Statement(
        text(_SQL.format(kept=kept)).bindparams(
            bindparam("session_id", type_=UUID),
            bindparam("entries", type_=JSONB),
            bindparam("new_turns", type_=JSONB),
            bindparam("count", type_=BigInteger),
            bindparam("settles", type_=Boolean),
            bindparam("is_work", type_=Boolean),
            bindparam("leaves_paused", type_=Boolean),
            bindparam("worker_id", type_=UUID),
            bindparam("epoch", type_=BigInteger),
            *more,
        )
    )


_WRITE: Final = _statement("")
_WRITE_WITH_DEEDS: Final = _statement(_KEPT, bindparam("deeds", type_=JSONB))
"""Apart, because what operators write has no deeds: the part for them costs every statement a tenth of its time."""
