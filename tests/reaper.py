"""Waits until nobody uses a test cluster any more, then stops it and removes every trace.

    python reaper.py BASE

``BASE.users`` is the lock that users share, ``BASE`` the folder. Standard library only: it starts quickly.
"""

import contextlib
import fcntl
import os
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
        _stop(base / "pg" / "data")
        shutil.rmtree(base, ignore_errors=True)
        for ending in (".start", ".users"):
            base.with_name(base.name + ending).unlink(missing_ok=True)
    return True


def open_lock(path: Path):
    """The lock file, created when absent."""
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+")


def _stop(data: Path) -> None:
    with contextlib.suppress(OSError, ValueError, IndexError):
        pid = int((data / "postmaster.pid").read_text().split()[0])
        if Path(f"/proc/{pid}/cwd").samefile(data):
            ended = os.pidfd_open(pid)
            os.kill(pid, signal.SIGQUIT)
            signal.pidfd_send_signal(ended, signal.SIGQUIT)
            os.close(ended)


if __name__ == "__main__":
    reap(Path(sys.argv[1]), wait=True)
