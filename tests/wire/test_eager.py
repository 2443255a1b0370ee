"""Coroutines that run at once: as tasks do, but for the turns of the event loop."""

import asyncio
from collections.abc import Callable

import pytest

from raworc.wire.eager import EagerTask, Wake, in_task, next_turn
from waiting import until

pytestmark = pytest.mark.anyio


class Story:
    """What happened, in order, and what is to happen outside of every task."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.said: list[str] = []

    async def of(self, *acts: Callable[[], object]) -> list[str]:
        """What is said while the event loop, and no task, does this."""
        done = asyncio.Event()

        def act() -> None:
            for one in acts:
                one()
                self.said.append("|")
            done.set()

        self.loop.call_soon(act)
        await done.wait()
        return self.said


async def test_it_runs_within_who_begins_and_wakes_it() -> None:
    story = Story()
    wakes = [Wake(story.loop), Wake(story.loop)]

    async def work() -> None:
        for number, wake in enumerate(wakes):
            story.said.append(f"waits {number}")
            await wake
        assert asyncio.current_task() is None
        story.said.append("ends")

    task = EagerTask(work(), story.loop)
    said = await story.of(task.run, wakes[0].set, wakes[0].set, wakes[1].set)
    assert said == ["waits 0", "|", "waits 1", "|", "|", "ends", "|"]
    assert not task.cancel()


async def test_it_becomes_a_task_with_whatever_else_it_awaits() -> None:
    story, ended = Story(), asyncio.Event()
    wake: list[Wake] = []

    async def work() -> None:
        await in_task()
        assert asyncio.current_task() is not None
        async with asyncio.timeout(60):
            await asyncio.to_thread(int)
        wake.append(Wake(story.loop))
        await wake[0]
        await next_turn()
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(lambda: 1 // 0)
        ended.set()

    task = EagerTask(work(), story.loop)
    await story.of(task.run)
    await until(lambda: bool(wake))
    wake[0].set()
    async with asyncio.timeout(60):
        await ended.wait()


async def test_a_turn_lets_others_go_first() -> None:
    story, over = Story(), asyncio.Event()

    async def work() -> None:
        story.loop.call_soon(story.said.append, "another")
        await next_turn()
        story.said.append(f"goes on {asyncio.current_task()}")
        over.set()

    task = EagerTask(work(), story.loop)
    await story.of(task.run)
    await over.wait()
    assert story.said == ["|", "another", "goes on None"]


@pytest.mark.parametrize("becomes_a_task", [False, True])
@pytest.mark.parametrize("by_a_task", [False, True])
async def test_who_is_cancelled_ends_once(*, becomes_a_task: bool, by_a_task: bool) -> None:
    story, over = Story(), asyncio.Event()
    wake = Wake(story.loop)

    async def work() -> None:
        try:
            if becomes_a_task:
                await in_task()
            story.said.append("waits")
            await wake
        except asyncio.CancelledError:
            story.said.append("cancelled")
            task.uncancel()
            await next_turn()
            over.set()

    task = EagerTask(work(), story.loop)
    await story.of(task.run)
    await until(lambda: "waits" in story.said)
    if by_a_task:
        assert task.cancel()
    else:
        await story.of(task.cancel)
    wake.set()
    async with asyncio.timeout(60):
        await over.wait()
    assert story.said.count("cancelled") == 1


@pytest.mark.parametrize("becomes_a_task", [False, True])
async def test_who_is_cancelled_while_running_is_so_where_it_waits_next(*, becomes_a_task: bool) -> None:
    story, over = Story(), asyncio.Event()

    async def work() -> None:
        assert task.cancel()
        try:
            await (in_task() if becomes_a_task else Wake(story.loop))
        finally:
            over.set()

    task = EagerTask(work(), story.loop)
    await story.of(task.run)
    async with asyncio.timeout(60):
        await over.wait()


async def test_who_is_cancelled_before_his_task_began_hears_of_it() -> None:
    story, over = Story(), asyncio.Event()

    async def work() -> None:
        try:
            await in_task()
        except asyncio.CancelledError:
            over.set()

    task = EagerTask(work(), story.loop)
    await story.of(task.run, task.cancel)
    async with asyncio.timeout(60):
        await over.wait()
