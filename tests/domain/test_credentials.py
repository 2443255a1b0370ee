from datetime import UTC, datetime, timedelta

import pytest

from raworc.domain.credentials import OAuth

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("left_s", "is_due", "is_over"), [(61, False, False), (60, True, False), (1, True, False), (0, True, True)]
)
def test_tokens_are_due_a_minute_before_they_are_over(left_s: int, *, is_due: bool, is_over: bool):
    tokens = OAuth("r", "https://id.example", "c", None, "access", NOW + timedelta(seconds=left_s))
    assert (tokens.is_due(NOW), tokens.is_over(NOW)) == (is_due, is_over)


def test_tokens_that_were_never_had_are_over():
    assert OAuth("r", "https://id.example", "c").is_over(NOW)
    assert OAuth("r", "https://id.example", "c", None, "access").is_due(NOW)
