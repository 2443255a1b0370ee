from hypothesis import given
from hypothesis import strategies as st

from raworc.wire.heading import Header, Heading

LENGTH = b"content-length"
headers = st.lists(st.tuples(st.sampled_from([b"a", b"b", LENGTH]), st.binary(max_size=2)), max_size=4)


def rest(given_headers: list[Header]) -> list[Header]:
    """With one length only, which says nothing."""
    return [(name, b"" if name == LENGTH else value) for name, value in given_headers]


@given(headers, headers)
def test_it_fits_what_differs_in_nothing_but_its_length(first: list[Header], second: list[Header]) -> None:
    heading = Heading(first)
    if [name for name, _ in first].count(LENGTH) < 2:
        assert heading.fits(second) == (rest(first) == rest(second))
        assert heading.fits(first)
    assert heading.listed == [header for header in first if header[0] != LENGTH]


def test_what_is_made_once_is_made_again_only_after_a_failure() -> None:
    made: list[str] = []

    def make(heading: Heading) -> bytes:
        made.append("once")
        return heading.named[b"a"]

    heading, poor = Heading([(b"a", b"1"), (LENGTH, b"3"), (b"a", b"2")]), Heading([])
    assert [heading.once(make), heading.once(make), made] == [b"2", b"2", ["once"]]
    for _ in range(2):
        try:
            poor.once(make)
        except KeyError:
            continue
    assert made == ["once"] * 3


def test_it_does_not_remember_without_end() -> None:
    heading = Heading([])
    for number in range(1000):
        assert heading.once(lambda _, number=number: number) == number
    assert len(heading._made) < 100


def test_what_is_made_of_what_is_given_is_made_again_when_other_is_given() -> None:
    made: list[str] = []

    def make(heading: Heading, first: str, second: str) -> bytes:
        made.append(first + second)
        return heading.named[b"a"]

    heading = Heading([(b"a", b"1")])
    for first, second in ("xy", "xy", "xz", "xy", "xy"):
        assert heading.last(make, first, second) == b"1"
    assert made == ["xy", "xz", "xy"]
