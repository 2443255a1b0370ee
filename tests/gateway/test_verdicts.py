"""What is known of credentials, while the database answers, is away, or says nothing."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from raworc.errors import DatabaseUnavailable, Unauthorized, Unavailable
from raworc.gateway import verdicts as module
from raworc.gateway.verdicts import FRESH_S, LAST_GOOD_S, Verdicts
from waiting import until

pytestmark = pytest.mark.anyio


@dataclass
class Asked:
    """Answers with its number of questions; ``away`` refuses, a ``holding`` one waits until it is let go."""

    away: bool = False
    revoked: bool = False
    holding: bool = False
    number: int = 0
    go: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, _credential: str) -> int:
        self.number += 1
        number = self.number
        if self.holding:
            await self.go.wait()
        if self.away:
            raise DatabaseUnavailable("away")
        if self.revoked:
            raise Unauthorized("revoked")
        return number


@pytest.fixture
async def known(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Verdicts[int], Asked, list[float]]]:
    """Verdicts on one credential that was found once, a second and more ago; the clock in seconds."""
    monkeypatch.setattr(module, "PATIENCE_S", 0.01)
    asked, now = Asked(), [0.0]
    verdicts = Verdicts(asked, lambda: now[0])
    assert await verdicts.of("one") == 1
    assert await verdicts.of("one") == 1
    now[0] = FRESH_S
    yield verdicts, asked, now
    asked.go.set()
    await until(lambda: verdicts._asking == {})


async def test_callers_at_once_ask_once(known: tuple[Verdicts[int], Asked, list[float]]) -> None:
    verdicts, asked, _ = known
    assert await asyncio.gather(*(verdicts.of("one") for _ in range(20))) == [2] * 20
    assert asked.number == 2


async def test_a_database_that_says_nothing_holds_nobody_up(known: tuple[Verdicts[int], Asked, list[float]]) -> None:
    verdicts, asked, now = known
    asked.holding = True
    assert await verdicts.of("one") == 1
    with pytest.raises(Unavailable):
        await verdicts.of("another")
    now[0] += FRESH_S
    assert await asyncio.gather(*(verdicts.of("one") for _ in range(20))) == [1] * 20
    assert asked.number == 3
    asked.go.set()
    await until(lambda: verdicts._asking == {})
    assert await verdicts.of("one") == 2


async def test_an_answer_that_comes_late_counts(known: tuple[Verdicts[int], Asked, list[float]]) -> None:
    verdicts, asked, _ = known
    asked.holding = asked.revoked = True
    assert await verdicts.of("one") == 1
    asked.go.set()
    await until(lambda: verdicts._asking == {})
    with pytest.raises(Unauthorized):
        await verdicts.of("one")


async def test_one_try_a_second_while_it_is_away(known: tuple[Verdicts[int], Asked, list[float]]) -> None:
    verdicts, asked, now = known
    asked.away = True
    assert [await verdicts.of("one") for _ in range(20)] == [1] * 20
    assert asked.number == 2
    now[0] = LAST_GOOD_S
    with pytest.raises(Unavailable):
        await verdicts.of("one")


async def test_who_leaves_takes_nobodys_answer_away(known: tuple[Verdicts[int], Asked, list[float]]) -> None:
    verdicts, asked, _ = known
    asked.holding = True
    leaving = asyncio.create_task(verdicts.of("two"))
    await until(lambda: asked.number == 2)
    waiting = asyncio.create_task(verdicts.of("two"))
    leaving.cancel()
    asked.go.set()
    assert await waiting == 2


async def test_who_calls_again_and_again_never_waits(known: tuple[Verdicts[int], Asked, list[float]]) -> None:
    verdicts, asked, now = known
    assert await verdicts.of("one") == 2
    asked.holding = True
    now[0] += FRESH_S * 0.6
    assert [await verdicts.of("one") for _ in range(3)] == [2] * 3
    await until(lambda: asked.number == 3)
    asked.go.set()
    await until(lambda: verdicts._asking == {})
    assert await verdicts.of("one") == 3
    assert asked.number == 3, "one question for all who called meanwhile"


async def test_what_ended_is_refused_as_soon_as_that_is_known(known: tuple[Verdicts[int], Asked, list[float]]) -> None:
    verdicts, asked, now = known
    assert await verdicts.of("one") == 2
    asked.revoked = True
    now[0] += FRESH_S * 0.6
    assert await verdicts.of("one") == 2
    await until(lambda: verdicts._asking == {})
    with pytest.raises(Unauthorized):
        await verdicts.of("one")


async def test_nothing_holds_longer_than_the_last_good_one_may(
    known: tuple[Verdicts[int], Asked, list[float]],
) -> None:
    verdicts, asked, now = known
    asked.away = True
    while now[0] < LAST_GOOD_S - 1:
        assert await verdicts.of("one") == 1
        await until(lambda: verdicts._asking == {})
        now[0] += FRESH_S * 0.6
    assert asked.number <= 2 * LAST_GOOD_S / FRESH_S
    now[0] = LAST_GOOD_S + FRESH_S
    with pytest.raises(Unavailable):
        await verdicts.of("one")
