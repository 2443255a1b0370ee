"""An operator that breaks two promises, so that a test can show that the judge notices.

It writes although it may have lost its hold, and it runs a tool again whose outcome is unknown. The product has no
switch for this: it is done here, where the operator's modules look these up, which may be loaded already.
"""

from collections.abc import Sequence

from raworc.domain import turns
from raworc.operator import turn
from raworc.store import progress
from raworc.supervisor import operator
from raworc.supervisor.entry import run_child

_kept_promise = turns.resumed
_fenced_write = progress.write


def run_again(steps: Sequence[turns.Step], *, model_calls: int, max_model_calls: int) -> object:
    """What the product decides, but for tools with an unknown outcome."""
    move = _kept_promise(steps, model_calls=model_calls, max_model_calls=max_model_calls)
    return turns.RunTool(move.number, move.use) if isinstance(move, turns.ReportUnknown) else move


async def write_anyway(conn, session_id, entries, *, new_turns=(), fence=None, deeds=()) -> object:
    """What the product writes, whoever holds the session."""
    del fence
    return await _fenced_write(conn, session_id, entries, new_turns=new_turns, deeds=deeds)


turn.resumed = run_again
progress.write = write_anyway

if __name__ == "__main__":
    run_child(operator._prepare)
