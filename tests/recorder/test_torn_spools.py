"""A spool as a server writes it, torn at every byte and with a bit turned over in each: all that is whole counts."""

import asyncio
import random
import uuid
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import pytest

from raworc.gateway.spool import Spool, SpoolLimits
from raworc.recorder.rows import RecordedCall, build_row
from raworc.recorder.spools import WorkerSpool
from raworc.wire.frames import AnswerHead, CallEnd, CallStart, Frame, Framing, Kind, file_name

WORKER = uuid.UUID(int=7)
_SEED = 20_261_129


@dataclass
class Written:
    """A file, its frames, and where each of them ends."""

    data: bytes
    frames: list[Frame]
    ends: list[int]

    def calls(self, frames: list[Frame]) -> dict[bytes, tuple[list[bytes], bool]]:
        """What is left of each call of which these frames are left: its chunks, and whether its end is known."""
        left: dict[bytes, tuple[list[bytes], bool]] = {}
        for key in dict.fromkeys(frame.key for frame in frames if frame.kind is Kind.START):
            own = [frame for frame in frames if frame.key == key]
            chunks = [frame.data for frame in own if frame.kind is Kind.CHUNK]
            left[key] = chunks, any(frame.kind is Kind.END for frame in own)
        return left


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """Three calls at once, then one that is refused and one that is never answered."""
    folder = tmp_path_factory.mktemp("spool")

    async def write() -> None:
        spool = Spool(folder, WORKER, SpoolLimits(free_bytes=0))
        spool.open()
        entries = [spool.begin(1000 + number, start(number), b'{"n":%d}' % number) for number in range(5)]
        for number, entry in enumerate(entries[:3]):
            entry.head(AnswerHead(200, [(b"content-type", b"text/event-stream")]), 2000 + number)
        for piece in range(3):
            for number, entry in enumerate(entries[:3]):
                entry.chunk(b"data: %d of %d\n\n" % (piece, number), 3000 + 10 * piece + number)
        for number, entry in enumerate(entries[:3]):
            entry.end(CallEnd(5), 4000 + number)
        entries[3].head(AnswerHead(429, own=True), 5000)
        entries[3].chunk(b"{}", 5001)
        entries[3].end(CallEnd(5, error_type="rate_limit_error"), 5002)
        await spool.close()

    asyncio.run(write())
    data, frames = (folder / file_name(WORKER, 1)).read_bytes(), []
    at = 0
    while frame := Framing(WORKER).read(data, at):
        frames.append(frame)
        at += frame.size
    assert at == len(data)
    return Written(data, frames, list(accumulate(frame.size for frame in frames)))


def start(number: int) -> CallStart:
    return CallStart(uuid.UUID(int=number), "POST", "/v1/messages", "key", f"train-{number}")


def replayed(folder: Path, data: bytes) -> dict[bytes, tuple[list[bytes], bool]]:
    """What a recorder gets of a dead server's file, as ``Written.calls``. Each call makes a row."""
    (folder / file_name(WORKER, 1)).write_bytes(data)
    spool, calls = WorkerSpool(folder, WORKER, None), list[RecordedCall]()
    while not spool.finished:
        batch = spool.read(max_bytes=10**9, max_calls=10**9, is_dead=lambda: True)
        assert batch is not None
        calls += batch.calls
    spool.close()
    assert all(build_row(call).id == call.start.id for call in calls)
    found = {call.start.id.int: ([data for _, data in call.chunks], call.end is not None) for call in calls}
    assert len(found) == len(calls)
    return found


def by_number(written: Written, frames: list[Frame]) -> dict[int, tuple[list[bytes], bool]]:
    keys = [frame.key for frame in written.frames if frame.kind is Kind.START]
    return {keys.index(key): left for key, left in written.calls(frames).items()}


def test_torn_at_every_byte(written: Written, tmp_path: Path) -> None:
    for cut in range(len(written.data) + 1):
        whole = [frame for frame, end in zip(written.frames, written.ends, strict=True) if end <= cut]
        assert replayed(tmp_path, written.data[:cut]) == by_number(written, whole), f"torn at {cut}"


def test_a_bit_turned_over_at_every_byte_costs_one_frame(written: Written, tmp_path: Path) -> None:
    dice = random.Random(_SEED)  # noqa: S311  a seed makes the run repeatable
    for at in range(len(written.data)):
        damaged = bytearray(written.data)
        damaged[at] ^= 1 << dice.randrange(8)
        whole = [
            frame for frame, end in zip(written.frames, written.ends, strict=True) if not end - frame.size <= at < end
        ]
        assert replayed(tmp_path, bytes(damaged)) == by_number(written, whole), f"a bit at {at}"


def test_a_record_of_which_a_piece_is_missing_says_so(written: Written, tmp_path: Path) -> None:
    pieces = [index for index, frame in enumerate(written.frames) if frame.kind is Kind.CHUNK]
    damaged = bytearray(written.data)
    damaged[written.ends[pieces[0]] - 1] ^= 1
    (tmp_path / file_name(WORKER, 1)).write_bytes(damaged)
    batch = WorkerSpool(tmp_path, WORKER, None).read(max_bytes=10**9, max_calls=10**9, is_dead=lambda: False)
    assert batch is not None
    assert {call.start.id.int: build_row(call).bodies for call in batch.calls} == {
        0: "incomplete",
        1: "kept",
        2: "kept",
        3: "kept",
    }
