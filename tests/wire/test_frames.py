import contextlib
import uuid

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raworc.wire.frames import (
    AnswerHead,
    BadFrame,
    CallEnd,
    CallStart,
    Framing,
    Kind,
    StartForm,
    file_name,
    pack_start,
    pack_struct,
    parse_file_name,
    unpack_start,
    unpack_struct,
)

KEY = uuid.uuid4().bytes
FRAMING = Framing(uuid.uuid4())
START = CallStart(
    id=uuid.uuid4(),
    method="POST",
    path="/v1/messages",
    caller="turn",
    train_id="default.a",
    turn_id=uuid.uuid4(),
    headers=[(b"user-agent", b"\xff odd"), (b"x", b"")],
)


@given(
    st.sampled_from(Kind),
    st.integers(0, 2**63),
    st.lists(st.binary(max_size=50), min_size=1, max_size=2),
    st.binary(max_size=9),
)
def test_a_frame_comes_back(kind: Kind, at_us: int, data: list[bytes], before: bytes) -> None:
    packed = b"".join(FRAMING.pack(kind, KEY, at_us, *data))
    frame = FRAMING.read(before + packed + b"more", len(before))
    assert frame is not None
    assert (frame.kind, frame.key, frame.at_us, frame.data) == (kind, KEY, at_us, b"".join(data))
    assert frame.size == len(packed)


@given(st.binary(min_size=1, max_size=60), st.data())
def test_a_frame_cut_anywhere_is_not_there_yet(data: bytes, draw: st.DataObject) -> None:
    packed = b"".join(FRAMING.pack(Kind.CHUNK, KEY, 1, data))
    assert FRAMING.read(packed[: draw.draw(st.integers(0, len(packed) - 1))]) is None


@given(st.binary(min_size=1, max_size=60), st.data())
def test_a_changed_byte_is_seen(data: bytes, draw: st.DataObject) -> None:
    packed = bytearray(b"".join(FRAMING.pack(Kind.CHUNK, KEY, 1, data)))
    at = draw.draw(st.integers(0, len(packed) - 1))
    packed[at] ^= draw.draw(st.integers(1, 255))
    with contextlib.suppress(BadFrame):
        assert FRAMING.read(bytes(packed) + b"x" * 8) is None  # a length that is too long now


def test_what_a_frame_carries_comes_back() -> None:
    assert unpack_start(b"".join(pack_start(START, b"\x00body"))) == (START, b"\x00body")
    head, end = AnswerHead(529, [(b"a", b"b")], own=True), CallEnd(5, error_type="x", error_message="ä")
    assert unpack_struct(pack_struct(head), AnswerHead) == head
    assert unpack_struct(pack_struct(end), CallEnd) == end


@given(st.uuids(), st.integers(0, 2), st.binary(max_size=300) | st.just(START.id.bytes))
def test_a_form_gives_what_is_packed_of_each_call(call: uuid.UUID, at: int, length: bytes) -> None:
    told = [*START.headers[:at], (b"content-length", length), *START.headers[at:]]
    packed = pack_start(msgspec.structs.replace(START, id=call, headers=told), b"")[0]
    assert StartForm(START, at).data(str(call).encode(), length) == packed
    without = pack_start(msgspec.structs.replace(START, id=call), b"")[0]
    assert StartForm(START, None).data(str(call).encode(), b"") == without


@pytest.mark.parametrize("data", [b"", b"\x01", b"\xff\xff\xff\xff", b"\x01\x00\x00\x00\xc1", b"\x00\x00\x00\x00"])
def test_what_it_does_not_carry(data: bytes) -> None:
    with pytest.raises(BadFrame):
        unpack_start(data)


def test_file_names() -> None:
    worker = uuid.uuid4()
    assert parse_file_name(file_name(worker, 7)) == (worker, 7)
    for name in ("", "x.spool", f"{worker}.spool", f"{worker}.x.spool", f"{worker}.000001.tmp", f"{worker}.-1.spool"):
        assert parse_file_name(name) is None, name
