"""Who may see and change a context, and what that costs in a session of very many turns."""

import pytest
from sqlalchemy import text

from raworc.errors import Conflict, Forbidden, NotFound, RateLimited
from raworc.ids import new_id
from raworc.services.agents import NewAgent
from raworc.services.changes import said as said_from_outside
from raworc.services.context import Context
from raworc.store.schema import steps
from rows import finish_turn, open_sandbox, segment_types, take_turn, turn_rows

pytestmark = pytest.mark.anyio

_COUNTS = "turn_id, number, kind, state, characters, context_tokens"
INPUT = {"content": [{"type": "text", "content": "four"}]}
_MANY = """
WITH many AS (
    INSERT INTO turns (id, session_id, kind, status, input, finished_at)
    SELECT gen_random_uuid(), :session_id, 'input', 'completed', '{"text": "four"}', clock_timestamp()
    FROM generate_series(1, 2000) RETURNING id
)
INSERT INTO steps (turn_id, number, kind, state, epoch, content, characters, finished_at)
SELECT id, 1, 'model', 'done', 1, jsonb_build_array(repeat('x', 8000)), 4, clock_timestamp() FROM many
"""


@pytest.fixture
def context(db, turns, narrow):
    return Context(db, turns, narrow)


@pytest.fixture
async def demo(agents, ann, db):
    await agents.create(ann, NewAgent("demo"))
    return await open_sandbox(db, "demo")


async def said(db, turns, who) -> None:
    """One turn with an answer, as an operator leaves it."""
    await turns.start(who, "demo", INPUT)
    turn_id = await take_turn(db, "demo")
    async with db.transaction() as conn:
        row = {"turn_id": turn_id, "number": 1, "kind": "model", "state": "done", "epoch": 1, "characters": 8}
        await conn.execute(steps.insert().values(row))
    await finish_turn(db, "demo", turn_id)


async def test_only_owner_and_admin_see_and_change_a_context(context, bob, admin, demo):
    for attempt in (context.usage, context.clear, context.restore, lambda who, name: context.compact(who, name, 1)):
        with pytest.raises(Forbidden):
            await attempt(bob, "demo")
        with pytest.raises(NotFound):
            await attempt(admin, "nobody")


async def test_what_counts(context, turns, db, ann, demo):
    await said(db, turns, ann)
    await turns.start(ann, "demo", {"text": "waits"})  # told to no model yet
    usage = await context.usage(ann, "demo")
    assert (usage.used_tokens_estimated, usage.total_messages_considered) == (3, 2)
    await take_turn(db, "demo")
    usage = await context.usage(ann, "demo")
    assert (usage.used_tokens_estimated, usage.total_messages_considered) == (5, 3)
    usage = await context.clear(ann, "demo")
    assert (usage.used_tokens_estimated, usage.total_messages_considered) == (0, 0)


async def test_an_outside_writer_s_answer_counts(context, turns, db, ann, demo):
    turn = await turns.start(ann, "demo", INPUT)
    async with db.transaction() as conn:
        await conn.execute(text("UPDATE turns SET status = 'completed', output = '{\"text\": \"eight888\"}'"))
    usage = await context.usage(ann, "demo")
    assert (usage.used_tokens_estimated, usage.total_messages_considered) == (3, 2)
    assert (await turns.get(ann, "demo", turn.id)).output_content[0]["content"] == "eight888"


@pytest.mark.parametrize("role", ["AGENT", "SYSTEM"])
async def test_what_was_posted_counts(context, turns, db, ann, demo, role):
    """The number is about what a model is told, and that is told."""
    await said(db, turns, ann)
    async with db.transaction() as conn:
        change = said_from_outside(new_id(), role, "eight888", "ann", agent_id=None, metadata={})
        await change.write(conn, demo)
    usage = await context.usage(ann, "demo")
    assert (usage.used_tokens_estimated, usage.total_messages_considered) == (3 + 2, 2 + 1)


async def test_a_provider_s_count_is_what_it_starts_from(context, turns, db, ann, demo):
    await said(db, turns, ann)
    async with db.transaction() as conn:
        await conn.execute(steps.update().values(context_tokens=12_345))
    usage = await context.usage(ann, "demo")
    assert (usage.used_tokens_estimated, usage.used_percent) == (12_345, 12.3)
    assert usage.basis == "estimated_from_history_chars"  # the only word that the document knows
    await said(db, turns, ann)
    assert (await context.usage(ann, "demo")).used_tokens_estimated == 12_348
    assert (await context.clear(ann, "demo")).used_tokens_estimated == 0


async def test_cutoffs_are_a_stack_however_they_are_made_at_once(context, turns, db, ann, demo):
    await said(db, turns, ann)
    first = await context.clear(ann, "demo")
    second = await context.clear(ann, "demo")
    assert second.cutoff_at > first.cutoff_at
    assert (await context.restore(ann, "demo")).cutoff_at == first.cutoff_at
    back = await context.restore(ann, "demo")
    assert (back.cutoff_at, back.total_messages_considered) == (None, 2)
    with pytest.raises(Conflict):
        await context.restore(ann, "demo")
    kinds = [kind for row in await turn_rows(db, "demo") for kind in await segment_types(db, row.id)]
    assert kinds == ["final", "context_cleared", "context_cleared", "context_restored", "context_restored"]


async def test_a_compaction_waits_for_nothing(context, turns, db, ann, demo):
    await turns.start(ann, "demo", INPUT)
    with pytest.raises(Conflict, match="is busy"):
        await context.compact(ann, "demo", 1)
    await take_turn(db, "demo")
    with pytest.raises(Conflict, match="is busy"):
        await context.compact(ann, "demo", 1)


async def test_a_full_space_takes_no_compaction(context, agents, turns, ann, demo):
    await agents.create(ann, NewAgent("crowd"))
    await agents.create(ann, NewAgent("more"))
    for name in ("crowd", "crowd", "crowd", "more", "more"):
        await turns.start(ann, name, INPUT)
    with pytest.raises(RateLimited):
        await context.compact(ann, "demo", 1)


async def test_measuring_reads_no_content(context, db, ann, demo):
    """2,000 turns with 16 MB of answers, by one who may not read them."""
    async with db.transaction() as conn:
        await conn.execute(text(_MANY), {"session_id": demo})
        await conn.execute(text("REVOKE SELECT ON steps FROM CURRENT_USER"))
        await conn.execute(text(f"GRANT SELECT ({_COUNTS}) ON steps TO CURRENT_USER"))
    usage = await context.usage(ann, "demo")
    assert (usage.used_tokens_estimated, usage.total_messages_considered) == (4000, 4000)
