"""Reading spools: while they grow, after they were torn, and where they stop being spools."""

import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from raworc.recorder import spools
from raworc.recorder.spools import Batch, WorkerSpool, spool_files
from raworc.store.recordings import SpoolPosition
from raworc.wire.frames import AnswerHead, CallEnd, CallStart, Framing, Kind, file_name, pack_start, pack_struct

WORKER = uuid.UUID(int=7)
FRAMING = Framing(WORKER)


def frames(number: int, body: bytes = b"{}", chunks: int = 2, *, ended: bool = True) -> list[bytes]:
    """The frames of call ``number``, each as bytes."""
    key, start = uuid.UUID(int=number).bytes, CallStart(uuid.UUID(int=number), "POST", "/v1/messages", "login", "t")
    made = [
        FRAMING.pack(Kind.START, key, 1000 * number, *pack_start(start, body)),
        FRAMING.pack(Kind.HEAD, key, 1000 * number + 1, pack_struct(AnswerHead(200))),
        *(FRAMING.pack(Kind.CHUNK, key, 1000 * number + 2 + at, b"c%d" % at) for at in range(chunks)),
    ]
    if ended:
        made.append(FRAMING.pack(Kind.END, key, 1000 * number + 99, pack_struct(CallEnd(99))))
    return [b"".join(pieces) for pieces in made]


def write(folder: Path, data: bytes, number: int = 1) -> None:
    with (folder / file_name(WORKER, number)).open("ab") as file:
        file.write(data)


def read(spool: WorkerSpool, *, dead: bool = False, max_bytes: int = 10**9, max_calls: int = 10**9) -> Batch | None:
    return spool.read(max_bytes=max_bytes, max_calls=max_calls, is_dead=lambda: dead)


def numbers(batch: Batch | None) -> list[int]:
    return [call.start.id.int for call in batch.calls] if batch else []


def drained(spool: WorkerSpool) -> list[int]:
    found: list[int] = []
    while (batch := read(spool, dead=True)) and not spool.finished:
        found += numbers(batch)
    return found + numbers(batch)


def opened(folder: Path, reached: SpoolPosition | None = None) -> WorkerSpool:
    return WorkerSpool(folder, WORKER, reached)


def test_calls_come_when_they_are_over(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    assert read(spool) is None
    one, two = frames(1), frames(2)
    write(tmp_path, one[0] + two[0] + one[1])
    batch = read(spool)
    assert batch is not None
    assert (numbers(batch), batch.reached.position) == ([], 0)
    assert read(spool) is None
    write(tmp_path, b"".join(two[1:]) + b"".join(one[2:]))
    batch = read(spool)
    assert batch is not None
    assert numbers(batch) == [2, 1]
    assert batch.reached == SpoolPosition(WORKER, 1, sum(map(len, one + two)))
    call = batch.calls[1]
    assert (call.body, call.at_us, call.head, call.end) == (b"{}", 1000, AnswerHead(200), CallEnd(99))
    assert call.chunks == [(1002, b"c0"), (1003, b"c1")]


def test_the_position_waits_for_the_oldest_open_call(tmp_path: Path) -> None:
    write(tmp_path, b"".join(frames(1)) + frames(2)[0] + b"".join(frames(3)))
    batch = read(opened(tmp_path))
    assert batch is not None
    assert numbers(batch) == [1, 3]
    assert batch.reached.position == sum(map(len, frames(1)))
    again = read(opened(tmp_path, batch.reached))
    assert numbers(again) == [3]  # known by its id already


def test_frames_of_calls_that_began_before_the_position_are_old(tmp_path: Path) -> None:
    write(tmp_path, b"".join(frames(1)) + b"".join(frames(2)))
    spool = opened(tmp_path, SpoolPosition(WORKER, 1, len(frames(1)[0])))
    assert numbers(read(spool)) == [2]


def test_batches_are_bounded(tmp_path: Path) -> None:
    write(tmp_path, b"".join(b"".join(frames(number, b"x" * 1000)) for number in range(1, 8)))
    spool = opened(tmp_path)
    sizes = []
    while batch := read(spool, max_bytes=2000):
        sizes.append(len(batch.calls))
    assert sizes == [2, 2, 2, 1]
    spool = opened(tmp_path)
    assert numbers(read(spool, max_calls=3)) == [1, 2, 3]
    assert numbers(read(spool, max_calls=3)) == [4, 5, 6]


def test_a_dead_servers_open_calls_come_as_they_are_within_the_bounds(tmp_path: Path) -> None:
    write(tmp_path, b"".join(b"".join(frames(number, b"x" * 1000, ended=False)) for number in range(1, 4)))
    spool = opened(tmp_path)
    assert numbers(read(spool)) == []
    first = read(spool, dead=True, max_bytes=1000)
    assert numbers(first) == [1]
    assert not spool.finished
    assert drained(spool) == [2, 3]
    assert spool.finished


def test_a_call_runs_over_into_the_next_files(tmp_path: Path) -> None:
    for number, frame in enumerate(frames(1, chunks=3), 1):
        write(tmp_path, frame, number)
    write(tmp_path, b"".join(frames(2)), 6)
    spool = opened(tmp_path)
    batch = read(spool)
    assert batch is not None
    assert numbers(batch) == [1, 2]
    spool.remove_files(batch.reached)
    assert spool_files(tmp_path) == [(WORKER, 6)]
    write(tmp_path, b"".join(frames(3)), 6)
    assert numbers(read(spool)) == [3]


def test_what_does_not_fit_in_memory_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spools, "_HELD_BYTES", 700)
    made = [frames(number, b"x" * 500, 9) for number in range(1, 6)]
    write(tmp_path, b"".join(b"".join(of_one) for of_one in zip(*made, strict=True)))
    spool = opened(tmp_path)
    batch = read(spool)
    assert batch is not None
    assert [(call.body, len(call.chunks)) for call in batch.calls] == [(b"x" * 500, 9)] * 5
    assert spool._held == 0


