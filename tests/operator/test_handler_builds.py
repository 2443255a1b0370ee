"""Messages to code agents whose builds are not done."""

import pytest
from sqlalchemy import select, update

from coded import added, built
from operating import World
from raworc.ids import SessionId, new_id
from raworc.store.schema import builds, turns
from waiting import until

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("succeeds", [True, False])
async def test_a_message_waits_for_the_build_that_is_being_made(place: World, succeeds: bool):
    agent, build_id = await added(place), new_id()
    async with place.db.transaction() as conn:
        await conn.execute(builds.insert().values(id=build_id, space="default", status="building", created_by="x"))
    async with place.operator():
        session_id = await place.begin()
        await place.say(session_id, "a")
        await until(lambda: _is_at_it(place, session_id))
        if succeeds:
            await built(place, agent, 1)
            assert (await place.next_reply(session_id)).content == "1 1"
            return
        async with place.db.transaction() as conn:
            await conn.execute(update(builds).where(builds.c.id == build_id).values(status="failed"))
        assert "'coder' is in no completed build of its space" in (await place.next_reply(session_id)).content


async def _is_at_it(place: World, session_id: SessionId) -> bool:
    async with place.db.reading() as conn:
        working = turns.c.status == "processing"
        return await conn.scalar(select(turns.c.id).where(turns.c.session_id == session_id, working)) is not None
