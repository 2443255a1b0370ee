"""Whole trees of hostile files: measured and removed without ever following a link (copied: ``copies.py``).

Everything is relative to open folders, one descriptor a level and no recursion. A tree deeper than ``MAX_LEVELS``
is nobody's work: it counts as full, is not copied, and is removed like any other.
"""

import contextlib
import ctypes
import errno
import os
import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

MAX_LEVELS: Final = 256
UNMEASURABLE: Final = sys.maxsize
"""The size of a tree that is too deep to be looked through."""

FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
INODE_BYTES: Final = 1024
"""What an entry counts beside its blocks: empty files use up a disk's inodes."""
_BLOCK_BYTES: Final = 512
OWNER_ALL: Final = 0o700

libc: Final = ctypes.CDLL(None, use_errno=True)
"""The C library, for what Python has no word for; see :func:`check`."""


@dataclass
class Level:
    """An open folder on the way down, and the subfolders of it still to be visited."""

    folder: int
    names: list[str]


@dataclass
class _Sum:
    """Bytes so far; files with several names count once."""

    enough: int
    total: int = 0
    linked: set[int] = field(default_factory=set[int])

    @property
    def is_enough(self) -> bool:
        """Nobody needs to know more."""
        return self.total > self.enough

    def add(self, entry: os.DirEntry[str]) -> None:
        """Count one entry, unless it vanished."""
        with contextlib.suppress(FileNotFoundError):
            found = entry.stat(follow_symlinks=False)
            if found.st_nlink > 1 and not stat.S_ISDIR(found.st_mode):
                if found.st_ino in self.linked:
                    return
                self.linked.add(found.st_ino)
            self.total += found.st_blocks * _BLOCK_BYTES + INODE_BYTES


def measure(workspace: Path, enough_bytes: int = UNMEASURABLE) -> int:
    """Bytes on disk below a folder, or ``UNMEASURABLE``. Others may be writing to it.

    Stops counting above ``enough_bytes``: who writes as fast as we read would keep us for ever. What cannot be
    looked into, for its depth or its owner's modes, makes the whole unmeasurable.
    """
    counted = _Sum(enough_bytes)
    levels = [_count(open_top(workspace), counted)]
    try:
        while levels and not counted.is_enough:
            names = levels[-1].names
            if not names:
                os.close(levels.pop().folder)
            elif len(levels) > MAX_LEVELS:
                return UNMEASURABLE
            else:
                child = open_folder(levels[-1].folder, names.pop())
                if child is not None:
                    levels.append(_count(child, counted))
    except PermissionError:
        return UNMEASURABLE
    finally:
        for level in levels:
            os.close(level.folder)
    return counted.total


def remove(parent: Path, name: str) -> None:
    """Remove the folder ``parent/name`` and all below it; nothing there is fine. Nobody may be writing to it.

    What lies deeper is moved up to the top first, so that nothing is more than a level away.
    """
    try:
        top = open_top(parent / name)
    except FileNotFoundError:
        return
    try:
        number = 0
        while folders := _unlink_files(top):
            for folder in folders:
                number = _flatten(top, folder, number)
    finally:
        os.close(top)
    (parent / name).rmdir()


def sync(folder: Path) -> None:
    """All that was written to the file system of a folder is on disk."""
    opened = os.open(folder, FOLDER)
    try:
        check(libc.syncfs(opened))
    finally:
        os.close(opened)


def check(answer: int) -> None:
    """Nothing, when a call of ``libc`` succeeded. Raises OSError."""
    if answer != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _unlink_files(top: int) -> list[str]:
    """Remove all that is no folder; the names of the folders."""
    folders: list[str] = []
    for entry in list(entries(top)):
        if entry.is_dir(follow_symlinks=False):
            folders.append(entry.name)
        else:
            os.unlink(entry.name, dir_fd=top)
    return folders


def _flatten(top: int, name: str, number: int) -> int:
    """Remove a folder; folders in it move up under free numbers. The next free number."""
    folder = open_folder(top, name)
    if folder is None:
        return number
    try:
        for child in _unlink_files(folder):
            number = _move_up(folder, child, top, number)
    finally:
        os.close(folder)
    os.rmdir(name, dir_fd=top)
    return number


def _move_up(folder: int, child: str, top: int, number: int) -> int:
    while True:
        number += 1
        try:
            os.rename(child, f".{number}", src_dir_fd=folder, dst_dir_fd=top)
        except (FileExistsError, NotADirectoryError):
            continue
        except PermissionError:  # moving a folder changes its '..', so it must be writable itself
            _open_up(folder, child)
            continue
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:
                raise
            continue
        return number


def _count(folder: int, counted: _Sum) -> Level:
    level = Level(folder, [])
    for entry in entries(folder):
        counted.add(entry)
        if counted.is_enough:
            break
        if entry.is_dir(follow_symlinks=False):
            level.names.append(entry.name)
    return level


def entries(folder: int) -> Iterator[os.DirEntry[str]]:
    """What lies in an open folder."""
    with os.scandir(folder) as found:
        yield from found


def open_top(path: Path) -> int:
    """An open folder. Raises FileNotFoundError where there is none."""
    return _permitted(lambda: os.open(path, FOLDER), lambda: path.chmod(OWNER_ALL))


def open_folder(parent: int, name: str) -> int | None:
    """A subfolder, None when it is gone or no folder any more."""
    try:
        return _permitted(lambda: os.open(name, FOLDER, dir_fd=parent), lambda: _open_up(parent, name))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            return None
        raise


def _permitted(attempt: Callable[[], int], open_up: Callable[[], None]) -> int:
    """Without root, a folder of ours that its owner may not read would hide what is in it: it is opened up."""
    try:
        return attempt()
    except PermissionError:
        open_up()
        return attempt()


def _open_up(parent: int, name: str) -> None:
    found = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        if stat.S_ISDIR(os.fstat(found).st_mode):
            Path(f"/proc/self/fd/{found}").chmod(OWNER_ALL)
    finally:
        os.close(found)
