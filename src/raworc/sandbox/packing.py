"""Workspaces as members of a tar archive, and back: whole trees of hostile files, by one descriptor a level.

Modes, times, links, hard links and holes are kept; who owns a file is not, because all of a workspace belongs to
its session. Others may be writing to a tree that is packed: every header is true of the bytes that follow it.
"""

import contextlib
import io
import os
import stat
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, cast

from raworc.sandbox.beneath import open_beneath
from raworc.sandbox.driver import SandboxError
from raworc.sandbox.trees import MAX_LEVELS, Level, open_folder, open_top

_PERMISSIONS: Final = 0o777
_PIECE_BYTES: Final = 1_048_576
_BLOCK: Final = tarfile.BLOCKSIZE
_LONGEST_LINK_BYTES: Final = 4000
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NEW_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class BadMember(SandboxError):
    """A member of an archive that no packed tree has."""


def pack(tar: tarfile.TarFile, workspace: Path, prefix: str) -> int:
    """Add a tree under ``prefix``; how many of its folders were left out, with all in them. Blocks.

    Those are left out that lie deeper than ``MAX_LEVELS``: no agent can keep all others from being packed. A tree
    that is not there is left out.

    Raises:
        OSError: the disk.
    """
    try:
        top = open_top(workspace)
    except FileNotFoundError:
        return 0
    packing = _Packing(tar)
    try:
        packing.run(top, prefix)
    finally:
        packing.close()
    return packing.left_out


