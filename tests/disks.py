"""Disks that are really full: small file systems in memory, mounted by the test."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

_MEBIBYTE = 1_048_576
_PREFIX = "rw-"  # those of killed runs are removed with the homes


@contextmanager
def small_disk(size_mb: int, at: Path | None = None) -> Iterator[Path]:
    """A file system of its own that others may enter, at ``at`` or anywhere."""
    if os.geteuid() != 0:
        pytest.skip("not root: a small file system cannot be mounted")
    folder = at or Path(tempfile.mkdtemp(prefix=_PREFIX, dir="/tmp"))
    folder.mkdir(parents=True, exist_ok=True)
    mode = "0755" if at is None else f"{folder.stat().st_mode & 0o7777:o}"
    options = f"size={size_mb}m,mode={mode}"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "raworc-test", folder], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)
        if at is None:
            folder.rmdir()


def fill(folder: Path, *, name: str = "filler") -> Path:
    """Take all room there is; removing the file gives it back."""
    file = folder / f".{name}"
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        for piece in (bytes(_MEBIBYTE), bytes(4096)):  # others are writing: what is left is not known before
            with suppress(OSError):
                while os.write(descriptor, piece):
                    pass
    finally:
        os.close(descriptor)
    return file
