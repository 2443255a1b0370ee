import asyncio
import random
from contextlib import aclosing

import pytest

from outage import away
from raworc.errors import Forbidden, NotFound
from raworc.ids import new_id
from raworc.services import progress
from raworc.services.agents import NewAgent
from raworc.services.events import Events
from raworc.store.notify import notify_delta
from rows import finish_turn, open_sandbox, take_turn
from waiting import until

pytestmark = pytest.mark.anyio

INPUT = {"content": [{"type": "text", "content": "hi"}]}


@pytest.fixture
async def demo(agents, ann, db):
    await agents.create(ann, NewAgent("demo"))
    return await open_sandbox(db, "demo")


async def say(db, session_id, turn_id, text):
    async with db.transaction() as conn:
        await progress.append(conn, session_id, turn_id, [{"type": "note", "level": "info", "text": text}])


async def collect(stream, until):
    """Events but pings, up to the first for which ``until`` holds, or the stream's end."""
    found = []
    async with aclosing(stream), asyncio.timeout(60):
        async for event in stream:
            if event.name != "ping":
                found.append(event)
                if until(event):
                    break
    return found


def never(_):
    return False


def brief(events):
    return [
        (event.name, event.data.get("status") or event.data.get("state") or event.data.get("seq")) for event in events
    ]


async def run_turn(db, turns, ann, text="done"):
    view = await turns.start(ann, "demo", INPUT)
    await take_turn(db, "demo")
    await finish_turn(db, "demo", view.id, text)
    return view


async def test_a_settled_responses_stream_is_all_of_it_and_ends(events, turns, ann, db, demo):
    view = await run_turn(db, turns, ann)
    found = await collect(events.stream(ann, "demo", turn_id=view.id, after=None), never)
    assert brief(found) == [
        ("response", "pending"),
        ("response", "processing"),
        ("segment", 1),
        ("response", "completed"),
    ]
    assert [event.id for event in found] == sorted({event.id for event in found})
    segment = {"type": "final", "channel": "final", "text": "done"}
    assert found[2].data == {"response_id": str(view.id), "seq": 1, "segment": segment}
    first, last = found[0].data, found[-1].data
    assert sorted(last) == sorted(
        ["id", "agent_name", "status", "input_content", "output_content", "created_at", "updated_at"]
    )
    assert (first["output_content"], last["output_content"]) == ([], [{"type": "text", "content": "done"}])
    done = await turns.get(ann, "demo", view.id)
    assert last["updated_at"] == done.updated_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    assert first["updated_at"] < last["updated_at"]


async def test_resuming_anywhere_has_neither_gap_nor_repeat(events, turns, ann, db, demo):
    view = await run_turn(db, turns, ann)
    whole = await collect(events.stream(ann, "demo", turn_id=view.id, after=None), never)
    for number, event in enumerate(whole):
        rest = await collect(events.stream(ann, "demo", turn_id=view.id, after=event.id), never)
        assert rest == whole[number + 1 :]
    assert await collect(events.stream(ann, "demo", turn_id=view.id, after=10**12), never) == []


async def test_a_live_stream_shows_segments_as_they_come_and_ends(events, turns, ann, db, demo):
    view = await turns.start(ann, "demo", INPUT)
    reading = asyncio.create_task(collect(events.stream(ann, "demo", turn_id=view.id, after=None), never))
    await take_turn(db, "demo")
    for text in "abc":
        await say(db, demo, view.id, text)
    await finish_turn(db, "demo", view.id)
    found = await asyncio.wait_for(reading, 60)
    texts = [event.data["segment"]["text"] for event in found if event.name == "segment"]
    assert texts == ["a", "b", "c", "done"]
    assert found[-1].data["status"] == "completed"


async def test_an_agents_stream_begins_now_or_where_it_is_told(events, turns, ann, db, demo):
    first = await run_turn(db, turns, ann, "one")
    stream = events.stream(ann, "demo", turn_id=None, after=None)
    assert (await anext(stream)).name == "ping"
    second = await run_turn(db, turns, ann, "two")
    live = await collect(stream, lambda event: event.data.get("state") == "idle")
    assert {event.data.get("id") for event in live if event.name == "response"} == {str(second.id)}
    last = live[-1].id
    whole = await collect(events.stream(ann, "demo", turn_id=None, after=0), lambda event: event.id == last)
    assert [event.id for event in whole] == list(range(1, last + 1))
    assert whole[-len(live) :] == live
    assert {event.data.get("id") for event in whole if event.name == "response"} == {str(first.id), str(second.id)}


async def test_states_are_the_contracts_words(events, sessions, ann, db, demo):
    stream = events.stream(ann, "demo", turn_id=None, after=0)
    await sessions.busy(ann, "demo")
    await sessions.idle(ann, "demo")
    async with db.transaction() as conn:
        await progress.state_event(conn, demo, "error")
    found = await collect(stream, lambda event: event.data.get("state") == "slept")
    assert brief(found) == [("state", "init"), ("state", "busy"), ("state", "idle"), ("state", "slept")]


