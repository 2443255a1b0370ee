import asyncio

import pytest
from sqlalchemy import func, update

from outage import away
from raworc.errors import BadRequest, Conflict, Forbidden, GatewayTimeout, NotFound, PayloadTooLarge, RateLimited
from raworc.ids import new_id
from raworc.services import progress
from raworc.services.agents import NewAgent
from raworc.services.turns import MAX_OUTPUT_BYTES, MAX_SEGMENT_BYTES, TurnChange, TurnPage, Turns
from raworc.store.notify import WORK, Listener, WorkNotice
from raworc.store.schema import turns as turn_table
from rows import finish_turn, home_of, open_sandbox, segment_types, set_home, take_turn, turn_rows
from waiting import until

pytestmark = pytest.mark.anyio

INPUT = {"content": [{"type": "text", "content": "hi"}]}


@pytest.fixture
async def demo(agents, ann, db):
    await agents.create(ann, NewAgent("demo"))
    return await open_sandbox(db, "demo")


# ── start ────────────────────────────────────────────────────────────────────────────────────────────
async def test_a_response_starts_pending_and_reads_back_the_same(turns, ann, demo):
    view = await turns.start(ann, "DEMO", INPUT)
    assert (view.agent_name, view.status, view.input_content) == ("demo", "pending", INPUT["content"])
    assert (view.output_content, view.segments) == ([], [])
    assert view.created_at == view.updated_at
    assert await turns.get(ann, "demo", view.id) == view


async def test_the_older_text_form_is_one_item(turns, ann, demo):
    view = await turns.start(ann, "demo", {"text": "h\x00i"})
    assert view.input_content == [{"type": "text", "content": "h\ufffdi"}]


@pytest.mark.parametrize(
    "given",
    [
        None,
        [],
        "hi",
        {},
        {"content": []},
        {"content": "hi"},
        {"content": [None]},
        {"content": ["hi"]},
        {"content": [{"content": "hi"}]},
        {"content": [{"type": "image", "content": "hi"}]},
        {"content": [{"type": "text", "content": 5}]},
        {"content": [{"type": "text"}]},
        {"content": [{"type": "text", "content": " \n"}]},
        {"text": ""},
        {"text": 7},
        {"content": [{"type": "text", "content": "hi", "x": float("inf")}]},
    ],
)
async def test_what_is_no_input_is_refused(turns, ann, db, demo, given):
    with pytest.raises(BadRequest):
        await turns.start(ann, "demo", given)
    assert await turn_rows(db, "demo") == []


async def test_others_may_not_touch_responses(turns, bob, ann, admin, demo):
    view = await turns.start(ann, "demo", INPUT)
    for attempt in (
        turns.start(bob, "demo", INPUT),
        turns.wait(bob, "demo", view.id, 1),
        turns.page(bob, "demo", 10, 0),
        turns.get(bob, "demo", view.id),
        turns.count(bob, "demo"),
        turns.change(bob, "demo", view.id, TurnChange(status="failed")),
    ):
        with pytest.raises(Forbidden):
            await attempt
    assert (await turns.get(admin, "demo", view.id)).id == view.id


async def test_a_response_of_another_agent_is_not_found(turns, agents, ann, demo):
    await agents.create(ann, NewAgent("other"))
    view = await turns.start(ann, "other", INPUT)
    for attempt in (
        turns.get(ann, "demo", view.id),
        turns.wait(ann, "demo", view.id, 1),
        turns.change(ann, "demo", view.id, TurnChange(status="failed")),
        turns.get(ann, "demo", new_id()),
    ):
        with pytest.raises(NotFound):
            await attempt


async def test_turns_wait_in_order_of_arrival(turns, ann, db, demo):
    started = [await turns.start(ann, "demo", INPUT) for _ in range(3)]
    assert await take_turn(db, "demo") == started[0].id
    await finish_turn(db, "demo", started[0].id)
    assert await take_turn(db, "demo") == started[1].id


async def test_a_slept_agent_wakes_for_a_response(turns, agents, ann, db, demo):
    await set_home(db, "demo", state="slept")
    view = await turns.start(ann, "demo", INPUT)
    marker, turn = await turn_rows(db, "demo")
    assert (marker.kind, turn.id, turn.status) == ("marker", view.id, "pending")
    (woke,) = (await turns.get(ann, "demo", marker.id)).segments
    assert (woke["type"], woke["reason"], woke["by"]) == ("woke", "implicit_wake", "ann")
    row = await home_of(db, "demo")
    assert (row.state, row.desired) == ("init", "idle")


