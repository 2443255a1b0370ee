"""How long outputs are shortened."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raworc.domain.output import Captured, shown

CASES = {
    "short": (Captured("abc"), 8, "abc"),
    "exactly full": (Captured("abcdefgh"), 8, "abcdefgh"),
    "one too many": (Captured("abcdefghi"), 8, "abcd\n[... 1 characters left out ...]\nfghi"),
    "cut while collected": (Captured("abc", "xyz", 5), 8, "abc\n[... 5 characters left out ...]\nxyz"),
    "cut twice": (Captured("abcde", "vwxyz", 5), 8, "abcd\n[... 7 characters left out ...]\nwxyz"),
    "nothing after the gap": (Captured("abc", "", 5), 8, "abc\n[... 5 characters left out ...]\n"),
}


@pytest.mark.parametrize(("captured", "limit", "expected"), CASES.values(), ids=CASES)
def test_shown(captured: Captured, limit: int, expected: str):
    assert shown(captured, limit) == expected


kept = st.text("ab\n")


@given(kept, kept, st.integers(0, 99), st.integers(2, 50))
def test_nothing_is_uncounted(head: str, tail: str, left_out: int, limit: int):
    answer = shown(Captured(head, tail, left_out), limit)
    if "left out" not in answer:
        assert (answer, left_out) == (head + tail, 0)
        return
    before, _, rest = answer.partition("\n[... ")
    count, _, after = rest.partition(" characters left out ...]\n")
    assert len(before) + int(count) + len(after) == len(head) + len(tail) + left_out
    assert len(before) + len(after) <= limit
