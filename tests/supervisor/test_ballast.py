"""The ballast: made where there is plenty, let go when there is nothing, made again."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from disks import small_disk
from raworc.domain.storage import MEBIBYTE, Watermarks, drops_ballast, wants_ballast
from raworc.supervisor.ballast import Ballast


@pytest.fixture
def disk() -> Iterator[Path]:
    """Of 64 MiB."""
    with small_disk(64) as folder:
        yield folder


def test_it_comes_and_goes_with_the_room(disk: Path):
    ballast, file = Ballast(disk, 16 * MEBIBYTE, Watermarks.of_mb(16)), disk / "ballast"
    ballast.look()
    assert (file.stat().st_size, file.stat().st_blocks * 512) == (16 * MEBIBYTE, 16 * MEBIBYTE)
    assert file.stat().st_mode & 0o777 == 0o600
    (disk / "big").write_bytes(os.urandom(45 * MEBIBYTE))
    ballast.look()
    assert file.exists()  # below the mark of new work, but not full
    (disk / "more").write_bytes(os.urandom(2 * MEBIBYTE))
    ballast.look()
    assert not file.exists()
    ballast.look()
    assert not file.exists()
    (disk / "big").unlink()
    ballast.look()
    assert file.exists()
    assert sorted(path.name for path in disk.iterdir()) == ["ballast", "more"]


def test_a_disk_that_is_gone_is_no_end(tmp_path: Path):
    Ballast(tmp_path / "gone", MEBIBYTE, Watermarks.of_mb(16)).look()


@pytest.mark.parametrize(
    ("mark_mb", "free_mb", "size_mb", "wants", "drops"),
    [
        (512, 10_000, 256, True, False),
        (512, 1281, 256, True, False),
        (512, 1280, 256, False, False),
        (512, 64, 256, False, False),
        (512, 63, 256, False, True),
        (512, 10_000, 0, False, False),
        (0, 300, 256, True, False),
        (0, 0, 256, False, False),
    ],
)
def test_when_it_is_made_and_let_go(mark_mb: int, free_mb: int, size_mb: int, wants: bool, drops: bool):
    marks, free = Watermarks.of_mb(mark_mb), free_mb * MEBIBYTE
    assert wants_ballast(marks, free, size_mb * MEBIBYTE) is wants
    assert drops_ballast(marks, free) is drops
