"""How a session moves on: the only way in which turns, segments and states are written.

Servers and operators both write here, inside a transaction of their own. Three rules hold it together:

- Every write takes the session's row lock first and numbers its events under it (``store/progress.py``).
- A server may settle any turn at any time (cancel, sleep, delete, an outside status): at once, in the
  database. The operator learns it by the notice or by :class:`TurnSettled` at its next write, stops the
  command, and goes on with the queue. No segment follows a settled turn's end, but for an outside writer's.
- An operator writes with its :class:`Fence`; without the hold nothing is written and :class:`LostHold` raised.
"""

import uuid
from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.domain.lifecycle import State, TurnStatus
from raworc.errors import LostHold, NotFound, TurnSettled
from raworc.store import progress
from raworc.store.audit import AuditRow
from raworc.store.progress import (
    Entry,
    Fence,
    Json,
    NewTurn,
    ResponseChanged,
    SegmentAdded,
    StateChanged,
    StateShown,
    Written,
)

__all__ = [
    "Entry",
    "Fence",
    "Json",
    "NewTurn",
    "ResponseChanged",
    "SegmentAdded",
    "StateChanged",
    "StateShown",
    "Written",
    "append",
    "response_event",
    "state_event",
    "write",
]


async def write(
    conn: AsyncConnection,
    session_id: uuid.UUID,
    entries: Sequence[Entry],
    *,
    new_turns: Sequence[NewTurn] = (),
    fence: Fence | None = None,
    deeds: Sequence[AuditRow] = (),
) -> Written:
    """Apply ``entries`` in order, number them, tell servers (and, without a fence, operators), answer for ``deeds``.

    ``entries`` change what they name: a :class:`ResponseChanged` is the turn's status itself, a
    :class:`StateChanged` the session's. At most one of each per turn and session; to move a turn out of
    ``processing`` and the next one into it, call twice. Segments under a fence set ``attempts`` back to 0.
    No entries: the fence is checked and the row lock taken, nothing else.

    Raises:
        LostHold: the session is not held as ``fence`` says.
        TurnSettled: under a fence, a turn that is named is settled.
        NotFound: no such session or turn.
    """
    written = await progress.write(conn, session_id, entries, new_turns=new_turns, fence=fence, deeds=deeds)
    if written is None:
        if fence is not None:
            raise LostHold(f"Session '{session_id}' is held by another operator")
        raise NotFound(f"Session '{session_id}' not found")
    named = {turn.turn_id for turn in new_turns}
    named |= {entry.turn_id for entry in entries if isinstance(entry, SegmentAdded | ResponseChanged)}
    if written.turns < len(named):
        if fence is not None:
            raise TurnSettled(f"A turn of session '{session_id}' is settled")
        raise NotFound(f"A turn of session '{session_id}' is not there")
    return written


async def append(
    conn: AsyncConnection,
    session_id: uuid.UUID,
    turn_id: uuid.UUID,
    bodies: Sequence[Json],
    *,
    fence: Fence | None = None,
) -> Written:
    """Add segments to a turn. ``bodies`` are shown as they are. Raises as :func:`write`."""
    return await write(conn, session_id, [SegmentAdded(turn_id, body) for body in bodies], fence=fence)


async def state_event(
    conn: AsyncConnection, session_id: uuid.UUID, state: State, *, fence: Fence | None = None
) -> Written:
    """Give the session ``state``, with ``idle_from`` and ``busy_from`` to match. Raises as :func:`write`."""
    return await write(conn, session_id, [StateChanged(state)], fence=fence)


async def response_event(
    conn: AsyncConnection,
    session_id: uuid.UUID,
    turn_id: uuid.UUID,
    status: TurnStatus,
    *,
    fence: Fence | None = None,
) -> Written:
    """Give a turn ``status``. Raises as :func:`write`."""
    return await write(conn, session_id, [ResponseChanged(turn_id, status)], fence=fence)
