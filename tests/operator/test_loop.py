"""The operator process as a whole: finding work, sharing it, draining, falling silent, surviving mistakes."""

import asyncio
import dataclasses
import time
from collections.abc import Sequence
from typing import Any

import pytest

from operating import NODE, World, answer, kinds
from raworc.errors import DatabaseUnavailable
from raworc.ids import SessionId, WorkerId, new_id
from raworc.operator import loop
from raworc.operator.loop import Operator
from raworc.operator.session import Parts
from raworc.services.holds import Holds
from raworc.services.steps import Steps
from raworc.services.workers import Worker
from raworc.store.notify import Listener
from waiting import until

pytestmark = pytest.mark.anyio


def bash(command: str) -> str:
    return f"```bash\n{command}\n```"


def with_steps(steps: Steps):
    def changed(parts: Parts) -> Parts:
        return dataclasses.replace(parts, desk=dataclasses.replace(parts.desk, steps=steps))

    return changed


async def test_work_is_found_without_any_notice(place: World):
    worker, stop = Worker(WorkerId(new_id()), "operator", "here"), asyncio.Event()
    async with Listener(place.db.url, ["another_channel"]) as deaf:
        operator = Operator(place.parts(place.holds(worker.id)), worker, deaf, drain_timeout_s=5)
        running = asyncio.create_task(operator.run(stop))
        await place.create()
        assert answer(await place.ask("hello")) == "You said: hello"
        assert answer(await place.ask("again")) == "You said: again"
        stop.set()
        await running


async def test_two_operators_share_sessions_and_run_nothing_twice(place: World):
    async with place.operator() as one, place.operator() as two:
        sessions = {name: await place.create(name) for name in (f"agent{n}" for n in range(6))}
        posted = [(name, await place.post(bash(f"echo {n} >> ran"), name)) for name in sessions for n in range(3)]
        for name, turn_id in posted:
            assert (await place.settled(turn_id, name)).status == "completed"
        for session_id in sessions.values():
            assert place.file(session_id, "ran") == b"0\n1\n2\n"
        assert not set(one.held) & set(two.held)
        assert set(one.held) | set(two.held) == set(sessions.values())


async def test_draining_hands_a_running_turn_back_at_its_next_step(place: World):
    async with place.operator():
        session_id = await place.create()
        turn_id = await place.post(
            bash("touch begun; while [ ! -e go ]; do sleep 0.02; done; printf a >> ran")
            + "\n"
            + bash("printf b >> ran")
        )
        await place.until_file(session_id, "begun")
        (place.settings.sessions_dir / str(session_id) / "go").touch()
    row, turn = await place.row(session_id), await place.turn_row(turn_id)
    if turn.status == "processing":  # else it was quicker than the signal
        assert (row.held_by, turn.attempts) == (None, 0)
        assert place.file(session_id, "ran") == b"a"
    async with place.operator():
        assert (await place.settled(turn_id)).status == "completed"
        assert place.file(session_id, "ran") == b"ab"


async def test_draining_does_not_wait_for_ever(place: World):
    began = time.monotonic()
    async with place.operator(drain_timeout_s=0.5):
        session_id = await place.create()
        turn_id = await place.post(bash("touch begun; sleep 1000"))
        await place.until_file(session_id, "begun")
        began = time.monotonic()
    assert time.monotonic() - began < 10
    assert await place.driver.list() == []
    assert (await place.row(session_id)).held_by is None
    async with place.operator():
        turn = await place.settled(turn_id)
        assert answer(turn) == "outcome unknown, the worker stopped"


