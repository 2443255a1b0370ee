"""One reading for many: what each gets was read after it asked, and nobody's trouble is another's."""

import asyncio

import pytest

from raworc.services.together import Together

pytestmark = pytest.mark.anyio


class Rows:
    """Something to read that takes until it is let go. ``asked``: the keys of each reading."""

    def __init__(self) -> None:
        self.values = {"one": 1, "two": 1}
        self.asked: list[set[str]] = []
        self.failures: list[Exception] = []
        self.together = Together(self.read)
        self._begun = asyncio.Semaphore(0)
        self._go = asyncio.Semaphore(0)

    async def read(self, keys: frozenset[str]) -> dict[str, int]:
        self.asked.append(set(keys))
        self._begun.release()
        found = {key: value for key, value in self.values.items() if key in keys}
        await self._go.acquire()
        if self.failures:
            raise self.failures.pop()
        return found

    def ask(self, key: str) -> asyncio.Task[int | None]:
        return asyncio.create_task(self.together.get(key))

    async def until_read(self) -> None:
        async with asyncio.timeout(60):
            await self._begun.acquire()

    def let_go(self, times: int = 1) -> None:
        for _ in range(times):
            self._go.release()


async def test_who_asks_while_a_reading_runs_is_answered_by_one_that_begins_later():
    rows = Rows()
    early = rows.ask("one")
    await rows.until_read()
    rows.values["one"] = 2
    late = [rows.ask(key) for key in ("one", "one", "two", "none")]
    rows.let_go(2)
    assert await early == 1
    assert await asyncio.gather(*late) == [2, 2, 1, None]
    assert rows.asked == [{"one"}, {"one", "two", "none"}]


async def test_who_asks_when_nobody_reads_any_more_is_read_for():
    rows = Rows()
    rows.let_go(2)
    assert await rows.ask("one") == 1
    rows.values["one"] = 2
    assert await rows.ask("one") == 2


async def test_a_failed_reading_is_theirs_who_asked_for_it():
    rows = Rows()
    rows.failures.append(LookupError("gone"))
    early = rows.ask("one")
    await rows.until_read()
    late = rows.ask("one")
    rows.let_go(2)
    with pytest.raises(LookupError):
        await early
    assert await late == 1


async def test_one_who_goes_away_takes_nobody_along():
    rows = Rows()
    leaving, staying = rows.ask("one"), rows.ask("two")
    await rows.until_read()
    leaving.cancel()
    rows.let_go()
    assert await staying == 1
    assert leaving.cancelled()
