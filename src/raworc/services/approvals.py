"""Tool calls that a person decides about: an operator asks and waits, who may change the agent or session answers.

The question is a row, so that it outlives the worker that asked; whoever goes on with the turn finds it by its step.
The turn stays ``processing`` meanwhile: what ends turns (cancel, sleep, timeouts, deletion) ends this wait.
"""

import uuid
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.domain.guardrails import approval_asked, approval_given
from raworc.domain.text import storable_text
from raworc.errors import BadRequest, Conflict, FieldError, NotFound
from raworc.ids import TurnId, new_id
from raworc.services import agents, audit, progress, sessions
from raworc.services.accounts import Caller
from raworc.services.answers import Keep, unkept
from raworc.services.audit import Deed
from raworc.services.holds import Hold
from raworc.store import approvals as store
from raworc.store.approvals import ApprovalRow, Decision, Question
from raworc.store.database import Database

__all__ = ["ApprovalRow", "Approvals", "Decision", "Question", "Verdict"]

MAX_REASON_CHARACTERS = 2_000


@dataclass(frozen=True)
class Verdict:
    """A decision. The model is told the reason of a denial."""

    decision: Decision
    reason: str | None = None


class Approvals:
    """Questions and their answers."""

    def __init__(self, db: Database) -> None:
        self._db = db

    # ── for operators ─────────────────────────────────────────────────────────────────────────────────
    async def ask(self, hold: Hold, turn_id: TurnId, question: Question) -> uuid.UUID:
        """Put a question once, and show it in the turn; asked again, it is the same one. Raises as ``Steps``."""

        async def work(conn: AsyncConnection) -> uuid.UUID:
            await progress.write(conn, hold.session_id, [], fence=hold.fence)  # from here on nobody else writes
            asked = await store.ask(conn, new_id(), turn_id, question)
            if asked.is_new:
                told = approval_asked(str(asked.id), question.tool_use_id, question.tool)
                await progress.append(conn, hold.session_id, turn_id, [told], fence=hold.fence)
            return asked.id

        return await self._db.run(work)

    async def answer(self, approval_id: uuid.UUID) -> ApprovalRow | None:
        """A question with its answer, if it was given; None when it is gone with its turn."""
        async with self._db.reading() as conn:
            return await store.find(conn, approval_id)

    # ── for people; each raises as ``agents.find`` ────────────────────────────────────────────────────
    async def open(self, caller: Caller, name: str) -> list[ApprovalRow]:
        """What the agent waits for, oldest first."""
        async with self._db.reading() as conn:
            row = await agents.find(conn, caller, name, "get")
            return await store.open_ones(conn, row.session_id)

    async def open_in_session(self, caller: Caller, which: str) -> list[ApprovalRow]:
        """The same of a session of a space. Raises as ``sessions.find``."""
        wanted = sessions.deed("list-approvals", which)
        async with audit.refusals_kept(self._db, caller, wanted), self._db.reading() as conn:
            row = await sessions.find(conn, caller, which, "get")
            return await store.open_ones(conn, row.id)

    async def decide(
        self,
        caller: Caller,
        name: str,
        approval_id: uuid.UUID,
        verdict: Verdict,
        keep: Keep[ApprovalRow] = unkept,
    ) -> ApprovalRow:
        """Decide; the same decision again changes nothing.

        Raises:
            BadRequest: the reason is too long.
            NotFound: the agent has no such question.
            Conflict: it was decided otherwise, or the turn has ended.
        """
        verdict = _checked(verdict)

        async def work(conn: AsyncConnection) -> ApprovalRow:
            row = await agents.find_locked(conn, caller, name, "update")
            asks = _Asks(row.session_id, f"Agent '{row.name}'", row.name, row.space)
            found = await _decided(conn, caller, asks, approval_id, verdict)
            await keep(conn, found)
            return found

        return await self._db.run(work)

    async def decide_in_session(
        self,
        caller: Caller,
        which: str,
        approval_id: uuid.UUID,
        verdict: Verdict,
        keep: Keep[ApprovalRow] = unkept,
    ) -> ApprovalRow:
        """The same in a session of a space. Raises as ``sessions.find`` for ``update``, and as ``decide``."""
        verdict = _checked(verdict)

        async def work(conn: AsyncConnection) -> ApprovalRow:
            row = await sessions.find_locked(conn, caller, which, "update")
            asks = _Asks(row.id, f"Session '{row.id}'", str(row.id), row.space)
            found = await _decided(conn, caller, asks, approval_id, verdict)
            await keep(conn, found)
            return found

        async with audit.refusals_kept(self._db, caller, sessions.deed("decide-approval", which)):
            return await self._db.run(work)


@dataclass(frozen=True)
class _Asks:
    """Whose turns wait: a session, what people call it, and its name in the audit log."""

    session_id: uuid.UUID
    called: str
    name: str
    space: str


async def _decided(
    conn: AsyncConnection, by: Caller, asks: _Asks, approval_id: uuid.UUID, verdict: Verdict
) -> ApprovalRow:
    found = await _found(conn, asks, approval_id)
    if not found.is_open:
        if found.decision != verdict.decision:
            raise Conflict(_too_late(found))
        return found
    await store.decide(conn, found.id, verdict.decision, reason=verdict.reason, by=by.name)
    told = approval_given(str(found.id), found.tool, verdict.decision, by.name, verdict.reason)
    await progress.append(conn, asks.session_id, found.turn_id, [told])
    details = {"tool": found.tool, "approval": str(found.id), "response": str(found.turn_id)}
    await audit.done(conn, by, Deed(verdict.decision, "approvals", asks.name, asks.space, details))
    return await _found(conn, asks, approval_id)


async def _found(conn: AsyncConnection, asks: _Asks, approval_id: uuid.UUID) -> ApprovalRow:
    found = await store.find_in(conn, asks.session_id, approval_id)
    if found is None:
        raise NotFound(f"{asks.called} has no approval '{approval_id}'")
    return found


def _checked(verdict: Verdict) -> Verdict:
    return Verdict(verdict.decision, _reason(verdict.reason))


def _reason(given: str | None) -> str | None:
    if given is None or not given.strip():
        return None
    if len(given) > MAX_REASON_CHARACTERS:
        said = f"must have {MAX_REASON_CHARACTERS} characters at most"
        raise BadRequest(f"'reason' {said}", details=(FieldError("reason", said),))
    return storable_text(given.strip())


def _too_late(found: ApprovalRow) -> str:
    if found.decision is None:
        return f"The response '{found.turn_id}' has ended: nobody waits for this decision any more"
    done = "approved" if found.decision == "approve" else "denied"
    return f"The call of '{found.tool}' was {done} by '{found.decided_by}' already"
