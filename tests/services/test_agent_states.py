import itertools

import pytest
from sqlalchemy import func, select

from raworc.domain.lifecycle import shown_state
from raworc.errors import BadRequest, Conflict, Forbidden, NotFound
from raworc.services.agents import NewAgent
from raworc.services.queue import QueueLimits
from raworc.store.schema import runs, segments
from rows import (
    add_session,
    finish_turn,
    home_of,
    open_sandbox,
    segment_types,
    set_home,
    state_events,
    take_turn,
    turn_rows,
)

pytestmark = pytest.mark.anyio

INPUT = {"content": [{"type": "text", "content": "hi"}]}
SHOWN = ["init", "idle", "busy", "slept"]


@pytest.fixture
async def demo(agents, ann, db):
    """An agent of Ann's whose sandbox is open."""
    await agents.create(ann, NewAgent("demo"))
    return await open_sandbox(db, "demo")


async def bodies(db, kind):
    async with db.reading() as conn:
        found = await conn.execute(
            select(segments.c.body).where(segments.c.type == kind).order_by(segments.c.event_seq)
        )
        return [row.body for row in found]


# ── who ──────────────────────────────────────────────────────────────────────────────────────────────
async def test_only_owner_and_admin_move_a_session(sessions, bob, admin, demo):
    for attempt in (
        lambda who, name: sessions.set_state(who, name, "busy"),
        sessions.busy,
        sessions.idle,
        lambda who, name: sessions.sleep(who, name, delay_s=None, note=None),
        lambda who, name: sessions.wake(who, name, prompt=None),
        sessions.cancel,
    ):
        with pytest.raises(Forbidden):
            await attempt(bob, "demo")
        with pytest.raises(NotFound):
            await attempt(admin, "nobody")
    assert (await sessions.cancel(admin, "demo")).cancelled is False


# ── hold ─────────────────────────────────────────────────────────────────────────────────────────────
async def test_a_hold_shows_busy_until_idle_is_asked_for(sessions, agents, ann, db, demo):
    before = await home_of(db, "demo")
    await sessions.busy(ann, "demo")
    view = await agents.get(ann, "demo")
    assert (view.state, view.idle_from, view.busy_from is not None) == ("busy", None, True)
    await sessions.idle(ann, "demo")
    view = await agents.get(ann, "demo")
    assert (view.state, view.busy_from) == ("idle", None)
    assert view.idle_from > before.idle_from
    assert await state_events(db, demo) == ["init", "busy", "idle"]


async def test_a_second_hold_does_not_prolong_the_first(sessions, ann, db, demo):
    await sessions.busy(ann, "demo")
    first = (await home_of(db, "demo")).busy_hold_from
    await sessions.busy(ann, "demo")
    await sessions.set_state(ann, "demo", "busy")
    assert (await home_of(db, "demo")).busy_hold_from == first


async def test_a_hold_can_begin_while_a_turn_runs_and_outlasts_it(sessions, agents, turns, ann, db, demo):
    await turns.start(ann, "demo", INPUT)
    turn = await take_turn(db, "demo")
    await sessions.busy(ann, "demo")
    await finish_turn(db, "demo", turn)
    assert (await agents.get(ann, "demo")).state == "busy"
    await sessions.idle(ann, "demo")
    assert (await agents.get(ann, "demo")).state == "idle"


async def test_idle_while_a_turn_is_processing_is_a_conflict(sessions, turns, ann, db, demo):
    await turns.start(ann, "demo", INPUT)
    await take_turn(db, "demo")
    for attempt in (
        sessions.idle(ann, "demo"),
        sessions.set_state(ann, "demo", "idle"),
        sessions.set_state(ann, "demo", "init"),
    ):
        with pytest.raises(Conflict):
            await attempt
    assert await sessions.set_state(ann, "demo", "busy") == "busy"


# ── state by name ────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("state", SHOWN)
async def test_the_present_state_changes_nothing(sessions, agents, ann, db, demo, state):
    await set_home(db, "demo", state=state)
    before = await home_of(db, "demo")
    assert await sessions.set_state(ann, "demo", state) == state
    assert await home_of(db, "demo") == before


@pytest.mark.parametrize("state", ["idle", "busy", "slept"])
async def test_init_cannot_be_asked_for(sessions, ann, db, demo, state):
    await set_home(db, "demo", state=state)
    with pytest.raises(BadRequest):
        await sessions.set_state(ann, "demo", "init")


