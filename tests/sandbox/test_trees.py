import contextlib
import os
import shutil
import tarfile
import threading
from pathlib import Path

import pytest

from raworc.sandbox import trees
from raworc.sandbox.copies import CopyRules, copy
from raworc.sandbox.driver import NoWorkspace, SandboxError, WorkspaceExists
from raworc.sandbox.packing import pack
from raworc.sandbox.trees import MAX_LEVELS, UNMEASURABLE, measure, remove


def deep(folder: Path, levels: int) -> None:
    """Made from within: such a path is longer than the kernel takes."""
    opened = os.open(folder, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("d" * 100, dir_fd=opened)
        deeper = os.open("d" * 100, os.O_RDONLY, dir_fd=opened)
        os.close(opened)
        opened = deeper
    os.close(os.open("bottom", os.O_CREAT | os.O_WRONLY, dir_fd=opened))
    os.close(opened)


def names(folder: Path | str) -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    made = tmp_path / "tree"
    made.mkdir()
    return made


def test_what_is_measured_is_what_lies_on_disk(tree: Path):
    (tree / "sub").mkdir()
    (tree / "sub" / "file").write_bytes(b"x" * 1_000_000)
    (tree / "hard").hardlink_to(tree / "sub" / "file")
    (tree / "link").symlink_to("/usr")
    with (tree / "holes").open("wb") as file:
        file.truncate(10**12)
    assert 1_000_000 <= measure(tree) < 1_100_000


def test_measuring_stops_when_it_knows_enough(tree: Path):
    for number in range(100):
        (tree / str(number)).write_bytes(b"x" * 5000)
    assert 20_000 < measure(tree, enough_bytes=20_000) < 60_000


def test_too_deep_to_be_measured_or_copied_but_not_to_be_removed(tree: Path, tmp_path: Path):
    deep(tree, MAX_LEVELS + 50)
    before = len(names("/proc/self/fd"))
    assert measure(tree) == UNMEASURABLE
    with pytest.raises(SandboxError, match="deeper"):
        copy(tree, tmp_path / "copy", None)
    assert names(tmp_path) == ["tree"], "half a copy is left"
    remove(tmp_path, "tree")
    assert names(tmp_path) == []
    assert len(names("/proc/self/fd")) <= before  # what other tests left open may be closed meanwhile


def test_removing_leaves_what_links_lead_to(tree: Path, tmp_path: Path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").touch()
    (tree / "a").mkdir()
    (tree / "a" / "link").symlink_to(tmp_path / "kept")
    (tree / "1").mkdir()
    (tree / ".1").mkdir()
    (tree / ".2").touch()
    (tree / "1" / "x").mkdir()
    (tree / "1" / "x" / "y").touch()
    remove(tmp_path, "tree")
    remove(tmp_path, "tree")
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == ["kept", "kept/file"]


def test_a_copy_keeps_links_modes_times_and_owners(tree: Path, tmp_path: Path):
    (tree / "tool").write_text("run")
    (tree / "tool").chmod(0o4751)
    os.utime(tree / "tool", ns=(1_000_000_001, 2_000_000_003))
    (tree / "sub").mkdir(mode=0o750)
    (tree / "sub" / "same").hardlink_to(tree / "tool")
    (tree / "link").symlink_to("/nowhere")
    os.mkfifo(tree / "pipe")
    uid = 1_600_000_000 if os.geteuid() == 0 else None
    copy(tree, tmp_path / "copy", uid)
    made = tmp_path / "copy"
    assert sorted(str(path.relative_to(made)) for path in made.rglob("*")) == ["link", "sub", "sub/same", "tool"]
    found = (made / "tool").stat()
    assert (found.st_mode & 0o7777, found.st_mtime_ns) == (0o751, 2_000_000_003)
    assert (made / "sub" / "same").samefile(made / "tool")
    assert (made / "link").readlink() == Path("/nowhere")
    if uid is not None:
        assert {path.lstat().st_uid for path in (made, *made.rglob("*"))} == {uid}


def test_a_leftover_of_a_crashed_copy_is_in_nobodys_way(tree: Path, tmp_path: Path):
    (tree / "file").touch()
    (tmp_path / ".copy-copy").mkdir()
    (tmp_path / ".copy-copy" / "half").touch()
    copy(tree, tmp_path / "copy", None)
    assert names(tmp_path) == ["copy", "tree"]
    with pytest.raises(SandboxError, match="exists already"):
        copy(tree, tmp_path / "copy", None)
    assert names(tmp_path / "copy") == ["file"]


def test_a_copy_leaves_out_names_at_the_top_only(tree: Path, tmp_path: Path):
    (tree / "code").mkdir()
    (tree / "code" / "a").touch()
    (tree / "sub" / "code").mkdir(parents=True)
    copy(tree, tmp_path / "copy", None, CopyRules(frozenset({"code"})))
    assert names(tmp_path / "copy") == ["sub"]
    assert names(tmp_path / "copy" / "sub") == ["code"]


def test_a_copy_is_bounded_and_can_be_stopped(tree: Path, tmp_path: Path):
    (tree / "file").write_bytes(b"x" * 100_000)
    for number in range(20):
        (tree / str(number)).touch()
    copy(tree, tmp_path / "whole", None, CopyRules(max_bytes=100_000 + 21 * 1024))
    with pytest.raises(SandboxError, match="more than"):
        copy(tree, tmp_path / "copy", None, CopyRules(max_bytes=100_000 + 20 * 1024))
    left = iter([False] * 10 + [True] * 100)
    with pytest.raises(SandboxError, match="stopped"):
        copy(tree, tmp_path / "copy", None, CopyRules(is_stopped=lambda: next(left)))
    assert names(tmp_path) == ["tree", "whole"], "half a copy is left"


def test_a_copy_says_whose_files_are_missing_or_there(tree: Path, tmp_path: Path):
    with pytest.raises(NoWorkspace):
        copy(tmp_path / "none", tmp_path / "copy", None)
    (tmp_path / "copy").mkdir()
    with pytest.raises(WorkspaceExists):
        copy(tree, tmp_path / "copy", None)
    assert names(tmp_path) == ["copy", "tree"]


def test_a_tree_that_changes_under_the_copy_is_copied(tree: Path, tmp_path: Path):
    """What a busy agent does: replace files by renaming, swap files, links and folders, let logs grow."""
    for number in range(60):
        (tree / f"steady{number}").write_bytes(b"s" * 5000)
    stop = threading.Event()
    worker = threading.Thread(target=churn, args=(tree, stop))
    worker.start()
    try:
        for number in range(12):
            copy(tree, tmp_path / f"copy{number}", None)
            made = tmp_path / f"copy{number}"
            assert {f"steady{number}" for number in range(60)} <= set(names(made))
            assert all((made / f"steady{number}").read_bytes() == b"s" * 5000 for number in range(60))
    finally:
        stop.set()
        worker.join()


def make(thing: Path, kind: int) -> None:
    match kind:
        case 0:
            thing.mkdir()
        case 1:
            thing.touch()
        case 2:
            thing.symlink_to("/etc")
        case _:
            os.mkfifo(thing)


def churn(tree: Path, stop: threading.Event) -> None:
    number = 0
    while not stop.is_set():
        number += 1
        (tree / "new").write_bytes(b"n" * (number % 3000))
        (tree / "new").rename(tree / f"swapped{number % 7}")
        thing = tree / f"thing{number % 5}"
        with contextlib.suppress(OSError):
            thing.rmdir() if thing.is_dir() and not thing.is_symlink() else thing.unlink()
        with contextlib.suppress(OSError):
            make(thing, number % 4)
        with (tree / "log").open("ab") as log:
            log.write(b"l" * 1000)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every folder")
def test_a_closed_folder_hides_nothing(tree: Path, tmp_path: Path):
    (tree / "closed").mkdir()
    (tree / "closed" / "file").write_bytes(b"x" * 1_000_000)
    (tree / "closed").chmod(0)
    assert measure(tree) >= 1_000_000
    (tree / "closed").chmod(0)
    remove(tmp_path, "tree")
    assert not tree.exists()


def test_a_swapped_folder_is_not_followed(tree: Path, tmp_path: Path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_bytes(b"x" * 1_000_000)
    (tree / "sub").symlink_to(tmp_path / "outside")
    folder = os.open(tree, os.O_RDONLY)
    assert trees.open_folder(folder, "sub") is None
    os.close(folder)
    shutil.rmtree(tree)


def test_a_tree_that_is_too_deep_keeps_nothing_else_from_being_packed(tmp_path: Path):
    tree = tmp_path / "tree"
    tree.mkdir()
    deep(tree, MAX_LEVELS + 50)
    (tree / "flat").write_text("here")
    with tarfile.open(tmp_path / "packed.tar", "w") as tar:
        assert pack(tar, tree, "kept") == 1
        names = tar.getnames()
    assert "kept/flat" in names
    assert len(names) == MAX_LEVELS + 2
    remove(tmp_path, "tree")
