import pytest
from hypothesis import given
from hypothesis import strategies as st

from raworc.wire import sse
from raworc.wire.sse import EventTooLong, SSEDecoder, SSEEvent


def decode(*chunks: bytes) -> list[SSEEvent]:
    decoder = SSEDecoder()
    return [event for chunk in chunks for event in decoder.feed(chunk)]


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"event: a\ndata: 1\n\n", [SSEEvent("a", "1")]),
        (b"data: 1\n\n", [SSEEvent("message", "1")]),
        (b"data: 1\ndata: 2\n\n", [SSEEvent("message", "1\n2")]),
        (b"data:no space\n\n", [SSEEvent("message", "no space")]),
        (b"data:  two\n\n", [SSEEvent("message", " two")]),
        (b": comment\n\ndata: x\nid: 7\nretry: 5\nodd\n\n", [SSEEvent("message", "x")]),
        (b"event: lonely\n\ndata: x\n\n", [SSEEvent("message", "x")]),
        (b"data\n\n", [SSEEvent("message", "")]),
        (b"\xef\xbb\xbfdata: x\n\n", [SSEEvent("message", "x")]),
        (b"data: never closed\n", []),
        ("data: grüße 😀\n\n".encode(), [SSEEvent("message", "grüße 😀")]),
        (b"data: \xff\n\n", [SSEEvent("message", "\ufffd")]),
    ],
)
def test_events(stream: bytes, events: list[SSEEvent]) -> None:
    assert decode(stream) == events


EVENTS = st.lists(
    st.tuples(st.sampled_from(["", "ping", "delta"]), st.lists(st.text(alphabet="aé😀: {}\t", max_size=6), min_size=1)),
    max_size=4,
)


@given(EVENTS, st.sampled_from([b"\n", b"\r\n", b"\r"]), st.data())
def test_any_line_ending_cut_anywhere(events: list[tuple[str, list[str]]], ending: bytes, data: st.DataObject) -> None:
    stream = b""
    for name, lines in events:
        if name:
            stream += b"event: " + name.encode() + ending
        stream += b"".join(b"data: " + line.encode() + ending for line in lines) + ending
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert decode(*pieces) == [SSEEvent(name or "message", "\n".join(lines)) for name, lines in events]


def test_an_event_without_end_is_not_collected_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 1000)
    decoder = SSEDecoder()
    for _ in range(50):
        assert len(decoder.feed(b"data: " + b"x" * 100 + b"\n\n")) == 1
    with pytest.raises(EventTooLong):
        for _ in range(50):
            decoder.feed(b"data: " + b"x" * 100 + b"\n")