async def test_reject_refuses_while_anything_is_open(turns, sessions, ann, db, demo):
    view = await turns.start(ann, "demo", INPUT, when_busy="reject")
    with pytest.raises(Conflict):
        await turns.start(ann, "demo", INPUT, when_busy="reject")
    await take_turn(db, "demo")
    with pytest.raises(Conflict):
        await turns.start(ann, "demo", INPUT, when_busy="reject")
    await finish_turn(db, "demo", view.id)
    await sessions.busy(ann, "demo")
    with pytest.raises(Conflict):
        await turns.start(ann, "demo", INPUT, when_busy="reject")
    await sessions.idle(ann, "demo")
    await turns.start(ann, "demo", INPUT, when_busy="reject")


async def test_interrupt_cancels_what_is_processing_and_keeps_the_queue(turns, ann, db, demo):
    first = await turns.start(ann, "demo", INPUT)
    await take_turn(db, "demo")
    second = await turns.start(ann, "demo", INPUT)
    third = await turns.start(ann, "demo", INPUT, when_busy="interrupt")
    statuses = [turn.status for turn in (await turns.page(ann, "demo", 10, 0)).turns]
    assert statuses == ["cancelled", "pending", "pending"]
    assert (await turns.get(ann, "demo", first.id)).segments[0]["reason"] == "interrupt"
    assert (await home_of(db, "demo")).state == "idle"
    assert [await take_turn(db, "demo"), third.id] == [second.id, third.id]


async def test_the_sessions_queue_has_an_end(turns, ann, db, demo):
    for _ in range(3):
        await turns.start(ann, "demo", INPUT)
    with pytest.raises(RateLimited) as caught:
        await turns.start(ann, "demo", INPUT)
    assert int(caught.value.headers["Retry-After"]) > 0
    await take_turn(db, "demo")
    await turns.start(ann, "demo", INPUT)


async def test_the_queue_is_never_overfilled_by_many_at_once(turns, ann, db, demo):
    answers = await asyncio.gather(*(turns.start(ann, "demo", INPUT) for _ in range(12)), return_exceptions=True)
    assert sum(isinstance(answer, RateLimited) for answer in answers) == 9
    assert len(await turn_rows(db, "demo")) == 3


async def test_the_spaces_queue_has_an_end(turns, agents, ann, demo):
    await agents.create(ann, NewAgent("other"))
    for name in ("demo", "demo", "demo", "other", "other"):
        await turns.start(ann, name, INPUT)
    with pytest.raises(RateLimited, match="space 'default'"):
        await turns.start(ann, "other", INPUT)


async def test_operators_are_told(turns, ann, database_url, demo):
    async with Listener(database_url, [WORK]) as listener, listener.subscribe(demo) as heard:
        await heard.get(0)
        heard.overflowed = False
        await turns.start(ann, "demo", INPUT)
        assert await heard.get(5) == WorkNotice(demo)


# ── wait ─────────────────────────────────────────────────────────────────────────────────────────────
async def test_wait_returns_when_the_turn_is_settled(turns, ann, db, demo):
    view = await turns.start(ann, "demo", INPUT)
    waiting = asyncio.create_task(turns.wait(ann, "demo", view.id, 10))
    await take_turn(db, "demo")
    await finish_turn(db, "demo", view.id, "hello")
    done = await asyncio.wait_for(waiting, 60)
    assert (done.status, done.output_content) == ("completed", [{"type": "text", "content": "hello"}])
    assert (await turns.wait(ann, "demo", view.id, 0.1)).status == "completed"


async def test_wait_ends_in_time_with_the_documented_words(turns, ann, demo):
    view = await turns.start(ann, "demo", INPUT)
    with pytest.raises(GatewayTimeout, match=r"^Timed out waiting for response to complete$"):
        await turns.wait(ann, "demo", view.id, 0.1)
    assert (await turns.get(ann, "demo", view.id)).status == "pending"


async def test_waiters_hold_no_connection(turns, ann, db, demo):
    view = await turns.start(ann, "demo", INPUT)
    waiting = [asyncio.create_task(turns.wait(ann, "demo", view.id, 30)) for _ in range(50)]
    assert (await turns.count(ann, "demo")).count == 1  # the pool has four connections
    await take_turn(db, "demo")
    await finish_turn(db, "demo", view.id)
    done = await asyncio.wait_for(asyncio.gather(*waiting), 60)
    assert {item.status for item in done} == {"completed"}


async def test_wait_outlasts_the_database(watched, listener, turns, narrow, ann, db, demo, postgres):  # noqa: PLR0917  fixtures
    view = await turns.start(ann, "demo", INPUT)
    waiting = asyncio.create_task(Turns(watched, listener, narrow).wait(ann, "demo", view.id, 30))
    await until(lambda: str(demo) in listener._subscribers)
    await take_turn(db, "demo")
    async with away(postgres, watched):
        pass
    await finish_turn(db, "demo", view.id)
    assert (await asyncio.wait_for(waiting, 60)).status == "completed"


