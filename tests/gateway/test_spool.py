import asyncio
import errno
import os
import uuid
from pathlib import Path

import httpx2
import pytest

from gate import gate
from raworc.gateway import spool as module
from raworc.gateway.spool import Entry, Spool, SpoolFull, SpoolLimits
from raworc.wire.frames import (
    AnswerHead,
    CallEnd,
    CallStart,
    Frame,
    Framing,
    Kind,
    file_name,
    unpack_start,
    unpack_struct,
)
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
    while frame := Framing(WORKER).read(data, at):
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


async def test_calls_that_end_in_one_turn_of_the_loop_are_written_together_before_anything_later(home: Path) -> None:
    made = spool(home)
    entries = [made.begin(1, start(), b"") for _ in range(300)]
    running = made.begin(1, start(), b"")
    on_file: list[int] = []
    told: list[bool] = []
    for entry in entries:
        entry.head(AnswerHead(200), 2)
        told.append(entry.last(b"all", CallEnd(5), 3, soon=True))
    asyncio.get_running_loop().call_soon(lambda: on_file.append(len(frames(home))))  # as an answer leaves
    await until(lambda: bool(on_file))
    assert on_file == [4 * len(entries) + 1]
    assert not told[-1]
    running.end(CallEnd(5), 3)
    by_key: dict[bytes, list[Kind]] = {}
    for frame in frames(home):
        by_key.setdefault(frame.key, []).append(frame.kind)
    assert list(by_key.values())[:-1] == [[Kind.START, Kind.HEAD, Kind.CHUNK, Kind.END]] * len(entries)

    running = made.begin(1, start(), b"")
    made.begin(1, start(), b"").last(b"late", CallEnd(5), 3, soon=True)
    await made.close()
    assert frames(home)[-1].kind == Kind.END


async def test_the_end_of_the_only_call_is_on_file_at_once_and_with_it_those_before(home: Path) -> None:
    made = spool(home)
    first, second = (made.begin(1, start(), b"") for _ in range(2))
    assert not first.last(b"all", CallEnd(5), 3, soon=True)
    assert [frame.kind for frame in frames(home)] == [Kind.START] * 2
    assert second.last(b"all", CallEnd(5), 3, soon=True)
    assert [frame.kind for frame in frames(home)] == [Kind.START] * 2 + [Kind.CHUNK, Kind.END] * 2

    first, second = (made.begin(1, start(), b"") for _ in range(2))
    assert first.last(b"all", CallEnd(5), 3, soon=False)  # a part of its answer may leave before this turn ends
    assert len(frames(home)) == 6 + 4
    second.end(CallEnd(5), 3)
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


async def test_a_file_that_was_used_gets_a_successor_soon_without_another_call(home: Path) -> None:
    made = spool(home, rotate_s=0.1)
    whole_call(made.begin(1, start(), b"one"), b"x")
    await until((home / "spool" / file_name(WORKER, 2)).exists)
    assert frames(home, 2) == []
    assert made._turning is None  # nobody waits while nothing is written
    whole_call(made.begin(1, start(), b"two"), b"x")
    assert [len(frames(home, number)) for number in (1, 2)] == [4, 4]
    await until((home / "spool" / file_name(WORKER, 3)).exists)
    await until(lambda: made._retired == [] and made._syncing is None)
    await made.close()


async def test_a_successor_that_cannot_be_made_is_made_later(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, tries = spool(home, rotate_s=0.05), []

    def full(path: Path, *_: int) -> int:
        tries.append(path)
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(module.os, "open", full)
        whole_call(made.begin(1, start(), b"one"), b"x")
        await until(lambda: len(tries) >= 2)
        whole_call(made.begin(1, start(), b"two"), b"x")
    await until((home / "spool" / file_name(WORKER, 2)).exists)
    assert [len(frames(home, number)) for number in (1, 2)] == [8, 0]
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


async def test_an_end_that_found_no_room_follows_when_there_is_some(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it the call would be open, and its file kept, for as long as the server lives."""
    monkeypatch.setattr(module, "_LOOK_EVERY_S", 0.01)
    made = spool(home)
    entry, other = made.begin(1, start(), b""), made.begin(1, start(), b"")
    with monkeypatch.context() as patch:
        patch.setattr(module.os, "writev", no_room)
        whole_call(entry, b"lost")
        other.end(CallEnd(5), 4)
        assert made.lost_frames == 1
    await until(lambda: len(frames(home)) == 5)
    assert [frame.kind for frame in frames(home)][2:] == [Kind.HEAD, Kind.END, Kind.END]
    assert unpack_struct(frames(home)[3].data, CallEnd).answer_bytes == 4  # of which none is there
    await made.close()


async def test_an_end_without_room_is_tried_once_more_at_the_close(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = spool(home)
    entry = made.begin(1, start(), b"")
    with monkeypatch.context() as patch:
        patch.setattr(module.os, "writev", no_room)
        entry.end(CallEnd(5), 4)
    await made.close()
    assert [frame.kind for frame in frames(home)] == [Kind.START, Kind.END]


async def test_calls_may_pass_without_a_record(home: Path) -> None:
    made = spool(home, free_bytes=2**60, may_pass=True)
    whole_call(made.begin(1, start(), b""), b"x")
    assert (made.unrecorded, frames(home)) == (1, [])
    made._limits = SpoolLimits(free_bytes=0)
    made._looked_at = 0.0  # a second later there is room
    whole_call(made.begin(1, start(), b""), b"x")
    assert (made.unrecorded, len(frames(home))) == (1, 4)
    await made.close()


def no_room(_fd: int, _pieces: list[bytes]) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


async def test_a_call_that_may_pass_is_answered(home: Path) -> None:
    body = {"model": "scripted", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]}
    limits = SpoolLimits(free_bytes=2**60, may_pass=True)
    async with gate(home, limits=limits) as at, httpx2.AsyncClient() as http:
        answer = await http.post(f"{at.url}/v1/messages", json=body, headers={"x-api-key": at.login()})
        assert (answer.status_code, at.spool.unrecorded, at.frames()) == (200, 1, [])
