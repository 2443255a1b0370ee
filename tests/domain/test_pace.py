"""So many requests a minute, and how many of those who make them are known."""

import pytest

from raworc.domain.pace import Free, Known, Wait, counted


def taken(times: int, *, now_s: float, per_minute: int, free_at_s: float = 0.0) -> float:
    for _ in range(times):
        found = counted(free_at_s, now_s, per_minute=per_minute)
        assert isinstance(found, Free)
        free_at_s = found.at_s
    return free_at_s


@pytest.mark.parametrize("per_minute", [1, 3, 7, 60, 600, 100_000])
def test_a_minute_s_worth_may_come_at_once_and_no_more(per_minute: int):
    full = taken(per_minute, now_s=1000.0, per_minute=per_minute)

    refused = counted(full, 1000.0, per_minute=per_minute)

    assert full == pytest.approx(1060.0)
    assert refused == Wait(pytest.approx(60 / per_minute, rel=1e-4))
    assert isinstance(counted(full, 1000.0 + refused.for_s, per_minute=per_minute), Free)


def test_room_comes_back_evenly():
    full = taken(60, now_s=0.0, per_minute=60)
    full = taken(2, now_s=2.0, per_minute=60, free_at_s=full)
    assert counted(full, 2.0, per_minute=60) == Wait(pytest.approx(1.0))


def test_whoever_was_away_for_long_has_a_minute_s_worth_and_no_more():
    full = taken(60, now_s=10_000.0, per_minute=60, free_at_s=60.0)
    assert isinstance(counted(full, 10_000.0, per_minute=60), Wait)


class Looked(str):
    """A caller that counts how often it is looked at."""

    __slots__ = ()
    times = 0

    def __hash__(self) -> int:
        Looked.times += 1
        return str.__hash__(self)

    def __eq__(self, other: object) -> bool:
        return str.__eq__(self, other)


def test_a_crowd_makes_no_request_cost_more():
    """None of them is looked at for another one's sake."""
    known = Known(most=500)
    Looked.times = 0
    for number in range(5_000):
        caller = Looked(number)
        known.keep(caller, known.free_at_s(caller, 1.0) + 30, 1.0)
    assert Looked.times <= 3 * 5_000
    assert len(known) <= 2 * 500


def test_whoever_asked_within_two_minutes_is_known():
    known = Known()
    known.keep("a", 61.0, 1.0)
    known.keep("b", 170.0, 115.0)
    known.keep("c", 190.0, 130.0)
    assert known.free_at_s("b", 130.0) == 170.0
    known.keep("b", 200.0, 131.0)
    assert known.free_at_s("b", 131.0) == 200.0


def test_strangers_are_forgotten():
    known = Known()
    for number in range(1_000):
        known.keep(str(number), 61.0, 1.0)
    known.keep("a", 190.0, 130.0)
    known.keep("b", 320.0, 260.0)
    assert len(known) == 2
    assert known.free_at_s("7", 260.0) == 260.0
