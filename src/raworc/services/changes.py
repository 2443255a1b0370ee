"""What happens to a session and its turns together: built here, written in one go by ``services/progress.py``."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.clock import now, rfc3339
from raworc.domain.sessions import Role
from raworc.domain.turns import note
from raworc.ids import new_id
from raworc.services import progress
from raworc.services.progress import Entry, NewTurn, ResponseChanged, SegmentAdded, StateChanged, Written
from raworc.store.audit import AuditRow
from raworc.store.turns import OpenTurn

Json = dict[str, Any]
CancelReason = Literal["user_cancel", "interrupt", "sleep", "delete", "suspend", "terminate", "fail"]
WakeReason = Literal["user_wake", "implicit_wake"]


@dataclass(frozen=True)
class Change:
    """Entries in order, and the turns they begin. Changes add up."""

    entries: tuple[Entry, ...] = ()
    new_turns: tuple[NewTurn, ...] = ()

    def __add__(self, other: "Change") -> "Change":
        return Change(self.entries + other.entries, self.new_turns + other.new_turns)

    async def write(self, conn: AsyncConnection, session_id: uuid.UUID, deeds: Sequence[AuditRow] = ()) -> Written:
        """Write it as a server does, with entries of the audit log for ``deeds``.

        The session must be locked and the change built on what was read then.
        """
        return await progress.write(conn, session_id, self.entries, new_turns=self.new_turns, deeds=deeds)


def queued(turn_id: uuid.UUID, agent_id: uuid.UUID, given: Json, by: str) -> Change:
    """A turn joins the queue."""
    turn = NewTurn(turn_id, agent_id, "input", "pending", given, by)
    return Change((ResponseChanged(turn_id, "pending"),), (turn,))


def compaction_queued(turn_id: uuid.UUID, agent_id: uuid.UUID, by: str) -> Change:
    """A marker that an operator makes out of a summary joins the queue."""
    turn = NewTurn(turn_id, agent_id, "compact", "pending", {"content": []}, by)
    return Change((ResponseChanged(turn_id, "pending"),), (turn,))


def asked(turn_id: uuid.UUID, content: str, by: str, metadata: Json | None = None) -> Change:
    """A message joins the queue of a session of spaces; who answers it is decided when it is taken."""
    given: Json = {"content": _text(content), **({"metadata": metadata} if metadata else {})}
    turn = NewTurn(turn_id, None, "input", "pending", given, by, reply_id=new_id())
    return Change((ResponseChanged(turn_id, "pending"),), (turn,))


def said(
    turn_id: uuid.UUID, role: Role, content: str, by: str, *, agent_id: uuid.UUID | None, metadata: Json
) -> Change:
    """A message that nobody answers: it belongs to the conversation from now on."""
    given: Json = {"content": _text(content), "role": role, **({"metadata": metadata} if metadata else {})}
    turn = NewTurn(turn_id, agent_id, "said", "completed", given, by)
    return Change((ResponseChanged(turn_id, "completed"),), (turn,))


def woken(agent_id: uuid.UUID | None, by: str, reason: WakeReason) -> Change:
    """A session leaves its sleep."""
    told = {"type": "woke", "reason": reason, "note": None, "by": by, "at": rfc3339(now())}
    return marked(agent_id, told, by) + Change((StateChanged("init"),))


def slept(
    agent_id: uuid.UUID | None, turns: Sequence[OpenTurn], by: str, remark: str | None, reason: CancelReason = "sleep"
) -> Change:
    """A session falls asleep by a person's wish; its open ``turns`` do not survive that."""
    told = {"type": "slept", "reason": "user", "note": remark, "by": by, "at": rfc3339(now())}
    return cancelled(turns, reason) + marked(agent_id, told, by) + Change((StateChanged("slept"),))


def cancelled(turns: Sequence[OpenTurn], reason: CancelReason) -> Change:
    """Open turns end; those that never ran say so."""
    entries: list[Entry] = []
    for turn in turns:
        if turn.status == "pending" and reason in _NEVER_RUN:
            entries.append(SegmentAdded(turn.id, note("warning", _NEVER_RUN[reason])))
        told = {"type": "cancelled", "reason": reason, "at": rfc3339(now())}
        entries += [SegmentAdded(turn.id, told), ResponseChanged(turn.id, "cancelled", cancel_reason=reason)]
    return Change(tuple(entries))


def appended(turn_id: uuid.UUID, segments: Sequence[Json]) -> Change:
    """An outside writer adds segments."""
    return Change(tuple(SegmentAdded(turn_id, segment) for segment in segments))


def marked(agent_id: uuid.UUID | None, told: Json, by: str, turn_id: uuid.UUID | None = None) -> Change:
    """A completed turn with an empty input that tells one thing."""
    marker = NewTurn(turn_id or new_id(), agent_id, "marker", "completed", {"content": []}, by)
    entries = (SegmentAdded(marker.turn_id, told), ResponseChanged(marker.turn_id, "completed"))
    return Change(entries, (marker,))


_NEVER_RUN: Final = {
    "sleep": "The agent went to sleep before this turn was run",
    "delete": "The agent was deleted before this turn was run",
    "suspend": "The session was suspended before this message was answered",
    "terminate": "The session was terminated before this message was answered",
    "fail": "The session was put out of order before this message was answered",
}


def _text(content: str) -> list[Json]:
    return [{"type": "text", "content": content}]
