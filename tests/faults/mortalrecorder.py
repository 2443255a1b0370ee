"""A recorder that dies before its first act, then one before its second, and so on, until one lives to its end.

``mortalrecorder.py HOME DATABASE_URL STEP``. An act is one exchange with Postgres or one file removed; each life
is a process of its own, which begins with what the lives before it left. Prints the number of lives.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import psycopg

from raworc.recorder import load
from raworc.recorder.loop import Placing, Recorder
from raworc.services.recording import Recording
from raworc.store.database import Database

_BATCH_CALLS = 4


def arm(owner: Any, name: str, act: Callable[[], None]) -> None:
    """Let ``act`` come before every call of a method."""
    kept = getattr(owner, name)

    def armed(*given: Any, **named: Any) -> Any:
        act()
        return kept(*given, **named)

    setattr(owner, name, armed)


def live(home: Path, url: str, dies_at: int) -> None:
    """Load and link all there is, up to an act."""
    acts = count(1)

    def act() -> None:
        if next(acts) == dies_at:
            os.kill(os.getpid(), signal.SIGKILL)

    arm(psycopg.AsyncConnection, "wait", act)
    arm(Path, "unlink", act)
    asyncio.run(record(home, url))


async def record(home: Path, url: str) -> None:
    db = Database(url, pool_size=2)
    placing = Placing.over(db)
    recorder = Recorder(Recording(db, "node"), placing, spool_dir=home / "spool", run_dir=home / "run")
    await recorder.load_all()
    await placing.place(asyncio.Event())
    await db.close()


def main(home: Path, url: str, step: int) -> int:
    load._BATCH_CALLS = _BATCH_CALLS
    for lives, dies_at in enumerate(count(1, step), 1):
        child = os.fork()
        if child == 0:
            live(home, url, dies_at)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status == 0:
            return lives
        assert os.WIFSIGNALED(status), f"a life ended by itself with {status}"
    raise AssertionError


if __name__ == "__main__":
    sys.stdout.write(f"{main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))}\n")
