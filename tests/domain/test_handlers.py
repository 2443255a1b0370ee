"""What handlers say and how their turns go on: any bytes, cut anywhere."""

import itertools
import struct
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raworc.domain.handlers import MAX_LINE_CHARACTERS, Lines, Message, Quota, RunHandler, level_of, next_of_handler
from raworc.domain.turns import Failure, Step


def cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[start:end] for start, end in itertools.pairwise(ends)]


@given(st.binary(max_size=200), st.lists(st.integers(0, 300), max_size=8))
def test_lines_do_not_depend_on_how_they_were_cut(data: bytes, places: list[int]):
    whole, pieces = Lines(), Lines()
    said = whole.feed(data) + whole.end()
    assert [line for piece in cut(data, places) for line in pieces.feed(piece)] + pieces.end() == said
    assert all(line and "\n" not in line and "\0" not in line for line in said)


def test_a_line_without_end_is_bounded():
    lines = Lines()
    for _ in range(100):
        assert lines.feed(b"x" * 10_000) == []
    assert len(lines._rest) <= 4 * MAX_LINE_CHARACTERS + 1
    assert lines.feed(b"\nnext\n") == ["x" * MAX_LINE_CHARACTERS + " [...]", "next"]


def test_a_flood_of_lines_is_cut_and_told():
    quota = Quota(most=3)
    assert quota.cut(b"1\n2\nx", 10.0) == b"1\n2\nx"
    assert quota.cut(b"3\n4\n5\n", 10.9) == b"3\n"
    assert quota.cut(b"6\n" * 10_000, 10.9) == b""
    assert quota.cut(b"7\n", 11.0) == b"7\n"
    assert quota.report() == "[... 10002 lines left out: a handler may write 3 in a second ...]"
    assert quota.report() is None


@pytest.mark.parametrize(
    ("line", "level"),
    [
        ("INFO:root:said", "INFO"),
        ("[warn] said", "WARNING"),
        ("WARNING: said", "WARNING"),
        ("<debug> said", "DEBUG"),
        ("Critical - said", "ERROR"),
        ("fatal", "ERROR"),
        ("information: said", "ERROR"),
        ("said error: x", "ERROR"),
        ("", "ERROR"),
    ],
)
def test_a_line_names_its_level(line: str, level: str):
    assert level_of(line, "ERROR") == level


@given(st.text(), st.text(), st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001  bounds
def test_a_message_is_told_whole(text: str, by: str, at: datetime):
    encoded = Message(text, "s", "sp", by, at).encoded()
    size, body, texts = struct.unpack_from("!I", encoded)[0], encoded[4:], []
    assert size == len(body)
    while body:
        length = struct.unpack_from("!I", body)[0]
        texts.append(body[4 : 4 + length].decode())
        body = body[4 + length :]
    assert texts == [text, "s", "sp", by, str(int(at.timestamp()))]


def test_a_handler_is_asked_once():
    assert next_of_handler([]) == RunHandler(1)
    assert next_of_handler([Step(1, "model", "started")]) == RunHandler(1), "the call that began with the turn"
    assert next_of_handler([Step(1, "model", "done", [])]) == RunHandler(2), "after a call that chose it"
    for steps in ([Step(1, "handler", "started")], [Step(1, "model", "done", []), Step(2, "handler", "started")]):
        cut_off = next_of_handler(steps)
        assert isinstance(cut_off, Failure)
        assert cut_off.code == "handler_cut"
        assert "outcome unknown" in cut_off.message
