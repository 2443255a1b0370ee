from datetime import UTC, datetime

import pytest

from raworc.domain.retries import cool_down_s, retry_after_s, wait_s

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


def pause(status: int | None, *headers: tuple[bytes, bytes], retries: int = 0, chance: float = 0.5) -> float | None:
    return wait_s(status, headers, retries=retries, first_s=1.0, chance=chance, now=NOW)


@pytest.mark.parametrize("status", [None, 500, 502, 503, 504, 520, 529])
def test_what_may_pass_is_tried_again_twice(status: int | None):
    assert [pause(status, retries=retries) for retries in range(3)] == [1.0, 2.0, None]


@pytest.mark.parametrize("status", [200, 301, 400, 401, 404, 413, 429, 501])
def test_answers_are_not_tried_again(status: int):
    assert pause(status) is None


def test_waits_are_spread():
    assert (pause(500, chance=0), pause(500, chance=1)) == (0.5, 1.5)


def test_the_provider_says_when_and_whether():
    assert pause(529, (b"Retry-After", b"30")) == 30
    assert pause(529, (b"retry-after", b"31")) is None
    assert pause(503, (b"retry-after", b"Thu, 01 Jan 2026 12:00:10 GMT")) == 10
    assert pause(500, (b"x-should-retry", b"false")) is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(b"7", 7), (b" 0.5 ", 0.5), (b"", None), (b"-1", None), (b"soon", None), (b"1e9", None), (b"\xb2", None)],
)
def test_retry_after(value: bytes, seconds: float | None):
    assert retry_after_s([(b"retry-after", value)], NOW) == seconds


def test_a_date_that_is_over_is_now():
    assert retry_after_s([(b"retry-after", b"Thu, 01 Jan 2026 11:59:00 GMT")], NOW) == 0


def test_how_long_an_account_is_spared():
    assert cool_down_s([], NOW) == 60
    assert cool_down_s([(b"retry-after", b"7")], NOW) == 7
    assert cool_down_s([(b"retry-after", b"999999999")], NOW) == 86_400
