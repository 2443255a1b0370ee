"""Waiting for the end of a life, for processes with an event loop: the spawner, which knows lives too, has none."""

import asyncio
from collections.abc import Callable
from typing import Final

from raworc.sandbox import cgroups
from raworc.sandbox.lives import Life

_POLL_S: Final = 0.005


async def emptied(life: Life, *, may_kill: Callable[[], bool], timeout_s: float) -> bool:
    """Wait until nothing of it runs and its control group is removed; False when that takes too long."""
    loop = asyncio.get_running_loop()
    latest = loop.time() + timeout_s
    while not (life.is_empty and (life.group is None or cgroups.remove(life.group))):
        if loop.time() > latest:
            return False
        if may_kill():
            life.kill()
        await asyncio.sleep(_POLL_S)
    return True
