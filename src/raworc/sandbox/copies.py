"""A tree of hostile files copied while others may write to it, without ever following a link."""

import contextlib
import errno
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from raworc.sandbox.driver import NoWorkspace, SandboxError, WorkspaceExists
from raworc.sandbox.trees import (
    FOLDER,
    INODE_BYTES,
    MAX_LEVELS,
    OWNER_ALL,
    UNMEASURABLE,
    Level,
    check,
    entries,
    libc,
    open_folder,
    open_top,
    remove,
    sync,
)

_LONGEST_PATH_BYTES: Final = 4000
_PIECE_BYTES: Final = 64 * 1024 * 1024
_PERMISSIONS: Final = 0o777
_RENAME_NOREPLACE: Final = 1
_AT_FDCWD: Final = -100


def _never() -> bool:
    return False


@dataclass(frozen=True)
class CopyRules:
    """What bounds a copy: names at the top that are left out, the most bytes on disk, and a wish to stop it.

    ``durable``: it is on disk when it has its name; without, who copies sees to that, or does not need it.
    """

    leave_out: frozenset[str] = frozenset()
    max_bytes: int = UNMEASURABLE
    is_stopped: Callable[[], bool] = _never
    durable: bool = True


_NO_RULES: Final = CopyRules()


def copy(source: Path, target: Path, uid: int | None, rules: CopyRules = _NO_RULES) -> None:
    """Copy files, folders and links into ``target``, which must not exist: all of it or nothing.

    Links are copied as they are, hard links stay hard links, holes stay holes; what is neither file, folder nor
    link is left out. Modes (but set-user-id bits) and times are kept; ``uid`` owns the copy unless None. Others
    may be writing to ``source``: what is gone or something else when its turn comes is left out.

    Raises:
        NoWorkspace, WorkspaceExists: ``source`` does not exist, ``target`` does.
        SandboxError: ``source`` is deeper than ``MAX_LEVELS`` or too large, or a stop was wished for.
        OSError: the disk.
    """
    if target.exists():
        raise _exists(target)
    draft = target.with_name(f".copy-{target.name}")
    remove(draft.parent, draft.name)
    draft.mkdir(mode=OWNER_ALL)
    try:
        _Copy(uid, rules).run(source, draft)
        if rules.durable:
            sync(draft.parent)
        _settle(draft, target)
    except BaseException:
        remove(draft.parent, draft.name)
        raise


class _Copy:
    """One copy under way: open folders of both trees, and where files with several names went."""

    def __init__(self, uid: int | None, rules: CopyRules) -> None:
        self._uid = uid
        self._rules = rules
        self._bytes = 0
        self._linked: dict[int, str] = {}
        self._names: list[str] = []
        self._sources: list[Level] = []
        self._targets: list[int] = []

    def run(self, source: Path, draft: Path) -> None:
        try:
            top = open_top(source)
        except FileNotFoundError as error:
            raise NoWorkspace(f"The workspace '{source.name}' does not exist") from error
        try:
            self._enter(top, open_top(draft))
            while self._sources:
                level = self._sources[-1]
                if level.names:
                    self._descend(level, level.names.pop())
                else:
                    self._leave()
        finally:
            for descriptor in (*(level.folder for level in self._sources), *self._targets):
                os.close(descriptor)

    def _enter(self, source: int, target: int) -> None:
        self._targets.append(target)
        level = Level(source, [])
        self._sources.append(level)
        left_out = self._rules.leave_out if len(self._sources) == 1 else frozenset[str]()
        for entry in entries(source):
            if entry.name in left_out:
                continue
            self._account(INODE_BYTES)
            with contextlib.suppress(FileNotFoundError, FileExistsError):  # what is renamed may be listed twice
                if entry.is_dir(follow_symlinks=False):
                    level.names.append(entry.name)
                elif entry.is_symlink():
                    self._copy_link(entry.name, source, target)
                elif entry.is_file(follow_symlinks=False):
                    self._copy_file(entry.name, source, target)

    def _account(self, size_bytes: int) -> None:
        self._bytes += size_bytes
        if self._rules.is_stopped():
            raise SandboxError("the copy was stopped")
        if self._bytes > self._rules.max_bytes:
            raise SandboxError(f"the files to be copied have more than {self._rules.max_bytes} bytes")

    def _descend(self, level: Level, name: str) -> None:
        if len(self._sources) > MAX_LEVELS:
            raise SandboxError(f"The workspace is deeper than {MAX_LEVELS} folders and cannot be copied")
        child = open_folder(level.folder, name)
        if child is None:
            return
        try:
            os.mkdir(name, OWNER_ALL, dir_fd=self._targets[-1])
        except FileExistsError:
            os.close(child)
            return
        self._names.append(name)
        self._enter(child, os.open(name, FOLDER, dir_fd=self._targets[-1]))

    def _leave(self) -> None:
        level, target = self._sources.pop(), self._targets.pop()
        _like(os.fstat(level.folder), target, self._uid)
        os.close(level.folder)
        os.close(target)
        del self._names[-1:]

    def _copy_link(self, name: str, source: int, target: int) -> None:
        try:
            leads_to = os.readlink(name, dir_fd=source)
        except OSError as error:
            if error.errno == errno.EINVAL:  # no link any more
                return
            raise
        os.symlink(leads_to, name, dir_fd=target)
        self._give(name, target)

    def _copy_file(self, name: str, source: int, target: int) -> None:
        opened = _open_file(source, name)
        if opened is None:
            return
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
                _copy_bytes(opened, made, found.st_size, self._account)
                _like(found, made, self._uid)
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


def _copy_bytes(source: int, target: int, size: int, account: Callable[[int], None]) -> None:
    """Only the parts that hold data: a file of a terabyte may hold none. ``account`` is told before each piece."""
    position = 0
    while position < size:
        try:
            start = os.lseek(source, position, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole until the end
                break
            raise
        position = min(os.lseek(source, start, os.SEEK_HOLE), size)  # it may be growing
        os.lseek(source, start, os.SEEK_SET)
        os.lseek(target, start, os.SEEK_SET)
        while start < position:
            piece = min(position - start, _PIECE_BYTES)
            account(piece)
            sent = os.sendfile(target, source, None, piece)
            if sent == 0:
                return
            start += sent
    os.ftruncate(target, size)


def _like(found: os.stat_result, made: int, uid: int | None) -> None:
    if uid is not None:
        os.fchown(made, uid, uid)
    os.fchmod(made, found.st_mode & _PERMISSIONS)
    os.utime(made, ns=(found.st_atime_ns, found.st_mtime_ns))


def _settle(draft: Path, target: Path) -> None:
    """Under its name, unless somebody took that."""
    folder = os.open(draft.parent, FOLDER)
    try:
        names = (os.fsencode(draft), os.fsencode(target))
        check(libc.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_NOREPLACE))
        os.fsync(folder)
    except FileExistsError:
        raise _exists(target) from None
    finally:
        os.close(folder)


def _exists(target: Path) -> WorkspaceExists:
    return WorkspaceExists(f"The workspace '{target.name}' exists already")


def _open_file(parent: int, name: str) -> int | None:
    """A file, None when it is gone or something else by now."""
    try:
        return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent)
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ELOOP, errno.ENXIO}:
            return None
        raise
