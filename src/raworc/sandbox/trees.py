"""Whole trees of hostile files: measured, copied and removed without ever following a link.

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

from raworc.sandbox.driver import SandboxError

MAX_LEVELS: Final = 256
UNMEASURABLE: Final = sys.maxsize
"""The size of a tree that is too deep to be looked through."""

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_INODE_BYTES: Final = 1024
"""What an entry counts beside its blocks: empty files use up a disk's inodes."""
_BLOCK_BYTES: Final = 512
_LONGEST_PATH_BYTES: Final = 4000
_PERMISSIONS: Final = 0o777
_OWNER_ALL: Final = 0o700
_RENAME_NOREPLACE: Final = 1
_AT_FDCWD: Final = -100

_libc: Final = ctypes.CDLL(None, use_errno=True)


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
            self.total += found.st_blocks * _BLOCK_BYTES + _INODE_BYTES


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


def copy(source: Path, target: Path, uid: int | None) -> None:
    """Copy files, folders and links into ``target``, which must not exist: all of it or nothing, and on disk.

    Links are copied as they are, hard links stay hard links, holes stay holes; what is neither file, folder nor
    link is left out. Modes (but set-user-id bits) and times are kept; ``uid`` owns the copy unless None.

    Raises:
        SandboxError: ``target`` exists, ``source`` does not, or is deeper than ``MAX_LEVELS``.
        OSError: the disk.
    """
    draft = target.with_name(f".copy-{target.name}")
    remove(draft.parent, draft.name)
    draft.mkdir(mode=_OWNER_ALL)
    try:
        _Copy(uid).run(source, draft)
        _settle(draft, target)
    except BaseException:
        remove(draft.parent, draft.name)
        raise


class _Copy:
    """One copy under way: open folders of both trees, and where files with several names went."""

    def __init__(self, uid: int | None) -> None:
        self._uid = uid
        self._linked: dict[int, str] = {}
        self._names: list[str] = []
        self._sources: list[Level] = []
        self._targets: list[int] = []

    def run(self, source: Path, draft: Path) -> None:
        try:
            self._enter(open_top(source), open_top(draft))
            while self._sources:
                level = self._sources[-1]
                if level.names:
                    self._descend(level, level.names.pop())
                else:
                    self._leave()
        except FileNotFoundError as error:
            raise SandboxError(f"The workspace '{source.name}' does not exist") from error
        finally:
            for descriptor in (*(level.folder for level in self._sources), *self._targets):
                os.close(descriptor)

    def _enter(self, source: int, target: int) -> None:
        self._targets.append(target)
        level = Level(source, [])
        self._sources.append(level)
        for entry in _entries(source):
            with contextlib.suppress(FileNotFoundError):
                if entry.is_dir(follow_symlinks=False):
                    level.names.append(entry.name)
                elif entry.is_symlink():
                    os.symlink(os.readlink(entry.name, dir_fd=source), entry.name, dir_fd=target)
                    self._give(entry.name, target)
                elif entry.is_file(follow_symlinks=False):
                    self._copy_file(entry.name, source, target)

    def _descend(self, level: Level, name: str) -> None:
        if len(self._sources) > MAX_LEVELS:
            raise SandboxError(f"The workspace is deeper than {MAX_LEVELS} folders and cannot be copied")
        child = open_folder(level.folder, name)
        if child is None:
            return
        os.mkdir(name, _OWNER_ALL, dir_fd=self._targets[-1])
        self._names.append(name)
        self._enter(child, os.open(name, _FOLDER, dir_fd=self._targets[-1]))

    def _leave(self) -> None:
        level, target = self._sources.pop(), self._targets.pop()
        like(os.fstat(level.folder), target, self._uid)
        os.close(level.folder)
        os.close(target)
        del self._names[-1:]

    def _copy_file(self, name: str, source: int, target: int) -> None:
        opened = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=source)
        try:
            found = os.fstat(opened)
            if not stat.S_ISREG(found.st_mode):
                return
            former = self._linked.get(found.st_ino)
            if former is not None:
                os.link(former, name, src_dir_fd=self._targets[0], dst_dir_fd=target, follow_symlinks=False)
                return
            made = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=target)
            try:
                _copy_bytes(opened, made, found.st_size)
                like(found, made, self._uid)
            finally:
                os.close(made)
            path = "/".join([*self._names, name])
            if found.st_nlink > 1 and len(os.fsencode(path)) < _LONGEST_PATH_BYTES:
                self._linked[found.st_ino] = path
        finally:
            os.close(opened)

    def _give(self, name: str, folder: int) -> None:
        if self._uid is not None:
            os.chown(name, self._uid, self._uid, dir_fd=folder, follow_symlinks=False)


def _copy_bytes(source: int, target: int, size: int) -> None:
    """Only the parts that hold data: a file of a terabyte may hold none."""
    position = 0
    while position < size:
        try:
            start = os.lseek(source, position, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole until the end
                break
            raise
        position = os.lseek(source, start, os.SEEK_HOLE)
        os.lseek(source, start, os.SEEK_SET)
        os.lseek(target, start, os.SEEK_SET)
        while start < position:
            sent = os.sendfile(target, source, None, position - start)
            if sent == 0:
                return
            start += sent
    os.ftruncate(target, size)


def like(found: os.stat_result, made: int, uid: int | None) -> None:
    """Give what was made the mode (but set-user-id bits) and times of what was found; ``uid`` owns it unless None."""
    if uid is not None:
        os.fchown(made, uid, uid)
    os.fchmod(made, found.st_mode & _PERMISSIONS)
    os.utime(made, ns=(found.st_atime_ns, found.st_mtime_ns))


def sync(folder: Path) -> None:
    """All that was written to the file system of a folder is on disk."""
    opened = os.open(folder, _FOLDER)
    try:
        _check(_libc.syncfs(opened))
    finally:
        os.close(opened)


def _settle(draft: Path, target: Path) -> None:
    """On disk first, then under its name, unless somebody took that."""
    folder = os.open(draft.parent, _FOLDER)
    try:
        _check(_libc.syncfs(folder))
        names = (os.fsencode(draft), os.fsencode(target))
        _check(_libc.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_NOREPLACE))
        os.fsync(folder)
    except FileExistsError:
        raise SandboxError(f"The workspace '{target.name}' exists already") from None
    finally:
        os.close(folder)


def _check(answer: int) -> None:
    if answer != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _unlink_files(top: int) -> list[str]:
    """Remove all that is no folder; the names of the folders."""
    folders: list[str] = []
    for entry in list(_entries(top)):
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
    for entry in _entries(folder):
        counted.add(entry)
        if counted.is_enough:
            break
        if entry.is_dir(follow_symlinks=False):
            level.names.append(entry.name)
    return level


def _entries(folder: int) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        yield from entries


def open_top(path: Path) -> int:
    """The folder itself, open."""
    return _permitted(lambda: os.open(path, _FOLDER), lambda: path.chmod(_OWNER_ALL))


def open_folder(parent: int, name: str) -> int | None:
    """A subfolder, None when it is gone or no folder any more."""
    try:
        return _permitted(lambda: os.open(name, _FOLDER, dir_fd=parent), lambda: _open_up(parent, name))
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
            Path(f"/proc/self/fd/{found}").chmod(_OWNER_ALL)
    finally:
        os.close(found)