async def test_running_text_reaches_its_streams_without_an_id(events, turns, ann, db, demo):
    view, other = await turns.start(ann, "demo", INPUT), await turns.start(ann, "demo", INPUT)
    mine = events.stream(ann, "demo", turn_id=view.id, after=10**6)
    everything = events.stream(ann, "demo", turn_id=None, after=10**6)
    assert [(await anext(stream)).name for stream in (mine, everything)] == ["ping", "ping"]
    until_last = [collect(stream, lambda event: event.data.get("text") == "last") for stream in (mine, everything)]
    readers = [asyncio.create_task(reading) for reading in until_last]
    for turn_id, text in ((view.id, "one"), (other.id, "two"), (view.id, "last")):
        async with db.transaction() as conn:
            await notify_delta(conn, demo, turn_id, "final", text)
    of_turn, of_agent = await asyncio.gather(*readers)
    assert [event.data["text"] for event in of_turn] == ["one", "last"]
    assert [event.data["text"] for event in of_agent] == ["one", "two", "last"]
    assert of_turn[0].data == {"response_id": str(view.id), "channel": "final", "text": "one"}
    assert {(event.id, event.name) for event in of_agent} == {(None, "delta")}


async def test_a_silent_stream_pings(events, ann, demo):
    stream = events.stream(ann, "demo", turn_id=None, after=None)
    async with aclosing(stream), asyncio.timeout(60):
        assert [(await anext(stream)).name for _ in range(3)] == ["ping"] * 3


async def test_streams_check_first(events, agents, turns, ann, bob, demo):
    await agents.create(bob, NewAgent("bobs"))
    foreign = await turns.start(bob, "bobs", INPUT)
    for name, turn_id, error in (
        ("nobody", None, NotFound),
        ("bobs", None, Forbidden),
        ("demo", foreign.id, NotFound),
        ("demo", new_id(), NotFound),
    ):
        with pytest.raises(error):
            await anext(events.stream(ann, name, turn_id=turn_id, after=None))


async def test_streams_end_with_their_agent(events, agents, turns, ann, demo):
    view = await turns.start(ann, "demo", INPUT)
    streams = [events.stream(ann, "demo", turn_id=turn_id, after=None) for turn_id in (None, view.id)]
    reading = [asyncio.create_task(collect(stream, never)) for stream in streams]
    await turns.count(ann, "demo")
    await agents.delete(ann, "demo")
    of_agent, of_turn = await asyncio.wait_for(asyncio.gather(*reading, return_exceptions=True), 60)
    for found in (of_agent, of_turn):
        assert isinstance(found, NotFound) or not found or found[-1].data.get("status", "cancelled") == "cancelled"


async def test_a_stream_of_an_agent_made_anew_under_the_name_ends(events, agents, ann, demo):
    stream = events.stream(ann, "demo", turn_id=None, after=10**6)
    assert (await anext(stream)).name == "ping"
    await agents.delete(ann, "demo")
    await agents.create(ann, NewAgent("demo"))
    assert await collect(stream, never) == []


async def test_lost_notices_lose_no_event(db, listener, turns, ann, demo):
    view = await turns.start(ann, "demo", INPUT)
    patient = Events(db, listener, ping_s=60)  # no ping looks after what the loss hides
    stream = patient.stream(ann, "demo", turn_id=view.id, after=None)
    reading = asyncio.create_task(collect(stream, lambda event: event.name == "segment"))
    await take_turn(db, "demo")
    await until(lambda: listener._subscribers.get(str(demo)))
    (subscription,) = listener._subscribers[str(demo)]
    subscription.put = lambda _: subscription.lose()
    await say(db, demo, view.id, "a")
    assert (await asyncio.wait_for(reading, 60))[-1].data["segment"]["text"] == "a"


async def test_a_stream_outlasts_the_database(watched, listener, turns, ann, db, demo, postgres):  # noqa: PLR0917  fixtures
    view = await turns.start(ann, "demo", INPUT)
    stream = Events(watched, listener, ping_s=60).stream(ann, "demo", turn_id=view.id, after=None)
    assert (await anext(stream)).name == "ping"
    reading = asyncio.create_task(collect(stream, never))
    await take_turn(db, "demo")
    async with away(postgres, watched, misses=2):
        pass
    await finish_turn(db, "demo", view.id)
    assert (await asyncio.wait_for(reading, 60))[-1].data["status"] == "completed"


async def test_more_events_than_a_batch_come_in_order(events, turns, ann, db, demo):
    view = await turns.start(ann, "demo", INPUT)
    await take_turn(db, "demo")
    async with db.transaction() as conn:
        await progress.append(conn, demo, view.id, [{"type": "note", "text": str(number)} for number in range(100)])
    await finish_turn(db, "demo", view.id)
    found = await collect(events.stream(ann, "demo", turn_id=view.id, after=None), never)
    assert [event.data["seq"] for event in found if event.name == "segment"] == list(range(1, 102))


async def test_many_writers_and_readers_that_come_and_go_see_every_event_once(events, turns, ann, db, demo):
    view = await turns.start(ann, "demo", INPUT)
    await take_turn(db, "demo")
    chance = random.Random(7)  # noqa: S311  a seed, so that a failure comes again

    async def write(number):
        for step in range(10):
            await say(db, demo, view.id, f"{number}.{step}")

    async def read():
        seen, after = [], 0
        while not (seen and seen[-1].data.get("status") == "completed"):
            breaths = iter(range(chance.randrange(1, 12)))
            stream = events.stream(ann, "demo", turn_id=view.id, after=after)
            part = await collect(stream, lambda _, left=breaths: next(left, None) is None)
            seen += part
            after = seen[-1].id if seen else 0
        return seen

    readers = [asyncio.create_task(read()) for _ in range(3)]
    await asyncio.gather(*(write(number) for number in range(3)))
    await finish_turn(db, "demo", view.id)
    for seen in await asyncio.wait_for(asyncio.gather(*readers), 30):
        ids = [event.id for event in seen]
        assert ids == sorted(set(ids))
        assert [event.data["seq"] for event in seen if event.name == "segment"] == list(range(1, 32))
