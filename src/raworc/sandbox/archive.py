"""A tree of hostile files as a tar.gz, made while it is read, however deep it is, and without following a link.

Others may be writing to the tree: every header is true of the bytes that follow it all the same.
"""

import errno
import os
import stat
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from raworc.sandbox.beneath import MAX_PATH_BYTES, open_beneath
from raworc.sandbox.driver import Pieces

PIECE_BYTES: Final = 262_144
"""How much of a file is in memory at once."""

_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LEVEL: Final = 1  # a gigabyte takes 10 s and not 40, for a tenth more bytes
_GZIP: Final = 31
_STEP_BYTES: Final = 4 * 1_048_576
_PERMISSIONS: Final = 0o777
_MOST_LINKED: Final = 100_000
_MOST_OPEN: Final = 64
_SKIPPED: Final = frozenset(
    {
        errno.ENOENT,
        errno.ENOTDIR,
        errno.ELOOP,
        errno.EACCES,
        errno.EPERM,
        errno.EINVAL,
        errno.ENXIO,
        errno.ESTALE,
        errno.EXDEV,
    }
)
"""Gone, replaced by something else, or not ours to open."""


def archived(top: int, path: str) -> Pieces:
    """The archive of what is open as ``top`` and lies at ``path`` ("" is the root), as short or empty pieces.

    Closes ``top``. The first piece comes before anything is looked at. What has a path that no system call takes
    is left out.

    Raises:
        OSError: the disk.
    """
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
    taken, made = 0, b""
    tree = _Tree(top, path)
    try:
        yield b""
        for block in tree.blocks():
            taken += len(block)
            made += packer.compress(block)
            if len(made) >= PIECE_BYTES or taken >= _STEP_BYTES:
                yield made
                taken, made = 0, b""
        yield made + packer.flush()
    finally:
        tree.close()
        os.close(top)


def empty() -> Pieces:
    """The archive of nothing."""
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
    yield packer.compress(bytes(2 * tarfile.BLOCKSIZE)) + packer.flush()


@dataclass
class _Level:
    """A folder on the way down, its path with a slash at its end, and the names still to be stored.

    ``opened`` is None while the way is longer than ``_MOST_OPEN``; ``identity`` says which folder it was.
    """

    opened: int | None
    identity: tuple[int, int]
    prefix: str
    names: list[str]


class _Tree:
    """The walk: the folders on the way, and where files with several names were stored."""

    def __init__(self, top: int, path: str) -> None:
        self._top = top
        self._path = path
        self._base = f"{path}/" if path else ""
        self._levels: list[_Level] = []
        self._linked: dict[int, str] = {}

    def blocks(self) -> Iterator[bytes]:
        """The tar stream, uncompressed, in pieces of at most ``PIECE_BYTES``."""
        found = os.fstat(self._top)
        if stat.S_ISREG(found.st_mode):
            yield from self._file(self._top, self._path, found)
        else:
            if self._path:
                yield _header(self._base, found, tarfile.DIRTYPE)
            self._enter(os.dup(self._top), self._base)
            while self._levels:
                level = self._levels[-1]
                folder = self._reached(level) if level.names else None
                if folder is not None:
                    yield from self._entry(folder, level.prefix + level.names[-1], level.names.pop())
                else:
                    self._leave()
        yield bytes(2 * tarfile.BLOCKSIZE)

    def close(self) -> None:
        """Let go of every folder."""
        while self._levels:
            self._leave()

    def _enter(self, opened: int, prefix: str) -> None:
        found = os.fstat(opened)
        level = _Level(opened, (found.st_dev, found.st_ino), prefix, [])
        self._levels.append(level)
        with os.scandir(opened) as entries:
            level.names = sorted((entry.name for entry in entries), reverse=True)
        far = self._levels[-_MOST_OPEN - 1] if len(self._levels) > _MOST_OPEN else None
        if far is not None and far.opened is not None:
            os.close(far.opened)
            far.opened = None

    def _leave(self) -> None:
        level = self._levels.pop()
        if level.opened is not None:
            os.close(level.opened)

    def _reached(self, level: _Level) -> int | None:
        """The folder, opened again where it was let go; None when it is not at its path any more."""
        if level.opened is not None:
            return level.opened
        try:
            opened = open_beneath(self._top, level.prefix.removeprefix(self._base).rstrip("/"), _FOLDER)
        except OSError as error:
            if error.errno in _SKIPPED:
                return None
            raise
        found = os.fstat(opened)
        if (found.st_dev, found.st_ino) != level.identity:
            os.close(opened)
            return None
        level.opened = opened
        return opened

    def _entry(self, folder: int, path: str, name: str) -> Iterator[bytes]:
        if len(os.fsencode(path)) >= MAX_PATH_BYTES:
            return
        try:
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if stat.S_ISLNK(found.st_mode):
                yield _header(path, found, tarfile.SYMTYPE, target=os.readlink(name, dir_fd=folder))
                return
            if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):
                return
            opened = os.open(name, _FOLDER if stat.S_ISDIR(found.st_mode) else _FILE, dir_fd=folder)
        except OSError as error:
            if error.errno in _SKIPPED:
                return
            raise
        if stat.S_ISDIR(found.st_mode):
            self._enter(opened, f"{path}/")
            yield _header(f"{path}/", found, tarfile.DIRTYPE)
            return
        try:
            yield from self._file(opened, path, os.fstat(opened))
        finally:
            os.close(opened)

    def _file(self, opened: int, path: str, found: os.stat_result) -> Iterator[bytes]:
        if not stat.S_ISREG(found.st_mode):
            return
        former = self._linked.get(found.st_ino)
        if former is not None:
            yield _header(path, found, tarfile.LNKTYPE, target=former)
            return
        if found.st_nlink > 1 and len(self._linked) < _MOST_LINKED:
            self._linked[found.st_ino] = path
        yield _header(path, found, tarfile.REGTYPE)
        yield from _exactly(opened, found.st_size)
        yield bytes(-found.st_size % tarfile.BLOCKSIZE)


def _exactly(opened: int, size_bytes: int) -> Iterator[bytes]:
    """That many bytes, whatever becomes of the file: zeros for those that are gone."""
    position = 0
    while position < size_bytes:
        wanted = min(PIECE_BYTES, size_bytes - position)
        piece = os.pread(opened, wanted, position) or bytes(wanted)
        position += len(piece)
        yield piece


def _header(path: str, found: os.stat_result, kind: bytes, *, target: str = "") -> bytes:
    """One entry's header. Owners are left out: host users are nobody's business."""
    info = tarfile.TarInfo(path)
    info.type, info.linkname = kind, target
    info.size = found.st_size if kind == tarfile.REGTYPE else 0
    info.mode = found.st_mode & _PERMISSIONS
    info.mtime = int(found.st_mtime)
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