def test_frames_larger_than_a_block(tmp_path: Path) -> None:
    body = b"x" * 3_000_000
    write(tmp_path, b"".join(frames(1, body)) + b"".join(frames(2)))
    batch = read(opened(tmp_path))
    assert batch is not None
    assert [call.body for call in batch.calls] == [body, b"{}"]


def test_the_files_of_a_dead_server_go_when_they_are_loaded(tmp_path: Path) -> None:
    write(tmp_path, b"".join(frames(1)), 1)
    write(tmp_path, b"".join(frames(2)), 2)
    spool = opened(tmp_path)
    assert drained(spool) == [1, 2]
    spool.remove_files(SpoolPosition(WORKER, 2, 0))
    assert spool_files(tmp_path) == []


WHOLE = [b"".join(frames(number, b"b" * number)) for number in range(1, 6)]


@given(st.integers(0, sum(map(len, WHOLE))))
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_spool_torn_at_any_byte_gives_what_is_whole(tmp_path: Path, cut: int) -> None:
    check_torn(tmp_path, b"".join(WHOLE)[:cut], cut)


@given(st.integers(0, sum(map(len, WHOLE))), st.binary(min_size=1, max_size=200))
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_stands_after_the_tear(tmp_path: Path, cut: int, rubbish: bytes) -> None:
    whole = b"".join(WHOLE)
    assume(rubbish[:1] != whole[cut : cut + 1])  # else it may be the very piece that was torn off
    check_torn(tmp_path, whole[:cut] + rubbish, cut)


def check_torn(tmp_path: Path, data: bytes, cut: int) -> None:
    for path in tmp_path.iterdir():
        path.unlink()
    write(tmp_path, data)
    spool = opened(tmp_path)
    live = numbers(read(spool))
    found = live + drained(spool)
    ended = [number for number in range(1, 6) if cut >= sum(map(len, WHOLE[:number]))]
    begun = [n for n in range(1, 6) if cut >= sum(map(len, WHOLE[: n - 1])) + len(frames(n, b"b" * n)[0])]
    assert live == ended
    assert found == begun


def test_a_body_that_looks_like_frames_is_not_read_as_frames(tmp_path: Path) -> None:
    """Not even where bytes before it are damaged, so that frames are looked for: they are another server's."""
    strangers = Framing(uuid.UUID(int=8))
    forged = b"".join(b"".join(strangers.pack(Kind.CHUNK, bytes(16), 1, b"x")) for _ in range(20))
    holder = bytearray(b"".join(frames(1, forged)))
    holder[8] ^= 1
    write(tmp_path, bytes(holder) + b"".join(frames(2)))
    assert drained(opened(tmp_path)) == [2]


@pytest.mark.parametrize("harm", [lambda d: d[:40] + b"?" + d[41:], lambda d: b"junk" + d[4:]])
def test_a_damaged_file_of_a_live_server_costs_what_was_damaged(tmp_path: Path, harm: Callable[[bytes], bytes]) -> None:
    write(tmp_path, b"".join(frames(1)) + harm(b"".join(frames(2))) + b"".join(frames(3)))
    spool = opened(tmp_path)
    assert numbers(read(spool)) == [1, 3]
    assert read(spool) is None
    write(tmp_path, b"".join(frames(4)), 2)
    assert numbers(read(spool)) == [4]


def test_a_frame_that_still_grows_is_waited_for_behind_damage(tmp_path: Path) -> None:
    whole = b"".join(frames(2))
    write(tmp_path, b"".join(frames(1)) + b"junk" * 20 + whole[:30])
    spool = opened(tmp_path)
    assert numbers(read(spool)) == [1]
    assert read(spool) is None
    write(tmp_path, whole[30:])
    assert numbers(read(spool)) == [2]


def test_damage_as_long_as_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spools, "_BLOCK_BYTES", 512)
    for length in range(500, 530):
        write(tmp_path, b"".join(frames(1)) + b"j" * length + b"".join(frames(2)))
        assert drained(opened(tmp_path)) == [1, 2]
        (tmp_path / file_name(WORKER, 1)).unlink()


def test_a_call_whose_end_was_damaged_does_not_keep_its_file_for_ever(tmp_path: Path) -> None:
    lost, later = frames(1), 1000 + spools._SILENT_US
    write(tmp_path, b"".join(lost[:-1]) + b"junk" * 10 + b"".join(frames(2)))
    spool = opened(tmp_path)
    assert numbers(read(spool)) == [2]
    write(tmp_path, b"".join(frames(3)), 2)
    assert numbers(read(spool)) == [3]
    write(tmp_path, b"".join(frames(later // 1000)), 2)
    batch = read(spool)
    assert numbers(batch) == [later // 1000, 1]
    assert batch is not None
    assert batch.calls[1].end is None
    assert batch.reached.number == 2