class _Packing:
    """The walk: open folders, their paths, and where files with several names were stored."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self._levels: list[Level] = []
        self._paths: list[str] = []
        self._linked: dict[int, str] = {}
        self.left_out = 0

    def run(self, top: int, prefix: str) -> None:
        self._enter(top, prefix)
        while self._levels:
            level = self._levels[-1]
            if not level.names:
                os.close(self._levels.pop().folder)
                self._paths.pop()
            elif len(self._levels) > MAX_LEVELS:
                self.left_out += len(level.names)
                level.names.clear()
            else:
                name = level.names.pop()
                child = open_folder(level.folder, name)
                if child is not None:
                    self._enter(child, f"{self._paths[-1]}/{name}")

    def close(self) -> None:
        for level in self._levels:
            os.close(level.folder)

    def _enter(self, folder: int, path: str) -> None:
        level = Level(folder, [])
        self._levels.append(level)
        self._paths.append(path)
        self._tar.addfile(_member(path, os.fstat(folder), tarfile.DIRTYPE))
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    level.names.append(entry.name)
                else:
                    with contextlib.suppress(FileNotFoundError):
                        self._add(folder, entry.name, f"{path}/{entry.name}")

    def _add(self, folder: int, name: str, path: str) -> None:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if stat.S_ISLNK(found.st_mode):
            member = _member(path, found, tarfile.SYMTYPE)
            member.linkname = os.readlink(name, dir_fd=folder)
            self._tar.addfile(member)
        elif stat.S_ISREG(found.st_mode):
            opened = _opened(folder, name)
            if opened is not None:
                try:
                    self._add_file(opened, path)
                finally:
                    os.close(opened)

    def _add_file(self, opened: int, path: str) -> None:
        found = os.fstat(opened)
        if not stat.S_ISREG(found.st_mode):
            return
        former = self._linked.get(found.st_ino)
        if former is not None:
            member = _member(path, found, tarfile.LNKTYPE)
            member.linkname = former
            self._tar.addfile(member)
            return
        if found.st_nlink > 1 and len(os.fsencode(path)) < _LONGEST_LINK_BYTES:
            self._linked[found.st_ino] = path
        member, parts = _member(path, found, tarfile.REGTYPE), _parts(opened, found.st_size)
        head = b""
        if parts != [(0, found.st_size)] and found.st_size:
            head = _sparse(member, parts, found.st_size)
        member.size = len(head) + sum(size for _, size in parts)
        self._tar.addfile(member, cast("IO[bytes]", _Bytes(opened, head, parts)))


def _opened(folder: int, name: str) -> int | None:
    """A file, None when it is one no more. Without root, one of ours whose mode hides it is opened all the same."""
    try:
        return os.open(name, _FILE, dir_fd=folder)
    except PermissionError:
        pass
    except OSError:
        return None
    named = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        before = os.fstat(named)
        if not stat.S_ISREG(before.st_mode):
            return None
        itself = Path(f"/proc/self/fd/{named}")
        itself.chmod(before.st_mode | stat.S_IRUSR)
        try:
            opened = os.open(itself, os.O_RDONLY | os.O_CLOEXEC)
        finally:
            itself.chmod(stat.S_IMODE(before.st_mode))
        return opened
    finally:
        os.close(named)


class _Bytes:
    """Exactly the bytes that the header promises, whatever becomes of the file: zeros for those that are gone."""

    def __init__(self, opened: int, head: bytes, parts: list[tuple[int, int]]) -> None:
        self._opened = opened
        self._head = head
        self._parts = parts[::-1]

    def read(self, size: int) -> bytes:
        made = bytearray(self._head[:size])
        self._head = self._head[size:]
        while len(made) < size and self._parts:
            position, left = self._parts.pop()
            wanted = min(left, size - len(made))
            piece = os.pread(self._opened, wanted, position) or bytes(wanted)
            made += piece
            if left > len(piece):
                self._parts.append((position + len(piece), left - len(piece)))
        return bytes(made)


def _parts(opened: int, size: int) -> list[tuple[int, int]]:
    """Where a file holds data: positions and lengths."""
    parts: list[tuple[int, int]] = []
    position = 0
    while position < size:
        try:
            start = os.lseek(opened, position, os.SEEK_DATA)
        except OSError:  # nothing but a hole until the end
            break
        position = min(os.lseek(opened, start, os.SEEK_HOLE), size)
        if position > start:
            parts.append((start, position - start))
    return parts


def _sparse(member: tarfile.TarInfo, parts: list[tuple[int, int]], size: int) -> bytes:
    """Make it a sparse member (GNU's format 1.0); what must stand before its data."""
    member.pax_headers = {
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.name": member.name,
        "GNU.sparse.realsize": str(size),
    }
    member.name = f"sparse/{len(member.name)}"
    listed = [(start, length) for start, length in parts if length] + [(size, 0)]
    numbers = [len(listed), *(number for part in listed for number in part)]
    head = "".join(f"{number}\n" for number in numbers).encode()
    return head + bytes(-len(head) % _BLOCK)


def _member(path: str, found: os.stat_result, kind: bytes) -> tarfile.TarInfo:
    member = tarfile.TarInfo(path)
    member.type = kind
    member.mode = found.st_mode & _PERMISSIONS
    member.mtime = found.st_mtime
    return member


@dataclass
class _Made:
    """An open folder that is being filled, and what it shall be like."""

    name: str
    folder: int
    member: tarfile.TarInfo


class Unpacking:
    """One workspace that is written member by member, in the order in which it was packed. ``uid`` owns all of it."""

    def __init__(self, folder: Path, member: tarfile.TarInfo, uid: int | None) -> None:
        folder.mkdir(mode=0o700)
        self._uid = uid
        self._made = [_Made("", os.open(folder, _FOLDER), member)]

    def add(self, tar: tarfile.TarFile, member: tarfile.TarInfo, names: list[str], linked: list[str]) -> None:
        """Write one member at ``names`` below the workspace; ``linked`` is where a hard link's first name is.

        Raises:
            BadMember: not of a packed tree.
        """
        for name in (*names, *linked):
            if name in ("", ".", "..") or "/" in name or "\0" in name:
                raise BadMember(f"'{member.name!r}' is no path of a workspace")
        self._go_to(names[:-1])
        name, folder = names[-1], self._made[-1].folder
        if member.isdir():
            os.mkdir(name, 0o700, dir_fd=folder)
            self._made.append(_Made(name, os.open(name, _FOLDER, dir_fd=folder), member))
        elif member.issym():
            os.symlink(member.linkname, name, dir_fd=folder)
            self._give(name, folder)
        elif member.islnk():
            self._link(linked, name, folder)
        elif member.isreg():
            self._write(tar, member, name, folder)
        else:
            raise BadMember(f"'{member.name!r}' is neither file, folder nor link")

    def finish(self) -> None:
        """All of it is there."""
        while self._made:
            self._leave()

    def close(self) -> None:
        """Let go of it, finished or not."""
        while self._made:
            os.close(self._made.pop().folder)

    def _go_to(self, parents: list[str]) -> None:
        at = [made.name for made in self._made[1:]]
        while at != parents[: len(at)]:
            at.pop()
            self._leave()
        if len(at) < len(parents):
            raise BadMember(f"The folder '{'/'.join(parents)!r}' comes after what is in it")

    def _leave(self) -> None:
        made = self._made.pop()
        mode = 0o700 if not self._made else made.member.mode
        _be_like(made.folder, made.member, mode, self._uid)
        os.close(made.folder)

    def _link(self, linked: list[str], name: str, folder: int) -> None:
        try:
            first = open_beneath(self._made[0].folder, "/".join(linked), os.O_PATH | os.O_NOFOLLOW)
        except OSError as error:
            raise BadMember(f"The file that '{name!r}' is another name of is not there") from error
        try:
            os.link(f"/proc/self/fd/{first}", name, dst_dir_fd=folder, follow_symlinks=True)
        finally:
            os.close(first)

    def _write(self, tar: tarfile.TarFile, member: tarfile.TarInfo, name: str, folder: int) -> None:
        source = tar.extractfile(member)
        if source is None:
            raise BadMember(f"'{member.name!r}' has no bytes")
        parts = cast("list[tuple[int, int]] | None", member.sparse) or [(0, member.size)]
        made = os.open(name, _NEW_FILE, 0o600, dir_fd=folder)
        raw = cast("io.BufferedReader", source).raw  # the buffer on top of it wants to seek in the stream below
        with source, os.fdopen(made, "wb") as target:
            for start, length in parts:
                raw.seek(start, os.SEEK_SET)
                target.seek(start)
                left = length
                while left and (piece := raw.read(min(left, _PIECE_BYTES))):
                    target.write(piece)
                    left -= len(piece)
            target.truncate(member.size)
            target.flush()
            _be_like(made, member, member.mode, self._uid)

    def _give(self, name: str, folder: int) -> None:
        if self._uid is not None:
            os.chown(name, self._uid, self._uid, dir_fd=folder, follow_symlinks=False)


def _be_like(made: int, member: tarfile.TarInfo, mode: int, uid: int | None) -> None:
    if uid is not None:
        os.fchown(made, uid, uid)
    os.fchmod(made, mode & _PERMISSIONS)
    os.utime(made, (member.mtime, member.mtime))
