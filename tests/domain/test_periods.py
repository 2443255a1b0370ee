"""Periods as days, hours and rests: every moment once."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from raworc.domain.periods import LENGTHS, Cell, spans, stretch

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
moments = st.one_of(
    st.integers(0, 5 * 24).map(lambda hours: BEGIN + timedelta(hours=hours)),
    st.integers(0, 5 * 86_400_000_000).map(lambda us: BEGIN + timedelta(microseconds=us)),
)


@given(st.lists(moments, min_size=2, max_size=2).map(sorted), st.sampled_from(["day", "hour"]))
def test_the_spans_are_the_period_and_its_long_ones_are_whole(bounds, coarsest):
    start, end = bounds
    found = spans(start, end, coarsest)
    edges = [edge for span in found for edge in (span.start, span.end)]
    assert edges[:1] + edges[-1:] == ([start, end] if start < end else [])
    assert edges[1:-1:2] == edges[2:-1:2]
    for span in found:
        assert span.start < span.end
        if span.grain != "call":
            assert (span.start - BEGIN) % LENGTHS[span.grain] == timedelta(0)
            assert (span.end - BEGIN) % LENGTHS[span.grain] == timedelta(0)
        else:
            assert span.end - span.start < LENGTHS["hour"]


@given(
    st.lists(st.integers(1, 9), max_size=8),
    st.integers(0, 40),
    st.integers(1, 12),
)
def test_a_page_lies_where_its_calls_are(counts, offset, limit):
    cells = [Cell(BEGIN - timedelta(days=n + 1), BEGIN - timedelta(days=n), count) for n, count in enumerate(counts)]
    calls = [(cell.start, number) for cell in cells for number in range(cell.count)]
    place = stretch(cells, offset=offset, limit=limit)
    if place is None:
        assert offset >= len(calls)
        return
    there = [one for one in calls if place.start <= one[0] < place.end]
    assert there[place.skip :][:limit] == calls[offset : offset + limit]
    assert place.skip < max(counts)
