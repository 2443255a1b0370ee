"""Waits until nobody uses a test cluster any more, then stops it and removes every trace.

    python reaper.py BASE

``BASE.users`` is the lock that users share, ``BASE`` the folder. Standard library only: it starts quickly.
"""

import contextlib
import fcntl
import os
import select
import shutil
import signal
import sys
from pathlib import Path


def reap(base: Path, *, wait: bool) -> bool:
    """Whether it was ours to remove; without ``wait`` a cluster in use is left alone."""
    with open_lock(base.with_name(base.name + ".users")) as users:
        try:
            fcntl.flock(users, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        store = (base / "store").resolve()
        _stop(store / "data")
        shutil.rmtree(store, ignore_errors=True)
        shutil.rmtree(base, ignore_errors=True)
        for ending in (".start", ".users"):
            base.with_name(base.name + ending).unlink(missing_ok=True)
    return True


def open_lock(path: Path):
    """The lock file, created when absent."""
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+")


def _stop(data: Path) -> None:
    """Immediate shutdown, then wait: its processes would write into what is being removed."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        pid = int((data / "postmaster.pid").read_text().split()[0])
        if Path(f"/proc/{pid}/cwd").samefile(data):
            process = os.pidfd_open(pid)
            signal.pidfd_send_signal(process, signal.SIGQUIT)
            select.select([process], [], [], 10)


if __name__ == "__main__":
    reap(Path(sys.argv[1]), wait=True)