async def test_wait_ends_with_the_cancelled_turn_when_the_agent_is_deleted(turns, agents, ann, demo):
    view = await turns.start(ann, "demo", INPUT)
    waiting = asyncio.create_task(turns.wait(ann, "demo", view.id, 10))
    await turns.count(ann, "demo")
    await agents.delete(ann, "demo")
    answer = (await asyncio.gather(waiting, return_exceptions=True))[0]
    assert isinstance(answer, NotFound) or answer.status == "cancelled"


# ── read ─────────────────────────────────────────────────────────────────────────────────────────────
async def test_pages_are_oldest_first_and_count_counts_markers(turns, sessions, ann, db, demo):
    first = await turns.start(ann, "demo", INPUT)
    await sessions.set_state(ann, "demo", "slept")
    found = (await turns.page(ann, "demo", 100, 0)).turns
    assert [turn.segments[-1]["type"] for turn in found] == ["cancelled", "slept"]
    assert found[0].id == first.id
    assert (found[1].input_content, found[1].status) == ([], "completed")
    assert (await turns.count(ann, "demo")).count == 2
    assert [turn.id for turn in (await turns.page(ann, "demo", 10**9, 1)).turns] == [found[1].id]
    for limit, offset in ((0, 0), (-1, -1), (5, 2**70)):
        assert await turns.page(ann, "demo", limit, offset) == TurnPage([], 0)


async def test_the_output_tools_items_are_the_output(turns, ann, db, demo):
    view = await turns.start(ann, "demo", INPUT)
    await take_turn(db, "demo")
    items = [{"type": "markdown", "title": "t", "content": "# x"}]
    result = {"type": "tool_result", "tool": "output", "output": {"items": items}, "is_error": False}
    async with db.transaction() as conn:
        await progress.append(conn, demo, view.id, [result])
    await finish_turn(db, "demo", view.id, "said")
    assert (await turns.get(ann, "demo", view.id)).output_content == items


# ── change from outside ──────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    "wish",
    [
        TurnChange(),
        TurnChange(status="cancelled"),
        TurnChange(status="done"),
        TurnChange(input={"content": []}),
        TurnChange(input={}),
        TurnChange(output=[]),
        TurnChange(output={"text": 5}),
        TurnChange(output={"items": {}}),
        TurnChange(output={"items": ["x"]}),
        TurnChange(output={"items": [{}, None]}),
        TurnChange(output={"n": float("nan")}),
    ],
)
async def test_a_malformed_change_is_refused(turns, ann, demo, wish):
    view = await turns.start(ann, "demo", INPUT)
    with pytest.raises(BadRequest):
        await turns.change(ann, "demo", view.id, wish)
    assert await turns.get(ann, "demo", view.id) == view


@pytest.mark.parametrize("status", ["completed", "failed"])
async def test_a_pending_turn_is_settled_without_running(turns, agents, ann, db, demo, status):
    view = await turns.start(ann, "demo", INPUT)
    done = await turns.change(ann, "demo", view.id, TurnChange(status=status, output={"text": "by hand"}))
    assert (done.status, done.output_content) == (status, [{"type": "text", "content": "by hand"}])
    assert done.updated_at > view.updated_at
    (row,) = await turn_rows(db, "demo")
    assert row.finished_at is not None
    assert (await agents.get(ann, "demo")).state == "idle"


async def test_a_processing_turn_is_settled_and_the_session_is_idle(turns, ann, db, demo):
    view = await turns.start(ann, "demo", INPUT)
    await take_turn(db, "demo")
    done = await turns.change(ann, "demo", view.id, TurnChange(status="completed"))
    assert done.status == "completed"
    assert (await home_of(db, "demo")).state == "idle"


async def test_items_append_at_any_time(turns, ann, db, demo):
    view = await turns.start(ann, "demo", INPUT)
    one, two, three = ({"type": "note", "text": word, "x": [1]} for word in "abc")
    await turns.change(ann, "demo", view.id, TurnChange(output={"items": [one]}))
    await take_turn(db, "demo")
    await turns.change(ann, "demo", view.id, TurnChange(output={"items": [two]}))
    await finish_turn(db, "demo", view.id)
    before = (await turn_rows(db, "demo"))[0]
    done = await turns.change(ann, "demo", view.id, TurnChange(output={"items": [three]}))
    assert [item.get("text") for item in done.segments] == ["a", "b", "done", "c"]
    after = (await turn_rows(db, "demo"))[0]
    assert (after.status, after.finished_at) == ("completed", before.finished_at)


