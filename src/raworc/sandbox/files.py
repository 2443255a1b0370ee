"""A workspace's files, without a live sandbox and from any process of the node."""

import contextlib
import errno
import io
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Generator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Final

from raworc.sandbox import trees
from raworc.sandbox.archive import PIECE_BYTES, archived
from raworc.sandbox.beneath import components, encoded, open_beneath, open_root, resolve, shown, unshown
from raworc.sandbox.driver import (
    MAX_FILE_BYTES,
    BadPath,
    DirectoryNotEmpty,
    FileContent,
    FileEntry,
    FileError,
    FileKind,
    FileList,
    Files,
    FileTooLarge,
    NoSuchFile,
    Pieces,
    Workspace,
    WorkspaceFull,
)

_FOLDER_MODE: Final = 0o755
_FILE_MODE: Final = 0o644
_READ: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY
_ITSELF: Final = os.O_PATH | os.O_NOFOLLOW
_CHUNK_BYTES: Final = 1_048_576
_MEBIBYTE: Final = 1_048_576


def workspace_files(sessions_dir: Path, uid_base: int) -> Callable[[Workspace], Files]:
    """``driver.files`` for processes that open no sandboxes (servers)."""

    def files(workspace: Workspace) -> Files:
        folder, uid = workspace_path(sessions_dir, workspace), session_uid(uid_base, workspace)
        return WorkspaceFiles(folder, uid, workspace.disk_mb * _MEBIBYTE)

    return files


def workspace_path(sessions_dir: Path, workspace: Workspace) -> Path:
    """Where a session's files lie on this node. The id is a UUID: nothing of a name reaches the disk."""
    return sessions_dir / str(workspace.session_id)


def session_uid(uid_base: int, workspace: Workspace) -> int | None:
    """The host user that owns a session's files; None where everything is ours anyway (not root)."""
    return uid_base + workspace.number if os.geteuid() == 0 else None


