"""Links that race with the files API: whatever an agent swaps while we look, nothing outside is read or touched.

The workspace is real, the racer is a process of its own that swaps folders, files and links as quickly as it can.
"""

import io
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from faults.counts import Counts
from raworc.sandbox.driver import FileError
from raworc.sandbox.files import WorkspaceFiles

RACER = Path(__file__).with_name("racer.py")
SECRET = b"outside-5d1f"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder that must stay as it is, of the same shape as what is swapped for a link to it."""
    folder = tmp_path / "outside"
    (folder / "deep").mkdir(parents=True)
    for place in (folder, folder / "deep"):
        (place / "file").write_bytes(SECRET)
    (folder / "empty").mkdir()
    return folder


@pytest.fixture
def files(tmp_path: Path) -> WorkspaceFiles:
    (tmp_path / "workspace").mkdir()
    return WorkspaceFiles(tmp_path / "workspace", None, 2**30)


@pytest.fixture
def racer(tmp_path: Path, files: WorkspaceFiles, outside: Path) -> Iterator[None]:
    command = [sys.executable, "-I", str(RACER), str(tmp_path / "workspace"), str(outside)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"racing\n"
        yield
        assert process.poll() is None, "the racer died, so nothing raced"
        process.kill()


def outcomes(number: int, act: Callable[[int], bytes]) -> tuple[set[bytes], int]:
    """What ``act`` gave in ``number`` calls, and how often it was refused; in more of them until both have been."""
    found: set[bytes] = set()
    refused = 0
    for call in range(number * _PATIENCE):
        if call >= number and found and refused:
            break
        try:
            found.add(act(call))
        except FileError:
            refused += 1
    return found, refused


_PATIENCE = 50
"""A busy machine may leave the racer waiting, with a link or with a folder, for as many calls."""

PATHS = ("d/file", "d/deep/file", "d/deep/deep/file", "d")


@pytest.mark.usefixtures("racer")
def test_reads_never_leave_the_workspace(files: WorkspaceFiles, counts: Counts):
    def read(call: int) -> bytes:
        path = PATHS[call % len(PATHS)]
        return files.read(path) if call % 2 else b"".join(files.open(path).pieces)

    found, refused = outcomes(counts.raced_reads, read)

    assert found <= {b"inside", b""}
    assert b"inside" in found, "no read met a file, so nothing raced"
    assert refused > 0, "no read met a link out, so nothing raced"


@pytest.mark.usefixtures("racer")
def test_a_reader_that_looks_first_and_opens_then_is_led_outside(tmp_path: Path):
    """The race itself: without it the other tests would prove nothing."""
    workspace = tmp_path / "workspace"

    def read(call: int) -> bytes:
        path = workspace / PATHS[call % 3]
        try:
            if workspace not in path.resolve().parents:
                raise FileError
            return path.read_bytes()
        except (OSError, RuntimeError) as error:
            raise FileError from error

    found: set[bytes] = set()
    for _ in range(_PATIENCE):
        found |= outcomes(2_000, read)[0]
        if SECRET in found:
            break
    assert SECRET in found


@pytest.mark.usefixtures("racer")
def test_archives_hold_nothing_from_outside(files: WorkspaceFiles, counts: Counts):
    def archive(call: int) -> bytes:
        content = b"".join(files.archive("d" if call % 2 else ""))
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as unpacked:
            taken = [unpacked.extractfile(member) for member in unpacked.getmembers() if member.isreg()]
            return b"".join(file.read() for file in taken if file is not None)

    found, _ = outcomes(counts.raced_writes, archive)

    assert not [content for content in found if SECRET in content]
    assert any(b"inside" in content for content in found)


@pytest.mark.usefixtures("racer")
def test_writes_and_deletes_touch_nothing_outside(files: WorkspaceFiles, outside: Path, counts: Counts):
    before = everything(outside)

    def change(call: int) -> bytes:
        path = ("d/file", "d/new/file", "d/deep/file", "d/deep/empty", "d/empty")[call % 5]
        if call % 3:
            files.write(path, b"written")
        else:
            files.delete(path)
        return b"changed"

    found, refused = outcomes(counts.raced_writes, change)

    assert everything(outside) == before
    assert (found, refused > 0) == ({b"changed"}, True)


@pytest.mark.usefixtures("racer")
def test_lists_and_metadata_show_nothing_from_outside(files: WorkspaceFiles, counts: Counts):
    def look(call: int) -> bytes:
        if call % 2:
            return b" ".join(entry.name.encode() for entry in files.list("d", 0, 100).entries)
        return str(files.stat("d/file").size_bytes).encode()

    found, _ = outcomes(counts.raced_writes, look)

    assert not [names for names in found if b"empty" in names]
    assert str(len(SECRET)).encode() not in found


def everything(folder: Path) -> dict[str, bytes | None]:
    paths = folder.rglob("*")
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in paths}
