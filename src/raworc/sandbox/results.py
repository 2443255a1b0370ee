"""What builds made, one read-only folder for each content: ``<home>/builds/<digest>``, named by what is in it.

A folder gets its name when it is whole and on disk, and is never changed. Who uses one holds a lock on it, which
dies with the process; what nobody uses or names is swept away a while later. Blocking calls: run them in a thread.
"""

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import stat
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from raworc.domain.symlinks import leading_out
from raworc.ids import new_id
from raworc.sandbox import copies, trees
from raworc.sandbox.copies import CopyRules

MAX_ENTRIES: Final = 200_000
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_OURS: Final = re.compile(r"[0-9a-f]{64}|(\.copy-)?\.draft-.*|\.removed-.*")
_DRAFT: Final = ".draft-"
_REMOVED: Final = ".removed-"
_PIECE_BYTES: Final = 1_048_576
_FOLDER_MODE: Final = 0o755
_FILE_MODE: Final = 0o444
_PROGRAM_MODE: Final = 0o555


class Unkeepable(Exception):
    """These files are not kept; the message says why."""


@dataclass(frozen=True)
class Kept:
    """A result, and a lock that keeps it from being swept away until it is closed."""

    digest: str
    lock: int

    def close(self) -> None:
        """Let go of it."""
        os.close(self.lock)


class Results:
    """The folder of results of one home."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, digest: str) -> Path:
        """Where a result lies, or would."""
        return self._folder / digest

    def use(self, digest: str) -> Kept | None:
        """A result that stays until the lock is closed; None where it is not (any more) here."""
        while _DIGEST.fullmatch(digest):
            try:
                lock = os.open(self.path(digest), trees.FOLDER)
            except FileNotFoundError:
                return None
            fcntl.flock(lock, fcntl.LOCK_SH)
            if self._is_named(lock, digest):
                return Kept(digest, lock)
            os.close(lock)  # it was being swept away, and perhaps made again
        return None

    def keep(self, source: Path, rules: CopyRules) -> Kept:
        """Copy the files of a folder, which nobody may be writing to, and give them their name.

        Raises:
            Unkeepable: a link leads out of the folder, or there are too many files.
            SandboxError: it is too deep or too large.
            OSError: the disk.
        """
        draft = self._folder / f"{_DRAFT}{new_id()}"
        try:
            copies.copy(source, draft, None, rules)
            digest = _settled(draft)
            trees.sync(draft)
            while (kept := self.use(digest)) is None:
                with contextlib.suppress(FileExistsError):
                    self._name(draft, digest)
            os.utime(kept.lock)  # young again, so that it is not swept away before it is named
            self._fsync()
            return kept
        finally:
            trees.remove(self._folder, draft.name)
            trees.remove(self._folder, f".copy-{draft.name}")

    def names(self) -> list[str]:
        """What is here, halves that a crash left included."""
        return [entry.name for entry in self._folder.iterdir() if _OURS.fullmatch(entry.name)]

    def sweep(self, names: Collection[str], age_s: float) -> list[str]:
        """Remove those of ``names`` that nobody uses and that are ``age_s`` old: who keeps one now will name it.

        Halves that a crash left go with them. The digests of the results removed.
        """
        gone: list[str] = []
        for name in names:
            if name.startswith(_REMOVED):
                trees.remove(self._folder, name)
            elif not self._is_old(name, age_s):
                continue
            elif not _DIGEST.fullmatch(name):
                trees.remove(self._folder, name)
            elif self._removed(name):
                gone.append(name)
        return gone

    def _is_old(self, name: str, age_s: float) -> bool:
        try:
            return time.time() - (self._folder / name).stat().st_ctime >= age_s
        except FileNotFoundError:
            return False

    def _removed(self, digest: str) -> bool:
        lock = os.open(self.path(digest), trees.FOLDER)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.path(digest).rename(self._folder / f"{_REMOVED}{digest}")
        except BlockingIOError:
            return False
        finally:
            os.close(lock)
        trees.remove(self._folder, f"{_REMOVED}{digest}")
        return True

    def _is_named(self, lock: int, digest: str) -> bool:
        try:
            return os.fstat(lock).st_ino == self.path(digest).stat().st_ino
        except FileNotFoundError:
            return False

    def _name(self, draft: Path, digest: str) -> None:
        try:
            draft.rename(self.path(digest))
        except OSError as error:
            if error.errno == errno.ENOTEMPTY:
                raise FileExistsError(digest) from None
            raise

    def _fsync(self) -> None:
        folder = os.open(self._folder, trees.FOLDER)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _settled(draft: Path) -> str:
    """Give all below a folder its final modes; the digest of what is there."""
    lines: list[bytes] = []
    links: dict[str, str] = {}
    top = len(os.fsencode(draft)) + 1
    draft.chmod(_FOLDER_MODE)
    for path, folders, files, opened in os.fwalk(draft):
        below = os.fsencode(path)[top:]
        for name in (*folders, *files):
            if len(lines) >= MAX_ENTRIES:
                raise Unkeepable(f"It has more than {MAX_ENTRIES} files")
            entry = os.path.join(below, os.fsencode(name))  # noqa: PTH118  bytes: names of any kind
            lines.append(_line(entry, name, opened, links))
    out = leading_out(links)
    if out is not None:
        raise Unkeepable(f"The link '{_shown(out)}' leads out of it to '{_shown(links[out])}'")
    return hashlib.sha256(b"\n".join(sorted(lines))).hexdigest()


def _line(path: bytes, name: str, folder: int, links: dict[str, str]) -> bytes:
    found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if stat.S_ISDIR(found.st_mode):
        os.chmod(name, _FOLDER_MODE, dir_fd=folder)
        return b"d " + path.hex().encode()
    if stat.S_ISLNK(found.st_mode):
        target = links[os.fsdecode(path)] = os.readlink(name, dir_fd=folder)
        return b"l " + path.hex().encode() + b" " + os.fsencode(target).hex().encode()
    mode = _PROGRAM_MODE if found.st_mode & 0o111 else _FILE_MODE
    with open(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder), "rb") as file:  # noqa: PTH123  a descriptor
        content = hashlib.file_digest(file, "sha256").hexdigest()
    os.chmod(name, mode, dir_fd=folder)
    return f"{mode:o} ".encode() + path.hex().encode() + b" " + content.encode()


def _shown(path: str) -> str:
    return os.fsencode(path).decode("utf-8", "replace")[:200]