async def test_segments_of_a_turn_have_an_end(turns, ann, demo):
    view = await turns.start(ann, "demo", INPUT)
    tiny = TurnChange(output={"items": [{"type": "note"}] * (MAX_SEGMENT_BYTES // 1024 - 1)})
    whole = await turns.change(ann, "demo", view.id, tiny)
    big = TurnChange(output={"items": [{"type": "note", "text": "x" * 1024}]}, status="completed")
    with pytest.raises(PayloadTooLarge, match="another response"):
        await turns.change(ann, "demo", view.id, big)
    assert (await turns.get(ann, "demo", view.id)) == whole
    last = TurnChange(output={"items": [{"type": "note", "text": "y"}]})
    assert (await turns.change(ann, "demo", view.id, last)).segments[-1]["text"] == "y"
    with pytest.raises(PayloadTooLarge):
        await turns.change(ann, "demo", view.id, last)
    assert (await turns.change(ann, "demo", view.id, TurnChange(status="completed"))).status == "completed"


async def test_the_other_keys_of_an_output_have_an_end_together(turns, ann, db, demo):
    view = await turns.start(ann, "demo", INPUT)
    half = "x" * (MAX_OUTPUT_BYTES // 2)
    await turns.change(ann, "demo", view.id, TurnChange(output={"one": half}))
    with pytest.raises(PayloadTooLarge, match="'output'"):
        await turns.change(ann, "demo", view.id, TurnChange(output={"two": half, "items": [{"type": "note"}]}))
    changed = await turns.change(ann, "demo", view.id, TurnChange(output={"one": "x", "text": half}))
    assert (changed.segments, changed.output_content[0]["content"]) == ([], half)
    assert set((await turn_rows(db, "demo"))[0].output) == {"one", "text"}


@pytest.mark.parametrize("statuses", [("completed", "failed"), ("failed", "failed")])
async def test_of_two_who_settle_a_turn_at_once_one_is_late(turns, ann, demo, statuses):
    view = await turns.start(ann, "demo", INPUT)
    changes = (turns.change(ann, "demo", view.id, TurnChange(status=status)) for status in statuses)
    answers = await asyncio.gather(*changes, return_exceptions=True)
    (late,) = [answer for answer in answers if isinstance(answer, Exception)]
    assert isinstance(late, Conflict)
    (first,) = [answer for answer in answers if not isinstance(answer, Exception)]
    assert (await turns.get(ann, "demo", view.id)).status == first.status


async def test_output_text_replaces_and_other_keys_overwrite(turns, ann, db, demo):
    view = await turns.start(ann, "demo", INPUT)
    await turns.change(ann, "demo", view.id, TurnChange(output={"text": "a", "k": 1, "l": 2}))
    done = await turns.change(ann, "demo", view.id, TurnChange(output={"text": "b", "k": {"x": "\x00"}}))
    assert done.output_content == [{"type": "text", "content": "b"}]
    assert (await turn_rows(db, "demo"))[0].output == {"text": "b", "k": {"x": "\ufffd"}, "l": 2}


async def test_input_changes_only_while_waiting(turns, ann, db, demo):
    view = await turns.start(ann, "demo", INPUT)
    done = await turns.change(ann, "demo", view.id, TurnChange(input={"text": "new"}))
    assert done.input_content == [{"type": "text", "content": "new"}]
    await take_turn(db, "demo")
    with pytest.raises(Conflict):
        await turns.change(ann, "demo", view.id, TurnChange(input=INPUT))
    await finish_turn(db, "demo", view.id)
    with pytest.raises(Conflict):
        await turns.change(ann, "demo", view.id, TurnChange(input=INPUT, output={"items": [{"type": "x"}]}))
    assert await segment_types(db, view.id) == ["final"]


async def test_statuses_move_forwards_only(turns, ann, db, demo):
    view = await turns.start(ann, "demo", INPUT)
    assert (await turns.change(ann, "demo", view.id, TurnChange(status="pending"))).status == "pending"
    with pytest.raises(Conflict):
        await turns.change(ann, "demo", view.id, TurnChange(status="processing"))
    await take_turn(db, "demo")
    assert (await turns.change(ann, "demo", view.id, TurnChange(status="processing"))).status == "processing"
    with pytest.raises(Conflict):
        await turns.change(ann, "demo", view.id, TurnChange(status="pending"))
    await finish_turn(db, "demo", view.id)
    for status in ("pending", "processing", "completed", "failed"):
        with pytest.raises(Conflict):
            await turns.change(ann, "demo", view.id, TurnChange(status=status))


async def test_a_change_keeps_the_error_of_a_failed_turn(turns, ann, db, demo):
    view = await turns.start(ann, "demo", INPUT)
    error = {"code": "x", "message": "y"}
    async with db.transaction() as conn:
        await conn.execute(update(turn_table).values(status="failed", error=error, finished_at=func.now()))
    await turns.change(ann, "demo", view.id, TurnChange(output={"text": "t", "items": [{"type": "note"}]}))
    assert (await turn_rows(db, "demo"))[0].error == error
