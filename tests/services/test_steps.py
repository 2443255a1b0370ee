"""What counts as another worker that takes a turn."""

from dataclasses import replace

import pytest

from raworc.domain.agents import NewAgent
from raworc.ids import SessionId, TurnId, WorkerId, new_id
from raworc.services.accounts import Caller
from raworc.services.agents import Agents
from raworc.services.holds import Hold
from raworc.services.steps import Steps
from raworc.services.turns import Turns
from raworc.store.database import Database
from rows import set_home, take_turn

pytestmark = pytest.mark.anyio


async def test_one_who_asks_again_is_counted_once(db: Database, agents: Agents, turns: Turns, ann: Caller):
    await agents.create(ann, NewAgent(name="worker"))
    await turns.start(ann, "worker", {"text": "go"})
    turn_id = TurnId(await take_turn(db, "worker"))
    hold = Hold(SessionId(new_id()), 1, "default", WorkerId(new_id()), 7)
    hold = replace(hold, session_id=SessionId(await set_home(db, "worker", held_by=hold.worker_id, hold_epoch=7)))
    steps = Steps(db)
    # The database may store it and die before it says so: the same worker asks again.
    counted = [(await steps.resume(hold, turn_id)).attempts for _ in range(5)]
    assert counted == [1] * 5
    await set_home(db, "worker", hold_epoch=8)
    assert (await steps.resume(replace(hold, epoch=8), turn_id)).attempts == 2
