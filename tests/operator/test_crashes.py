"""What happens to a turn when its worker, or its sandbox, dies at each point. Tools run once at most."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from operating import World, answer, kinds, only
from raworc.domain.duties import Sleep
from raworc.domain.turns import UNKNOWN_OUTCOME
from raworc.errors import LostHold
from raworc.ids import SessionId, WorkerId, new_id
from raworc.operator.session import HeldSession
from raworc.sandbox.driver import Workspace
from raworc.services.steps import Finished, Outcome, Started, Steps
from raworc.store.database import Database
from waiting import until

pytestmark = pytest.mark.anyio

RAN_ONCE = b"x"
COUNTED = "```bash\nprintf x >> ran\n```"
COUNTED_TWICE = "```bash\nprintf x >> ran\n```\n```bash\nprintf y >> ran\n```"


class Crash(Exception):
    """The worker is dead from here on."""


class DyingSteps(Steps):
    """Dies before or after the nth call of one method."""

    def __init__(self, db: Database, method: str, number: int, *, after: bool) -> None:
        super().__init__(db)
        self._method, self._left, self._after = method, number, after

    async def take(self, *given: Any) -> Any:
        return await self._deadly("take", super().take, *given)

    async def advance(self, *given: Any) -> Any:
        return await self._deadly("advance", super().advance, *given)

    async def settle(self, *given: Any) -> Any:
        return await self._deadly("settle", super().settle, *given)

    async def _deadly(self, method: str, call: Callable[..., Awaitable[Any]], *given: Any) -> Any:
        if method != self._method:
            return await call(*given)
        self._left -= 1
        if self._left == 0 and not self._after:
            raise Crash
        answer = await call(*given)
        if self._left == 0:
            raise Crash
        return answer


async def die_at(place: World, session_id: SessionId, method: str, number: int, *, after: bool) -> None:
    """A worker takes the session, works, and dies there. What it held is not given back."""
    worker_id = WorkerId(new_id())
    hold, holds = await place.claimed(session_id, worker_id)
    dying = DyingSteps(place.db, method, number, after=after)
    with pytest.raises(Crash):
        await HeldSession(place.parts(holds, steps=dying), hold).run()
    place.dead.add(worker_id)


async def start(place: World, prompt: str) -> tuple[SessionId, Any]:
    session_id = await place.create()
    return session_id, await place.post(prompt)


AT = {
    "before the turn is taken": ("take", 1, False, "kept", 1),
    "before the model call": ("take", 1, True, "kept", 2),
    "after the model call, before its answer is stored": ("advance", 1, False, "kept", 2),
    "after the tool started": ("advance", 1, True, "unknown", 1),
    "after the tool ran, before its result is stored": ("advance", 2, False, "lost", 1),
    "after the result is stored, before the next call": ("advance", 2, True, "kept", 2),
    "before the end is stored": ("settle", 1, False, "kept", 2),
}


@pytest.mark.parametrize(("method", "number", "after", "outcome", "calls"), AT.values(), ids=AT)
async def test_a_worker_dies(place: World, method: str, number: int, after: bool, outcome: str, calls: int):
    session_id, turn_id = await start(place, COUNTED)
    await die_at(place, session_id, method, number, after=after)
    async with place.operator():
        turn = await place.settled(turn_id)
        if outcome == "kept":
            assert answer(turn) == ""
            assert place.file(session_id, "ran") == RAN_ONCE
        else:
            assert answer(turn) == UNKNOWN_OUTCOME
            assert only(turn, "tool_result")["is_error"] is True
            assert place.file(session_id, "ran") == (RAN_ONCE if outcome == "lost" else None)
        shown = [kind for kind in kinds(turn) if kind != "note"]
        assert shown == ["tool_call", "tool_result", "final"]
        row = await place.turn_row(turn_id)
        assert row.model_calls <= calls + 1
        assert (await place.row(session_id)).state == "idle"


async def test_a_worker_dies_after_the_end_is_stored(place: World):
    session_id, turn_id = await start(place, COUNTED)
    await die_at(place, session_id, "settle", 1, after=True)
    before = await place.turn(turn_id)
    async with place.operator():
        assert answer(await place.ask("next")) == "You said: next"
    assert await place.turn(turn_id) == before
    assert place.file(session_id, "ran") == RAN_ONCE


async def test_a_continued_turn_goes_on_with_the_next_tool(place: World):
    session_id, turn_id = await start(place, COUNTED_TWICE)
    await die_at(place, session_id, "advance", 2, after=True)
    async with place.operator():
        turn = await place.settled(turn_id)
        assert turn.status == "completed"
        assert place.file(session_id, "ran") == b"xy"
        assert [kind for kind in kinds(turn) if kind != "note"] == ["tool_call", "tool_result"] * 2 + ["final"]


async def test_an_unknown_outcome_is_followed_by_the_next_of_the_calls_made_at_once(place: World):
    calls = (
        '[{"name":"bash","input":{"command":"printf %s >> ran"}},{"name":"bash","input":{"command":"printf y >> ran"}}]'
    )
    session_id, turn_id = await start(place, f"```tools\n{calls % 'x'}\n```")
    await die_at(place, session_id, "advance", 1, after=True)
    async with place.operator():
        turn = await place.settled(turn_id)
        results = [segment["output"] for segment in turn.segments if segment["type"] == "tool_result"]
        assert results == [UNKNOWN_OUTCOME, ""]
        assert place.file(session_id, "ran") == b"y"


async def test_four_workers_that_die_without_a_new_segment_end_the_turn(place: World):
    session_id, turn_id = await start(place, "hello")
    for _ in range(4):
        await die_at(place, session_id, "settle", 1, after=False)
    async with place.operator():
        turn = await place.settled(turn_id)
        assert turn.status == "failed"
        assert (await place.turn_row(turn_id)).error["code"] == "operator_crash_loop"
        assert answer(await place.ask("next")) == "You said: next"


async def test_progress_forgives_earlier_deaths(place: World):
    session_id, turn_id = await start(place, COUNTED)
    for _ in range(3):
        await die_at(place, session_id, "advance", 1, after=False)
    await die_at(place, session_id, "advance", 2, after=True)
    for _ in range(3):
        await die_at(place, session_id, "settle", 1, after=False)
    async with place.operator():
        assert (await place.settled(turn_id)).status == "completed"


async def test_a_sandbox_killed_under_a_tool_is_told_and_opened_again(place: World):
    async with place.operator():
        session_id, turn_id = await start(place, "```bash\ntouch begun; sleep 1000\n```\n```bash\nls\n```")
        await place.until_file(session_id, "begun")
        kill_sandbox(place, session_id)
        turn = await place.settled(turn_id)
        assert kinds(turn) == ["tool_call", "tool_result", "tool_call", "note", "tool_result", "final"]
        first, second = [segment for segment in turn.segments if segment["type"] == "tool_result"]
        assert first["is_error"]
        assert "the sandbox stopped" in first["output"]
        assert second["output"] == "begun"


async def test_a_sandbox_that_died_while_idle_is_opened_for_the_next_turn(place: World):
    async with place.operator():
        session_id = await place.create(setup="echo up >> ups")
        await place.until_state(session_id, "idle")
        kill_sandbox(place, session_id)
        turn = await place.ask("```bash\ncat ups\n```")
        assert answer(turn) == "up\nup"
        assert "processes that ran in the background have ended" in only(turn, "note")["text"]


async def test_an_idle_session_outlives_its_operator(place: World):
    async with place.operator():
        session_id = await place.create()
        await place.until_state(session_id, "idle")
    assert (await place.row(session_id)).state == "idle"
    async with place.operator() as operator:
        assert not operator.held
        turn = await place.ask("hello")
        assert kinds(turn) == ["note", "final"]


async def test_a_taker_over_waits_until_the_old_sandbox_is_empty_and_the_zombie_writes_nothing(place: World):
    """The first worker is not dead at all: it is only taken for dead, in the middle of a tool."""
    session_id, turn_id = await start(place, "```bash\ntouch begun; while :; do printf x >> ran; sleep 0.01; done\n```")
    zombie_id = WorkerId(new_id())
    hold, holds = await place.claimed(session_id, zombie_id)
    zombie = asyncio.create_task(HeldSession(place.parts(holds), hold).run())
    await place.until_file(session_id, "begun")
    place.dead.add(zombie_id)
    async with place.operator():
        turn = await place.settled(turn_id)
        ran = place.file(session_id, "ran")
        assert answer(turn) == UNKNOWN_OUTCOME
        await zombie
        assert place.file(session_id, "ran") == ran
        assert [kind for kind in kinds(turn) if kind != "note"] == ["tool_call", "tool_result", "final"]
        for write in every_write(place, holds, hold, turn_id):
            with pytest.raises(LostHold):
                await write
        assert await place.turn(turn_id) == turn


def every_write(place: World, holds: Any, hold: Any, turn_id: Any) -> list[Awaitable[Any]]:
    parts = place.parts(holds)
    steps, runs, done = parts.desk.steps, parts.runs, Finished(2, "done", {})
    return [
        steps.take(hold, turn_id, new_id()),
        steps.resume(hold, turn_id),
        steps.start(hold, turn_id, Started(9, "model", new_id())),
        steps.advance(hold, turn_id, done, [{"type": "note"}], None),
        steps.settle(hold, turn_id, Outcome.cancelled("zombie")),
        runs.begin(hold, "life", []),
        runs.end(hold, Sleep("user")),
        runs.fail(hold, "no"),
        runs.become_idle(hold),
        runs.end_busy_hold(hold),
        runs.remove(hold),
        holds.look(hold),
    ]


async def test_a_step_is_stored_once_however_often_its_write_is_tried(place: World):
    """An answer from the database may get lost after the commit: the same write comes again."""

    class Twice(Steps):
        async def advance(self, *given: Any) -> None:
            await super().advance(*given)
            await super().advance(*given)

        async def take(self, *given: Any) -> Any:
            await super().take(*given)
            return await super().take(*given)

    session_id, turn_id = await start(place, COUNTED_TWICE)
    hold, holds = await place.claimed(session_id)
    session = HeldSession(place.parts(holds, steps=Twice(place.db)), hold)
    running = asyncio.create_task(session.run())
    turn = await place.settled(turn_id)
    assert kinds(turn) == ["tool_call", "tool_result"] * 2 + ["final"]
    assert place.file(session_id, "ran") == b"xy"
    session.drain()
    await running


def kill_sandbox(place: World, session_id: SessionId) -> None:
    life = place.driver._lives.find(session_id)
    assert life is not None
    os.kill(life.init.pid, signal.SIGKILL)


async def test_sandboxes_of_nobody_are_removed(place: World):
    """One of a session that is gone, one of a session whose worker died."""
    orphan = await place.create("orphan")
    hold, holds = await place.claimed(orphan)
    parts = place.parts(holds)
    session = HeldSession(parts, hold)
    running = asyncio.create_task(session.run())
    await place.until_state(orphan, "idle")
    stranger = await place.open_sandbox(Workspace(SessionId(new_id()), 77))
    assert len(await place.driver.list()) == 2
    place.dead.add(hold.worker_id)
    async with place.operator():

        async def empty() -> bool:
            return await place.driver.list() == []

        await until(empty)
        await stranger.wait_closed()
    session.kick()  # it learns that it lost the hold
    await running
    assert (await place.row(orphan)).held_by is None