@pytest.mark.parametrize("state", ["paused", "terminated", "", "IDLE", "idle\n"])
async def test_unknown_states_are_refused(sessions, ann, demo, state):
    with pytest.raises(BadRequest):
        await sessions.set_state(ann, "demo", state)


async def test_busy_while_asleep_is_a_conflict(sessions, ann, db, demo):
    await set_home(db, "demo", state="slept")
    with pytest.raises(Conflict):
        await sessions.set_state(ann, "demo", "busy")
    with pytest.raises(Conflict):
        await sessions.busy(ann, "demo")


async def test_idle_while_asleep_wakes(sessions, agents, ann, db, demo):
    await set_home(db, "demo", state="slept", idle_from=None)
    assert await sessions.set_state(ann, "demo", "idle") == "idle"
    row = await home_of(db, "demo")
    assert (row.state, row.desired) == ("init", "idle")
    await set_home(db, "demo", state="slept", desired=None)
    await sessions.idle(ann, "demo")
    assert (await agents.get(ann, "demo")).state == "init"


async def test_slept_sleeps_at_once_and_settles_everything(sessions, agents, turns, ann, db, demo):
    await turns.start(ann, "demo", INPUT)
    await turns.start(ann, "demo", INPUT)
    await take_turn(db, "demo")
    await sessions.sleep(ann, "demo", delay_s=60, note="later")
    async with db.transaction() as conn:
        await conn.execute(runs.insert().values(id=func.gen_random_uuid(), session_id=demo))
    assert await sessions.set_state(ann, "demo", "slept") == "slept"
    first, second, marker = await turn_rows(db, "demo")
    assert [(turn.status, turn.kind) for turn in (first, second, marker)] == [
        ("cancelled", "input"),
        ("cancelled", "input"),
        ("completed", "marker"),
    ]
    assert await segment_types(db, first.id) == ["cancelled"]
    assert await segment_types(db, second.id) == ["note", "cancelled"]
    assert await segment_types(db, marker.id) == ["slept"]
    view = await agents.get(ann, "demo")
    assert (view.state, view.idle_from, view.busy_from) == ("slept", None, None)
    row = await home_of(db, "demo")
    assert (row.state, row.desired, row.sleep_at, row.sleep_note) == ("slept", "slept", None, None)
    async with db.reading() as conn:
        assert await conn.scalar(select(runs.c.ended_at)) is not None
    (slept,) = await bodies(db, "slept")
    assert (slept["reason"], slept["by"], slept["note"]) == ("user", "ann", None)


# ── sleep and wake ───────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(("asked", "delay_s"), [(None, 5), (-3, 5), (0, 5), (5, 5), (90, 90), (604_800, 604_800)])
async def test_sleep_is_planned_with_its_note(sessions, ann, db, demo, asked, delay_s):
    view = await sessions.sleep(ann, "demo", delay_s=asked, note="good\x00night")
    assert view.state == "idle"
    row = await home_of(db, "demo")
    async with db.reading() as conn:
        left_s = (row.sleep_at - await conn.scalar(select(func.now()))).total_seconds()
    assert delay_s - 5 < left_s <= delay_s
    assert (row.sleep_note, row.sleep_by, row.state) == ("good\ufffdnight", "ann", "idle")


async def test_a_second_sleep_replaces_the_first(sessions, ann, admin, db, demo):
    await sessions.sleep(ann, "demo", delay_s=600, note="one")
    first = (await home_of(db, "demo")).sleep_at
    await sessions.sleep(admin, "demo", delay_s=10, note=None)
    row = await home_of(db, "demo")
    assert row.sleep_at < first
    assert (row.sleep_note, row.sleep_by) == (None, "admin")


@pytest.mark.parametrize("state", ["slept", "error", "paused"])
async def test_sleeping_asleep_is_refused(sessions, ann, db, demo, state):
    await set_home(db, "demo", state=state)
    with pytest.raises(BadRequest):
        await sessions.sleep(ann, "demo", delay_s=None, note=None)


async def test_a_delay_has_an_end(sessions, ann, demo):
    with pytest.raises(BadRequest):
        await sessions.sleep(ann, "demo", delay_s=604_801, note=None)


@pytest.mark.parametrize("state", ["init", "idle", "busy"])
async def test_waking_the_awake_is_refused(sessions, ann, db, demo, state):
    await set_home(db, "demo", state=state)
    with pytest.raises(BadRequest):
        await sessions.wake(ann, "demo", prompt=None)


