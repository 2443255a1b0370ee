"""The home: its folders and who may enter them, and the lock that keeps a second start out."""

import fcntl
import json
import os
import re
import stat
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from raworc.errors import BadRequest, Conflict
from raworc.settings import Settings

_UNUSABLE: Final = re.compile('[,"$`\\x00-\\x1f]')  # read by its tools as lists or by a shell
_UNUSABLE_SAID: Final = "commas, double quotes, '$', backquotes or control characters"
UNFINISHED: Final = "restore.unfinished"
"""A file in a home whose restore is not over: what is there may be half the old and half the new."""
_FOLDERS: Final = {
    "run": 0o700,
    "keys": 0o700,
    "logs": 0o700,
    "spool": 0o700,
    "pg": 0o711,
    "sessions": 0o711,
    "builds": 0o711,
}


def prepare_home(settings: Settings, *, resuming: bool = False) -> None:
    """Make what is missing, and give every folder its mode. ``resuming`` is for a restore alone.

    Below root's home, sandboxes and Postgres run as other users: those must be able to pass through it.

    Raises:
        BadRequest: the home cannot be made, or as root lies below a folder that others may not enter.
        Conflict: a restore was cut short in it.
    """
    home, is_root = settings.home, os.geteuid() == 0
    if not home.is_absolute():
        raise BadRequest(f"'--home' must be an absolute path, not '{home}'")
    if _UNUSABLE.search(str(home)):
        raise BadRequest(f"'--home' must not contain {_UNUSABLE_SAID}: Postgres cannot work in {str(home)!r}")
    try:
        home.mkdir(mode=0o755 if is_root else 0o700, parents=True, exist_ok=True)
        if is_root:
            _refuse_closed_parents(home)
            _refuse_foreign(home)
        home.chmod(0o755 if is_root else 0o700)
        for name, mode in _FOLDERS.items():
            (home / name).mkdir(mode=mode, exist_ok=True)
            (home / name).chmod(mode)
    except OSError as error:
        raise BadRequest(f"The home '{home}' cannot be used: {error.strerror} ('{error.filename}')") from error
    if (home / UNFINISHED).exists() and not resuming:
        raise Conflict(f"A restore into the home '{home}' was cut short: run 'raworc restore' again, then start")
    if settings.socket_dir != settings.run_dir:
        _make_short(settings.socket_dir)


@contextmanager
def claimed(settings: Settings) -> Generator[Callable[[str], None]]:
    """Hold the home for this start; what is yielded takes the address that a second start is told.

    Raises:
        Conflict: another start holds it.
    """
    descriptor = os.open(settings.run_dir / "up.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "r+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(_taken(settings.home, lock.read())) from None

        def tell(address: str) -> None:
            lock.seek(0)
            lock.truncate()
            json.dump({"pid": os.getpid(), "address": address}, lock)
            lock.flush()

        tell("nothing yet")
        yield tell


def _taken(home: Path, note: str) -> str:
    try:
        holder = json.loads(note)
        who = f"by process {holder['pid']}, which serves {holder['address']}"
    except (ValueError, KeyError, TypeError):
        who = "by another process"
    return f"The home '{home}' is in use {who}: stop that one first, or choose another '--home'"


def _refuse_closed_parents(home: Path) -> None:
    for parent in home.resolve().parents:
        if not parent.stat().st_mode & stat.S_IXOTH:
            raise BadRequest(
                f"The home '{home}' lies below '{parent}', which other users may not enter; as root, Postgres and"
                f" sandboxes run as users of their own: choose another '--home', or run 'chmod o+x {parent}'"
            )


def _refuse_foreign(home: Path) -> None:
    """What lies in somebody's folder can be replaced by him, and root would follow."""
    owner = home.stat().st_uid
    if owner != 0:
        raise BadRequest(f"The home '{home}' belongs to user {owner}, not to root: choose another '--home'")


def _make_short(folder: Path) -> None:
    """In a folder where anyone may create things: what is there already must be ours."""
    folder.mkdir(mode=0o711, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise BadRequest(f"'{folder}' belongs to somebody else: choose a '--home' with a shorter path")
    folder.chmod(0o711)
