"""Waiting for what another process or task brings about: looked at often, never longer than a deadline."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable

_POLL_S = 0.01


async def until(condition: Callable[[], bool | Awaitable[bool]], *, limit_s: float = 60) -> None:
    """Return as soon as ``condition`` holds; fail when it does not in time."""
    ends = time.monotonic() + limit_s
    while True:
        holds = condition()
        if await holds if inspect.isawaitable(holds) else holds:
            return
        assert time.monotonic() < ends, "the condition did not come to hold in time"
        await asyncio.sleep(_POLL_S)


def until_sync(condition: Callable[[], bool], *, limit_s: float = 60) -> None:
    """The same, where there is no event loop."""
    ends = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < ends, "the condition did not come to hold in time"
        time.sleep(_POLL_S)