@pytest.mark.parametrize("state", ["slept", "error", "paused"])
async def test_wake_marks_itself_and_starts_with_its_prompt(sessions, ann, db, demo, state):
    await set_home(db, "demo", state=state, sleep_at=func.now(), sleep_note="old")
    view = await sessions.wake(ann, "demo", prompt="morning")
    assert view.state == "init"
    marker, turn = await turn_rows(db, "demo")
    assert (marker.kind, marker.status, marker.input) == ("marker", "completed", {"content": []})
    assert (turn.status, turn.input["content"][0]["content"]) == ("pending", "morning")
    (woke,) = await bodies(db, "woke")
    assert (woke["reason"], woke["by"]) == ("user_wake", "ann")
    row = await home_of(db, "demo")
    assert (row.state, row.desired, row.sleep_at, row.sleep_note) == ("init", "idle", None, None)


async def test_a_wake_prompt_must_hold_text_and_have_room(sessions, agents, ann, db, demo):
    await set_home(db, "demo", state="slept")
    with pytest.raises(BadRequest):
        await sessions.wake(ann, "demo", prompt=" ")
    assert (await agents.get(ann, "demo")).state == "slept"
    sessions._limits = QueueLimits(per_session=1, per_space=0)
    with pytest.raises(Exception, match="waiting in space"):
        await sessions.wake(ann, "demo", prompt="x")
    assert (await sessions.wake(ann, "demo", prompt=None)).state == "init"


# ── cancel ───────────────────────────────────────────────────────────────────────────────────────────
async def test_cancel_with_nothing_to_cancel(sessions, ann, db, demo):
    assert (await sessions.cancel(ann, "demo")).cancelled is False
    await set_home(db, "demo", state="slept")
    assert (await sessions.cancel(ann, "demo")).cancelled is False
    assert await turn_rows(db, "demo") == []


async def test_cancel_settles_the_newest_pending_turn(sessions, agents, turns, ann, db, demo):
    first = await turns.start(ann, "demo", INPUT)
    second = await turns.start(ann, "demo", INPUT)
    assert (await sessions.cancel(ann, "demo")).cancelled is True
    assert (await turns.get(ann, "demo", first.id)).status == "pending"
    cancelled = await turns.get(ann, "demo", second.id)
    assert cancelled.status == "cancelled"
    assert [(item["type"], item["reason"]) for item in cancelled.segments] == [("cancelled", "user_cancel")]
    assert (await sessions.cancel(ann, "demo")).cancelled is True
    assert (await sessions.cancel(ann, "demo")).cancelled is False
    assert (await agents.get(ann, "demo")).state == "idle"


async def test_cancel_settles_the_processing_turn_first_and_the_queue_goes_on(sessions, agents, turns, ann, db, demo):
    first = await turns.start(ann, "demo", INPUT)
    second = await turns.start(ann, "demo", INPUT)
    await take_turn(db, "demo")
    assert (await sessions.cancel(ann, "demo")).cancelled is True
    assert (await turns.get(ann, "demo", first.id)).status == "cancelled"
    assert (await turns.get(ann, "demo", second.id)).status == "pending"
    row = await home_of(db, "demo")
    assert (row.state, row.idle_from is not None, row.busy_from) == ("idle", True, None)
    assert await take_turn(db, "demo") == second.id


async def test_cancel_while_init_drops_the_prompt(sessions, agents, ann, db):
    await agents.create(ann, NewAgent("demo", prompt="x"))
    assert (await sessions.cancel(ann, "demo")).cancelled is True
    row = await home_of(db, "demo")
    assert (row.state, row.desired) == ("init", "idle")


# ── what is shown ────────────────────────────────────────────────────────────────────────────────────
async def test_sql_and_rule_show_the_same_state(agents, turns, sessions, ann, db, demo):
    states = ("init", "idle", "busy", "paused", "slept", "error")
    for state, on_hold, queued in itertools.product(states, (False, True), (False, True)):
        await set_home(db, "demo", state="idle", busy_hold_from=None)
        while (await sessions.cancel(ann, "demo")).cancelled:
            pass
        if queued:
            await turns.start(ann, "demo", INPUT)
        await set_home(db, "demo", state=state, busy_hold_from=func.now() if on_hold else None)
        assert (await agents.get(ann, "demo")).state == shown_state(state, on_hold=on_hold, queued=queued)


async def test_another_session_is_not_counted(agents, turns, ann, db, demo):
    async with db.transaction() as conn:
        await add_session(conn, state="busy")
    await agents.create(ann, NewAgent("other"))
    await turns.start(ann, "other", INPUT)
    assert (await agents.get(ann, "demo")).state == "idle"