async def test_an_operator_that_is_not_heard_stops_its_sandboxes_and_takes_its_sessions_up_again(place: World):
    """It claims nothing meanwhile, although the database answers: what it stops at once again counts as a crash."""
    polls: list[Polled] = []

    def polled(parts: Parts) -> Parts:
        polls.append(Polled(parts.holds))
        return dataclasses.replace(parts, holds=polls[0])

    async with place.operator(parts=polled) as operator:
        session_id = await place.create()
        turn_id = await place.post(bash("touch begun; while [ ! -e go ]; do sleep 0.02; done"))
        await place.until_file(session_id, "begun")
        epoch = (await place.row(session_id)).hold_epoch
        operator._worker._heard_at -= 60  # Postgres has not taken a heartbeat for a minute
        await until(lambda: not operator.held)
        seen = polls[0].times
        await until(lambda: polls[0].times >= seen + 2)
        assert (await place.row(session_id)).hold_epoch == epoch
        operator._worker.heard()
        turn = await place.settled(turn_id)
        assert answer(turn) == "outcome unknown, the worker stopped"
        assert (await place.row(session_id)).hold_epoch == epoch + 1


class Polled(Holds):
    """Counts the looks at what is held."""

    def __init__(self, holds: Holds) -> None:
        self.__dict__.update(holds.__dict__)
        self.times = 0

    async def standing(self) -> Any:
        self.times += 1
        return await super().standing()


async def test_work_pauses_while_the_database_is_away(place: World):
    class Away(Steps):
        left = 4

        async def advance(self, *given: Any) -> None:
            if self.left:
                self.left -= 1
                raise DatabaseUnavailable("The database does not answer")
            await super().advance(*given)

    away = Away(place.db)
    async with place.operator(parts=with_steps(away)):
        session_id = await place.create()
        turn = await place.ask(bash("printf x >> ran"))
        assert kinds(turn) == ["tool_call", "tool_result", "final"]
        assert (place.file(session_id, "ran"), away.left) == (b"x", 0)


async def test_a_mistake_of_ours_hurts_one_session_for_a_while_only(place: World):
    class Mistaken(Steps):
        left = 1

        async def take(self, *given: Any) -> Any:
            if self.left:
                self.left -= 1
                raise KeyError("a mistake")
            return await super().take(*given)

    async with place.operator(parts=with_steps(Mistaken(place.db))) as operator:
        first = await place.create("first")
        turn_id = await place.post("hello", "first")
        await until(lambda: first not in operator.held)
        await place.create("second")
        assert answer(await place.ask("hello", "second")) == "You said: hello"
        assert answer(await place.settled(turn_id, "first")) == "You said: hello"


async def test_a_wish_that_comes_while_a_session_is_let_go_does_not_wait_for_the_next_look(
    place: World, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(loop, "POLL_S", 60.0)  # what finds everything in the end must not find this
    ended, seen = asyncio.Event(), asyncio.Event()

    class Lingering(Holds):
        async def release(self, session_ids: Sequence[SessionId]) -> None:
            await super().release(session_ids)
            ended.set()
            await asyncio.wait_for(seen.wait(), 60)

    def lingering(parts: Parts) -> Parts:
        holds = Lingering(place.db, parts.holds._worker_id, NODE, lambda _other: False)
        return dataclasses.replace(parts, holds=holds)

    async with place.operator(parts=lingering) as operator:
        session_id = await place.create()
        await place.until_state(session_id, "idle")
        await place.sessions.set_state(place.admin, "demo", "slept")
        await asyncio.wait_for(ended.wait(), 60)
        await place.sessions.wake(place.admin, "demo", prompt=None)
        await until(lambda: operator._held[session_id].is_kicked)
        seen.set()
        await place.until_state(session_id, "idle")


async def test_a_turn_that_was_settled_stops_even_when_the_notice_is_lost(place: World):
    worker, stop = Worker(WorkerId(new_id()), "operator", NODE), asyncio.Event()
    async with Listener(place.db.url, ["another_channel"]) as deaf:
        operator = Operator(place.parts(place.holds(worker.id)), worker, deaf, drain_timeout_s=5)
        running = asyncio.create_task(operator.run(stop))
        session_id = await place.create()
        await place.post(bash("touch begun; sleep 1000 & wait; touch survived"))
        await place.until_file(session_id, "begun")
        assert (await place.sessions.cancel(place.admin, "demo")).cancelled
        await until(lambda: not operator._held[session_id].works)
        stop.set()
        await running
        assert place.file(session_id, "survived") is None
