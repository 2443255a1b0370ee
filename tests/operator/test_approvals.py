"""Tools that a person has to approve of: the turn waits, whatever becomes of its worker, and goes on as decided."""

import uuid

import pytest

from operating import World, answer
from prompts import bash, tool
from raworc.errors import Conflict
from raworc.services.agent_states import AgentStates
from raworc.services.approvals import ApprovalRow, Verdict
from raworc.store.schema import turns
from waiting import until

pytestmark = pytest.mark.anyio

ASKS = [{"type": "approve_tools", "tools": ["ba*", "good__*"]}]


async def waiting(place: World) -> ApprovalRow:
    """The one call that waits, once there is one."""
    found: list[ApprovalRow] = []

    async def asked() -> bool:
        found[:] = await place.approvals.open(place.admin, "demo")
        return bool(found)

    await until(asked)
    assert len(found) == 1
    return found[0]


async def test_a_call_is_made_once_it_is_approved_and_not_when_it_is_denied(place: World):
    async with place.operator():
        session_id = await place.create(guardrails=ASKS)
        prompt = "\n".join(
            [tool("write_file", path="a", content="x"), bash("echo one >> ran"), bash("echo two >> ran")]
        )
        turn_id = await place.post(prompt)

        first = await waiting(place)
        assert (first.turn_id, first.tool, first.args) == (turn_id, "bash", {"command": "echo one >> ran"})
        turn = await place.turn(turn_id)
        assert turn.status == "processing"
        assert place.file(session_id, "a") == b"x"
        assert place.file(session_id, "ran") is None
        told = {"id": str(first.id), "tool_call_id": first.tool_use_id, "tool": "bash", "decision": None}
        assert (turn.segments[-1]["type"], turn.segments[-1]["approval"]) == ("note", told)
        await place.approvals.decide(place.admin, "demo", first.id, Verdict("approve"))

        async def moved_on() -> bool:
            return (await waiting(place)).id != first.id

        await until(moved_on)
        second = await waiting(place)
        assert place.file(session_id, "ran") == b"one\n"
        await place.approvals.decide(place.admin, "demo", second.id, Verdict("deny", "not today"))
        turn = await place.settled(turn_id)

        assert place.file(session_id, "ran") == b"one\n"
        results = [(s["output"], s["is_error"]) for s in turn.segments if s["type"] == "tool_result"]
        assert results[-1] == ("not run: a person denied this call of 'bash': not today", True)
        assert answer(turn).endswith("not today")
        told = [s["text"] for s in turn.segments if s["type"] == "note"]
        assert told[1] == "The tool 'bash' was approved by 'admin'"
        assert told[3] == "The tool 'bash' was denied by 'admin': not today"
        await stands(place, second)


async def stands(place: World, denied: ApprovalRow) -> None:
    """A denial is not turned round, and said again it changes nothing."""
    with pytest.raises(Conflict, match="denied by 'admin' already"):
        await place.approvals.decide(place.admin, "demo", denied.id, Verdict("approve"))
    again = await place.approvals.decide(place.admin, "demo", denied.id, Verdict("deny", "another reason"))
    assert again.reason == "not today"


async def test_whoever_takes_the_turn_over_goes_on_waiting_however_often(place: World):
    session_id = await place.create(guardrails=ASKS)
    turn_id = await place.post(bash("echo ran >> ran"))
    async with place.operator():
        asked = await waiting(place)
    for _ in range(2):
        async with place.db.transaction() as conn:  # as if three workers had been killed before they came so far
            await conn.execute(turns.update().where(turns.c.id == turn_id).values(attempts=3))
        async with place.operator():
            await until(lambda: waits_again(place, turn_id))
    assert (await waiting(place)).id == asked.id
    assert sum("approval" in segment for segment in (await place.turn(turn_id)).segments) == 1
    await place.approvals.decide(place.admin, "demo", asked.id, Verdict("approve"))
    async with place.operator():
        turn = await place.settled(turn_id)
    assert turn.status == "completed"
    assert place.file(session_id, "ran") == b"ran\n"


async def test_what_ends_a_turn_ends_its_wait(place: World):
    async with place.operator():
        session_id = await place.create(guardrails=ASKS)
        turn_id = await place.post(bash("echo ran > ran"))
        asked = await waiting(place)
        await AgentStates(place.db).cancel(place.admin, "demo")
        assert (await place.settled(turn_id)).status == "cancelled"
        assert await place.approvals.open(place.admin, "demo") == []
        with pytest.raises(Conflict, match="has ended"):
            await place.approvals.decide(place.admin, "demo", asked.id, Verdict("approve"))
        assert (await place.ask("hello")).status == "completed"

        turn_id = await place.post(bash("echo ran > ran"))
        await waiting(place)
        await place.change(session_id, busy_timeout_s=0)
        assert (await place.settled(turn_id)).status == "failed"
        assert place.file(session_id, "ran") is None


async def waits_again(place: World, turn_id: uuid.UUID) -> bool:
    """Whether a worker that took the turn over waits: none counts as stopped any more."""
    return (await place.turn_row(turn_id)).attempts == 0
