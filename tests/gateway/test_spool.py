import asyncio
import errno
import os
import uuid
from pathlib import Path

import pytest

from raworc.gateway import spool as module
from raworc.gateway.spool import Entry, Spool, SpoolFull, SpoolLimits
from raworc.wire.frames import AnswerHead, CallEnd, CallStart, Frame, Kind, file_name, read_frame, unpack_start
from waiting import until

pytestmark = pytest.mark.anyio

WORKER = uuid.uuid4()


def start() -> CallStart:
    return CallStart(id=uuid.uuid4(), method="POST", path="/v1/messages", caller="login", train_id="t")


def spool(home: Path, **limits: object) -> Spool:
    made = Spool(home / "spool", WORKER, SpoolLimits(**{"free_bytes": 0, **limits}))
    made.open()
    return made


def frames(home: Path, number: int = 1) -> list[Frame]:
    data, at, found = (home / "spool" / file_name(WORKER, number)).read_bytes(), 0, []
    while frame := read_frame(data, at):
        found.append(frame)
        at += frame.size
    assert at == len(data)
    return found


def whole_call(entry: Entry, *chunks: bytes) -> None:
    entry.head(AnswerHead(200), 2)
    for data in chunks:
        entry.chunk(data, 3)
    entry.end(CallEnd(5), 4)


async def test_a_call_is_on_file_as_it_happens(home: Path) -> None:
    made = spool(home)
    entry = made.begin(1, start(), b"body")
    assert [frame.kind for frame in frames(home)] == [Kind.START]
    entry.head(AnswerHead(200), 2)
    entry.flush()
    entry.chunk(b"one", 3)
    assert [frame.kind for frame in frames(home)] == [Kind.START, Kind.HEAD, Kind.CHUNK]
    entry.end(CallEnd(5), 4)
    entry.end(CallEnd(6, error_type="late"), 5)
    found = frames(home)
    assert [frame.kind for frame in found] == [Kind.START, Kind.HEAD, Kind.CHUNK, Kind.END]
    assert [frame.at_us for frame in found] == [1, 2, 3, 4]
    assert unpack_start(found[0].data)[1] == b"body"
    assert len({frame.key for frame in found}) == 1
    await made.close()


async def test_files_are_private_and_change_when_they_are_large(home: Path) -> None:
    made = spool(home, rotate_bytes=1000)
    entries = [made.begin(1, start(), b"x" * 300) for _ in range(6)]
    for entry in entries:
        whole_call(entry, b"y")
    files = sorted((home / "spool").iterdir())
    assert [path.name for path in files] == [file_name(WORKER, number) for number in range(1, len(files) + 1)]
    assert len(files) > 2
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    assert (home / "spool").stat().st_mode & 0o777 == 0o700
    assert sum(len(frames(home, number)) for number in range(1, len(files) + 1)) == 6 * 4
    await made.close()


async def test_the_disk_follows_soon(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(module.os, "fdatasync", synced.append)
    made = spool(home)
    for _ in range(20):
        whole_call(made.begin(1, start(), b""), b"x")
    assert synced == []
    await until(lambda: len(synced) == 1)  # one for all of them
    whole_call(made.begin(1, start(), b""), b"x")
    await until(lambda: len(synced) == 2)
    await made.close()


async def test_strict_means_on_disk_first(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(module.os, "fdatasync", synced.append)
    made = spool(home, strict=True)
    entries = [made.begin(1, start(), b"") for _ in range(8)]
    for entry in entries:
        entry.chunk(b"x", 2)
    await asyncio.gather(*(entry.synced() for entry in entries))
    assert 1 <= len(synced) <= 3  # together
    await made.close()


async def test_a_full_disk_refuses_new_calls_and_breaks_no_running_one(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = spool(home)
    entry = made.begin(1, start(), b"")
    real = os.writev

    def half_then_full(fd: int, pieces: list[bytes]) -> int:
        real(fd, [b"".join(pieces)[:7]])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module.os, "writev", half_then_full)
    entry.chunk(b"lost", 2)
    assert made.lost_frames == 1
    with pytest.raises(SpoolFull):
        made.begin(1, start(), b"")
    monkeypatch.setattr(module.os, "writev", real)
    made._looked_at = 0.0  # a second later there is room again
    whole_call(made.begin(1, start(), b""), b"x")
    assert [frame.kind for frame in frames(home)] == [Kind.START, Kind.START, Kind.HEAD, Kind.CHUNK, Kind.END]
    await made.close()


async def test_short_writes_are_continued(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.writev
    monkeypatch.setattr(module.os, "writev", lambda fd, pieces: real(fd, [b"".join(pieces)[:10]]))
    made = spool(home)
    whole_call(made.begin(1, start(), b"body"), b"one", b"two")
    assert [frame.data for frame in frames(home) if frame.kind is Kind.CHUNK] == [b"one", b"two"]
    await made.close()


async def test_a_disk_below_its_watermark_refuses(home: Path) -> None:
    made = spool(home, free_bytes=2**60)
    with pytest.raises(SpoolFull):
        made.begin(1, start(), b"")
    await made.close()
