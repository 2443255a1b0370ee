"""Files put into a workspace, and the whole of it taken out as an archive."""

import asyncio
import io
import os
import tarfile
from pathlib import Path

import pytest

from asking import Api, error_of
from raworc.services.progress import StateChanged
from raworc.settings import Settings
from raworc.store.database import Database
from works import Works
from workspaces import make, place

pytestmark = pytest.mark.anyio

LIMIT = 26_214_400


@pytest.fixture(scope="module")
async def agent(admin: Api, works: Works) -> str:
    name = (await admin.made())["name"]
    await works(name, StateChanged("idle"), desired=None)
    return name


@pytest.fixture(scope="module")
async def folder(agent: str, db: Database, settings: Settings) -> Path:
    return make(await place(agent, db, settings))


def url(agent: str, path: str) -> str:
    return f"/agents/{agent}/files/write/{path}"


def archive_url(agent: str) -> str:
    return f"/agents/{agent}/files/archive"


def unpacked(content: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
        return {member.name: member for member in archive.getmembers()}


def bytes_of(content: bytes, name: str) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
        file = archive.extractfile(name)
        assert file is not None
        return file.read()


def contents(folder: Path) -> dict[str, bytes]:
    return {entry.name: entry.read_bytes() for entry in folder.iterdir()}


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def left_in(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir() if entry.name.startswith(".raworc")}


@pytest.mark.parametrize("content_type", ["application/octet-stream", "application/json", "text/html", "", "nonsense"])
async def test_a_file_is_written_whatever_its_type(admin: Api, agent: str, folder: Path, content_type: str):
    data = b'{"not": "parsed\xff'

    answer = await admin.http.put(url(agent, "new/deep/file.bin"), content=data, headers={"content-type": content_type})

    assert answer.status_code == 200, answer.text
    assert answer.json() == {"kind": "file", "size": len(data), "mode": "0644", "mtime": answer.json()["mtime"]}
    assert answer.json() == (await admin.get(f"/agents/{agent}/files/metadata/new/deep/file.bin")).json()
    assert (await admin.get(f"/agents/{agent}/files/read/new/deep/file.bin")).content == data


async def test_an_empty_body_is_an_empty_file_and_replaces(admin: Api, agent: str, folder: Path):
    await admin.http.put(url(agent, "replaced"), content=b"before")

    answer = await admin.http.put(url(agent, "replaced"))

    assert (answer.status_code, answer.json()["size"]) == (200, 0)
    assert (folder / "replaced").read_bytes() == b""


async def test_the_limit_holds_announced_or_not(admin: Api, agent: str, folder: Path):
    async def trickled(size: int):
        for start in range(0, size, 1_048_576):
            yield bytes(min(1_048_576, size - start))

    written = await admin.http.put(url(agent, "big"), content=trickled(LIMIT))
    refused = [
        await admin.http.put(url(agent, "too-big"), content=trickled(LIMIT + 1)),
        await admin.http.put(url(agent, "too-big"), content=bytes(LIMIT + 1)),
    ]

    assert (written.status_code, written.json()["size"]) == (200, LIMIT)
    for answer in refused:
        error_of(answer, 413, "PAYLOAD_TOO_LARGE")
    error_of(await admin.get(f"/agents/{agent}/files/metadata/too-big"), 404, "NOT_FOUND")
    assert left_in(folder) == set()
    (folder / "big").unlink()


async def test_what_is_cut_off_leaves_what_was_there(admin: Api, agent: str, folder: Path):
    await admin.http.put(url(agent, "kept"), content=b"whole")
    head = (
        f"PUT /agents/api/v0{url(agent, 'kept')} HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n"
        f"authorization: {admin.http.headers['authorization']}\r\n\r\n"
    )

    async with admin.served.wire() as wire:
        await wire.send(head.encode() + bytes(600_000))

    assert (await admin.get(f"/agents/{agent}/files/read/kept")).content == b"whole"
    assert left_in(folder) == set()


async def test_writers_of_one_file_do_not_mix(admin: Api, agent: str, folder: Path):
    contents = [bytes([number]) * 400_000 for number in range(6)]

    await asyncio.gather(*(admin.http.put(url(agent, "contested"), content=content) for content in contents))

    assert (folder / "contested").read_bytes() in contents
    assert left_in(folder) == set()


async def test_a_folder_a_pipe_and_a_file_as_a_folder_are_not_replaced(admin: Api, agent: str, folder: Path):
    (folder / "folder").mkdir(exist_ok=True)
    os.mkfifo(folder / "pipe")
    (folder / "file").write_bytes(b"")

    for path in ("folder", "pipe"):
        error_of(await admin.http.put(url(agent, path), content=b"x"), 400, "BAD_REQUEST")
    error_of(await admin.http.put(url(agent, "file/below"), content=b"x"), 404, "NOT_FOUND")


@pytest.mark.parametrize(
    "path", ["../x", "%2e%2e%2fx", "/x", "a//b", "a/./b", "", "a%00b", "d/" * 300 + "x", "n" * 256]
)
async def test_a_path_that_is_not_safe_is_400(admin: Api, agent: str, folder: Path, path: str):
    line = f"PUT /agents/api/v0{url(agent, path)} HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n"
    answer = await admin.served.ask(f"{line}authorization: {admin.http.headers['authorization']}\r\n\r\nx".encode())

    assert answer.status == 400, answer.body


async def test_links_lead_a_writer_nowhere_outside(admin: Api, agent: str, folder: Path, tmp_path: Path):
    (tmp_path / "target").write_bytes(b"untouched")
    (folder / "out").symlink_to(tmp_path / "target")
    (folder / "out-folder").symlink_to(tmp_path)
    (folder / "in").symlink_to("/agent/linked")

    for path in ("out", "out-folder/target", "out-folder/new"):
        error_of(await admin.http.put(url(agent, path), content=b"x"), 400, "BAD_REQUEST")
    assert (await admin.http.put(url(agent, "in"), content=b"through")).status_code == 200

    assert (folder / "linked").read_bytes() == b"through"
    assert contents(tmp_path) == {"target": b"untouched"}


@pytest.mark.parametrize("state", ["slept", "paused", "error"])
async def test_a_sleeping_agent_takes_and_gives_nothing(admin: Api, works: Works, state: str):
    name = (await admin.made())["name"]
    await works(name, StateChanged(state), desired=None)

    error_of(await admin.http.put(url(name, "x"), content=b"x"), 409, "CONFLICT")
    error_of(await admin.get(archive_url(name)), 409, "CONFLICT")


async def test_only_its_owner_writes_or_takes_the_archive(other: Api, nobody: Api, agent: str, folder: Path):
    error_of(await other.http.put(url(agent, "x"), content=b"x"), 403, "FORBIDDEN")
    error_of(await nobody.http.put(url(agent, "x"), content=b"x"), 401, "UNAUTHORIZED")
    error_of(await other.get(archive_url(agent)), 403, "FORBIDDEN")
    error_of(await other.http.put(url("no-such-agent", "x"), content=b"x"), 404, "NOT_FOUND")


async def test_a_new_agents_workspace_is_waited_for(admin: Api, db: Database, settings: Settings):
    name = (await admin.made())["name"]
    assert unpacked((await admin.get(archive_url(name))).content) == {}
    writing = asyncio.create_task(admin.http.put(url(name, "early"), content=b"x"))
    folder = await place(name, db, settings)
    await admin.get(f"/agents/{name}")
    assert not writing.done()

    make(folder)

    assert (await writing).status_code == 200


async def test_the_archive_holds_everything_that_can_be_held(
    admin: Api, works: Works, db: Database, settings: Settings
):
    name = (await admin.made())["name"]
    await works(name, StateChanged("idle"), desired=None)
    folder = make(await place(name, db, settings))
    (folder / "code" / "empty").mkdir(parents=True)
    (folder / "code" / "run.sh").write_bytes(b"#!/bin/sh\n")
    (folder / "code" / "run.sh").chmod(0o4755)
    (folder / "code" / "again.sh").hardlink_to(folder / "code" / "run.sh")
    (folder / "big").write_bytes(bytes(range(256)) * 4096)
    (folder / "out").symlink_to("/etc/passwd")
    os.mkfifo(folder / "pipe")
    (folder / os.fsdecode(b"\xff odd")).write_bytes(b"odd")
    (folder / ("n" * 200)).write_bytes(b"long")

    answer = await admin.get(archive_url(name))
    below = await admin.ask("GET", f"{archive_url(name)}?path=code")
    single = await admin.ask("GET", f"{archive_url(name)}?path=code/run.sh")

    found = unpacked(answer.content)
    assert answer.headers["content-type"] == "application/gzip"
    assert answer.headers["content-disposition"] == f"attachment; filename*=UTF-8''{name}.tar.gz"
    assert set(found) == {
        "big",
        "code",
        "code/again.sh",
        "code/empty",
        "code/run.sh",
        "out",
        os.fsdecode(b"\xff odd"),
        "n" * 200,
    }
    assert (found["out"].type, found["out"].linkname) == (tarfile.SYMTYPE, "/etc/passwd")
    assert {found["code/again.sh"].type, found["code/run.sh"].type} == {tarfile.REGTYPE, tarfile.LNKTYPE}
    assert {member.mode for member in found.values()} <= {0o755, 0o644, 0o777}
    assert {(member.uid, member.gid, member.uname) for member in found.values()} == {(0, 0, "")}
    assert bytes_of(answer.content, "big") == bytes(range(256)) * 4096
    assert set(unpacked(below.content)) == {"code", "code/again.sh", "code/empty", "code/run.sh"}
    assert bytes_of(single.content, "code/run.sh") == b"#!/bin/sh\n"


@pytest.mark.parametrize(
    ("path", "status"),
    [("nothing", 404), ("../x", 400), ("/x", 400), ("link-out", 400), ("a-pipe", 400), ("x" * 300, 400)],
)
async def test_an_archive_of_what_cannot_be_named_is_refused(
    admin: Api, agent: str, folder: Path, path: str, status: int
):
    if not (folder / "a-pipe").exists():
        os.mkfifo(folder / "a-pipe")
        (folder / "link-out").symlink_to("/etc")

    assert (await admin.ask("GET", f"{archive_url(agent)}?path={path}")).status_code == status


async def test_a_reader_that_goes_away_lets_go_of_everything(admin: Api, agent: str, folder: Path):
    (folder / "noise").write_bytes(os.urandom(8 * 1_048_576))
    before = open_files()

    for action in ("archive", "read/noise"):
        async with admin.http.stream("GET", f"/agents/{agent}/files/{action}") as answer:
            await anext(answer.aiter_raw(1024))

    async with asyncio.timeout(60):
        while open_files() > before:  # noqa: ASYNC110  the server tells nobody
            await asyncio.sleep(0.01)
    (folder / "noise").unlink()


async def test_a_file_that_shrinks_while_it_is_sent_is_never_taken_for_whole(admin: Api, agent: str, folder: Path):
    (folder / "shrinking").write_bytes(os.urandom(20 * 1_048_576))
    head = (
        f"GET /agents/api/v0/agents/{agent}/files/read/shrinking HTTP/1.1\r\nhost: a\r\n"
        f"authorization: {admin.http.headers['authorization']}\r\n\r\n"
    )

    async with admin.served.wire() as wire:
        await wire.send(head.encode())
        await wire.reader.readuntil(b"\r\n\r\n")
        os.truncate(folder / "shrinking", 0)
        rest = await wire.rest()

    assert len(rest) < 20 * 1_048_576
