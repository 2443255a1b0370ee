"""Freezing without control groups: SIGSTOP for every process of a sandbox, and SIGCONT for those that it stopped.

A process cannot hide: whoever lost its parent is pid 1's child, and a stopped one starts no other. So once two looks
in a row find nobody running, nobody runs.
"""

import asyncio
import contextlib
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from raworc.sandbox.lives import Process, process, state

_STOPPED: Final = frozenset({"T", "t", "Z", "X", "x"})  # stopped, by a debugger, too; ended
_WITHIN_S: Final = 5.0
_EVERY_S: Final = 0.002


async def stop(init: Process) -> list[Process]:
    """Stop what runs in ``init``'s pid namespace: who was stopped, parents first. Who stood still already is not in it.

    Raises:
        TimeoutError: something does not stop (it waits for a disk, or more comes than is stopped); all of it goes on.
    """
    stopped: dict[Process, None] = {}
    try:
        await _stop(init, stopped)
    except BaseException:
        cont(list(stopped))
        raise
    return list(stopped)


async def _stop(init: Process, stopped: dict[Process, None]) -> None:
    deadline, clean = time.monotonic() + _WITHIN_S, 0
    while clean < 2:  # noqa: PLR2004  looks, see above
        running = [one for one in _members(init) if state(one.pid) not in _STOPPED]
        clean = 0 if running else clean + 1
        for one in running:
            stopped[one] = None
            one.send(signal.SIGSTOP)
        if running:
            if time.monotonic() > deadline:
                raise TimeoutError("its processes do not stop")
            await asyncio.sleep(_EVERY_S)


def cont(stopped: list[Process]) -> None:
    """Let them go on, children first: no parent finds its child stopped."""
    for one in reversed(stopped):
        one.send(signal.SIGCONT)


def _members(init: Process) -> Iterator[Process]:
    """``init`` and all that came of it, parents first."""
    found = [init.pid]
    for pid in found:  # which grows meanwhile
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):
            yield process(pid)
            for task in Path(f"/proc/{pid}/task").iterdir():
                found += [int(child) for child in (task / "children").read_text(encoding="ascii").split()]