class WorkspaceFiles:
    """``Files`` of the driver contract. Errors of the kernel are translated in one place, :func:`_translated`."""

    def __init__(self, folder: Path, uid: int | None, limit_bytes: int) -> None:
        self._folder = folder
        self._uid = uid
        self._limit_bytes = limit_bytes

    def list(self, path: str, offset: int, limit: int) -> FileList:
        """The entries directly below ``path``."""
        with self._opened(path, os.O_RDONLY | os.O_DIRECTORY) as (folder, _):
            with os.scandir(folder) as entries:
                names = sorted((entry.name for entry in entries), key=lambda name: (shown(name).casefold(), name))
            page = [self._entry(name, folder) for name in names[offset : offset + limit]]
        return FileList(tuple(entry for entry in page if entry is not None), len(names))

    def stat(self, path: str) -> FileEntry:
        """One entry itself; a symlink is described, not followed."""
        with self._opened(path, _ITSELF) as (found, names):
            return _described(names[-1] if names else "", found)

    def read(self, path: str) -> bytes:
        """A regular file's bytes; links are followed while they stay below ``/agent``."""
        with self._opened(path, _READ) as (file, _):
            _check_readable(file, path)
            return _whole(file, path)

    def open(self, path: str) -> FileContent:
        """The same, piece by piece."""
        with self._opened(path, _READ) as (file, _):
            size_bytes = _check_readable(file, path)
            return FileContent(size_bytes, _pieces(os.fdopen(os.dup(file), "rb", buffering=0), size_bytes))

    def archive(self, path: str) -> Pieces:
        """A folder or file as a tar.gz."""
        with self._opened(path, _READ) as (top, _):
            mode = os.fstat(top).st_mode
            if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                raise BadPath(f"'{shown(path)}' is neither a file nor a folder")
            return archived(os.dup(top), path)

    def write(self, path: str, data: bytes | IO[bytes]) -> FileEntry:
        """Create or replace a regular file atomically, missing parents included; owned by the session."""
        names = components(path)
        if not names:
            raise BadPath("A file needs a name")
        if len(names) > trees.MAX_LEVELS:
            raise BadPath(f"'{shown(path)[:100]}...' is deeper than {trees.MAX_LEVELS} folders")
        source = io.BytesIO(data) if isinstance(data, bytes) else data
        size_bytes = source.seek(0, os.SEEK_END)
        if size_bytes > MAX_FILE_BYTES:
            raise FileTooLarge(f"'{shown(path)}' would have {size_bytes} bytes, more than {MAX_FILE_BYTES}")
        source.seek(0)
        with _translated(path), self._root() as root:
            *parents, name = resolve(root, names) or [""]
            with self._made(root, parents) as folder:
                former = self._replaceable(folder, name, path)
                self._check_room(size_bytes - former, path)
                self._replace(folder, name, source)
                entry = self._entry(name, folder)
        if entry is None:
            raise NoSuchFile(f"'{shown(path)}' was removed while it was written")
        return entry

    def delete(self, path: str) -> None:
        """Remove a file, a link itself, or an empty directory."""
        names = components(path)
        if not names:
            raise BadPath("The workspace itself cannot be deleted")
        *parents, name = names
        with self._opened("/".join(parents), os.O_RDONLY | os.O_DIRECTORY, shown_as=path) as (folder, _):
            name = self._present(folder, name)
            if stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                os.rmdir(name, dir_fd=folder)
            else:
                os.unlink(name, dir_fd=folder)

    @contextlib.contextmanager
    def _root(self) -> Generator[int, None, None]:
        root = open_root(self._folder)
        try:
            yield root
        finally:
            os.close(root)

    @contextlib.contextmanager
    def _opened(
        self, path: str, flags: int, shown_as: str | None = None
    ) -> Generator[tuple[int, "list[str]"], None, None]:
        """What is at ``path``, open, and its names."""
        names = components(path)
        with _translated(shown_as or path), self._root() as root:
            opened, names = _open(root, names, flags)
            try:
                yield opened, names
            finally:
                os.close(opened)

    @contextlib.contextmanager
    def _made(self, root: int, names: "list[str]") -> Generator[int, None, None]:
        """The folder ``names`` open, made where it is missing; every step stays beneath the root."""
        folder = os.dup(root)
        try:
            for position, name in enumerate(names, 1):
                with contextlib.suppress(FileExistsError):
                    os.mkdir(encoded(name), _FOLDER_MODE, dir_fd=folder)
                    self._give(encoded(name), folder)
                deeper = open_beneath(root, "/".join(names[:position]), os.O_RDONLY | os.O_DIRECTORY)
                os.close(folder)
                folder = deeper
            yield folder
        finally:
            os.close(folder)

    def _replace(self, folder: int, name: str, source: IO[bytes]) -> None:
        draft = f".raworc-{secrets.token_hex(8)}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        made = os.open(draft, flags, _FILE_MODE, dir_fd=folder)
        try:
            with os.fdopen(made, "wb", closefd=True) as file:
                os.fchmod(made, _FILE_MODE)
                if self._uid is not None:
                    os.fchown(made, self._uid, self._uid)
                shutil.copyfileobj(source, file, _CHUNK_BYTES)
                file.flush()
                os.fsync(made)
            os.rename(draft, encoded(name), src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(draft, dir_fd=folder)
            raise
        os.fsync(folder)

    def _give(self, name: bytes, folder: int) -> None:
        if self._uid is not None:
            os.chown(name, self._uid, self._uid, dir_fd=folder, follow_symlinks=False)

    def _replaceable(self, folder: int, name: str, path: str) -> int:
        """The size of what is there, 0 for nothing."""
        entry = self._entry(name, folder) if name else None
        if not name or (entry is not None and entry.kind not in ("file", "symlink")):
            raise BadPath(f"'{shown(path)}' is there and not a file")
        return entry.size_bytes if entry is not None and entry.kind == "file" else 0

    def _check_room(self, more_bytes: int, path: str) -> None:
        """Measured each time: whoever else writes here tells nobody. A tree of 100,000 files takes half a second."""
        if more_bytes <= 0:
            return
        if trees.measure(self._folder, self._limit_bytes) + more_bytes > self._limit_bytes:
            most = self._limit_bytes // _MEBIBYTE
            raise WorkspaceFull(f"'{shown(path)}' does not fit: the workspace may hold {most} MiB; delete files first")

    def _entry(self, name: str, folder: int) -> FileEntry | None:
        """One entry of an open folder, None when it has just gone."""
        try:
            found = os.open(encoded(name), _ITSELF | os.O_CLOEXEC, dir_fd=folder)
        except FileNotFoundError:
            return None
        try:
            return _described(name, found)
        finally:
            os.close(found)

    def _present(self, folder: int, name: str) -> bytes:
        raw = unshown(name)
        if raw is not None and self._entry(name, folder) is None:
            return encoded(raw)
        return encoded(name)


def _open(root: int, names: list[str], flags: int) -> tuple[int, list[str]]:
    r"""By the kernel alone; else with ``/agent/`` links resolved by us; else reading ``\xNN`` as bytes."""
    path = "/".join(names)
    try:
        return open_beneath(root, path, flags), names
    except OSError as error:
        raw = unshown(path)
        if error.errno == errno.EXDEV:
            kept = names[-1:] if flags & os.O_NOFOLLOW else []  # the last one may be the link that was asked for
            resolved = [*resolve(root, names[: len(names) - len(kept)]), *kept]
        elif error.errno == errno.ENOENT and raw is not None:
            resolved = raw.split("/")
        else:
            raise
    return open_beneath(root, "/".join(resolved), flags), names


def _check_readable(file: int, path: str) -> int:
    """The size of a regular file that is not too large."""
    found = os.fstat(file)
    if not stat.S_ISREG(found.st_mode):
        what = "a folder: list it instead" if stat.S_ISDIR(found.st_mode) else "a pipe, socket or device"
        raise BadPath(f"'{shown(path)}' is no file but {what}")
    if found.st_size > MAX_FILE_BYTES:
        raise FileTooLarge(f"'{shown(path)}' has {found.st_size} bytes, more than {MAX_FILE_BYTES}")
    return found.st_size


def _pieces(file: IO[bytes], size_bytes: int) -> Pieces:
    """At most ``size_bytes``: what is added meanwhile is not read."""
    with file:
        while size_bytes > 0 and (piece := file.read(min(size_bytes, PIECE_BYTES))):
            size_bytes -= len(piece)
            yield piece


def _whole(file: int, path: str) -> bytes:
    """Read to the end, which may have moved since it was looked at."""
    parts: list[bytes] = []
    size = 0
    while part := os.read(file, _CHUNK_BYTES):
        parts.append(part)
        size += len(part)
        if size > MAX_FILE_BYTES:
            raise FileTooLarge(f"'{shown(path)}' has more than {MAX_FILE_BYTES} bytes")
    return b"".join(parts)


def _described(name: str, opened: int) -> FileEntry:
    found = os.fstat(opened)
    kind = _kind(found.st_mode)
    return FileEntry(
        name=shown(name),
        kind=kind,
        size_bytes=0 if kind == "dir" else found.st_size,
        mode=f"{stat.S_IMODE(found.st_mode):04o}",
        mtime=_moment(found.st_mtime),
        link_target=shown(os.readlink("", dir_fd=opened)) if kind == "symlink" else None,
    )


def _moment(seconds: float) -> datetime:
    """A file's time is whatever its owner says; what no calendar holds becomes the epoch."""
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return datetime.fromtimestamp(0, UTC)


def _kind(mode: int) -> FileKind:
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISDIR(mode):
        return "dir"
    return "symlink" if stat.S_ISLNK(mode) else "other"


@contextlib.contextmanager
def _translated(path: str) -> Generator[None, None, None]:
    """The kernel's errors in the words of the contract; a full disk or a broken one stays what it is."""
    try:
        yield
    except FileError:
        raise
    except OSError as error:
        raise _meaning(error, shown(path)) from None


def _meaning(error: OSError, path: str) -> Exception:
    known = _MEANINGS.get(error.errno or 0)
    if known is None:
        return error
    kind, text = known
    return kind(f"'{path}' {text}")


_MEANINGS: Final[dict[int, tuple[type[FileError], str]]] = {
    errno.ENOENT: (NoSuchFile, "does not exist"),
    errno.ENOTDIR: (NoSuchFile, "does not exist: a part of the path is not a folder"),
    errno.ENOTEMPTY: (DirectoryNotEmpty, "is not empty: delete what is in it first"),
    errno.EEXIST: (DirectoryNotEmpty, "is not empty: delete what is in it first"),
    errno.EXDEV: (BadPath, "is a link out of the workspace"),
    errno.ELOOP: (BadPath, "is a link that leads in circles, or too many links"),
    errno.EACCES: (BadPath, "may not be opened: its mode forbids it"),
    errno.EPERM: (BadPath, "may not be changed"),
    errno.ENXIO: (BadPath, "is not a file"),
    errno.EISDIR: (BadPath, "is a folder"),
    errno.EINVAL: (BadPath, "is not a path that can be used"),
    errno.ENAMETOOLONG: (BadPath, "is longer than a path may be"),
    errno.EAGAIN: (BadPath, "changes too quickly to be opened"),
}
