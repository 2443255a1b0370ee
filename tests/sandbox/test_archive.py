"""Archives of trees that are deeper than a process may have files open, and that change while they are read."""

import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from raworc.sandbox.archive import archived
from raworc.sandbox.trees import remove

LEVELS = 330


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Path]:
    """More folders in each other than a path may name; a file before and one behind the next folder in each."""
    made = tmp_path / "tree"
    made.mkdir()
    opened = top(made)
    for level in range(LEVELS):
        for name in ("a", "z"):
            os.close(os.open(name, os.O_CREAT | os.O_WRONLY, dir_fd=opened))
        os.mkdir(f"level-{level:06}", dir_fd=opened)
        deeper = os.open(f"level-{level:06}", os.O_RDONLY, dir_fd=opened)
        os.close(opened)
        opened = deeper
    os.close(opened)
    yield made
    remove(tmp_path, "tree")


def top(tree: Path) -> int:
    return os.open(tree, os.O_RDONLY | os.O_DIRECTORY)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def names(content: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
        return archive.getnames()


def below(depth: int, prefix: str = "") -> str:
    return prefix + "".join(f"level-{level:06}/" for level in range(depth))


@pytest.mark.parametrize("prefix", ["", "some/where/"])
def test_a_tree_of_any_depth_is_archived_as_far_as_it_can_be_named(tree: Path, prefix: str):
    before, most, content = open_files(), 0, b""
    (tree / below(200) / "a").write_bytes(os.urandom(1_048_576))

    for piece in archived(top(tree), prefix.rstrip("/")):
        content, most = content + piece, max(most, open_files())

    found = names(content)
    wanted = {below(depth, prefix) + name for depth in range(LEVELS) for name in ("a", "z")}
    assert {name for name in found if name[-1] in "az"} == {name for name in wanted if len(name) < 4096}
    assert max(name.count("/") for name in found) > 300
    assert found.index(f"{prefix}z") > found.index(f"{prefix}level-000000")
    assert most - before < 80
    assert open_files() == before


def test_a_folder_that_was_replaced_on_the_way_back_up_is_not_entered(tree: Path, tmp_path: Path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "z").write_bytes(b"outside")
    (tree / below(200) / "a").write_bytes(os.urandom(1_048_576))

    archive = archived(top(tree), "")
    made = [next(archive), next(archive)]  # now it is in that file
    (tree / "level-000000").rename(tree / "moved")
    (tree / "level-000000").symlink_to(outside)
    found = names(b"".join([*made, *archive]))

    assert found[-1] == "z"
    assert below(310) + "z" in found, "it stays in the folders that it has open"
    assert below(1) + "z" not in found


def test_a_folder_in_the_place_of_another_is_not_taken_for_it(tree: Path):
    (tree / below(200) / "a").write_bytes(os.urandom(1_048_576))

    archive = archived(top(tree), "")
    made = [next(archive), next(archive)]
    (tree / "level-000000").rename(tree / "moved")
    (tree / "level-000000").mkdir()
    (tree / "level-000000" / "z").write_bytes(b"another")
    found = names(b"".join([*made, *archive]))

    assert found[-1] == "z"
    assert below(1) + "z" not in found
