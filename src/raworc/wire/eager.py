"""Running a coroutine at once, and going on with it within whoever it waits for: no turn of the event loop between.

A task of asyncio's begins, and goes on, in a later turn, which costs a system call and more for each. Here a model call
goes to its provider while its last byte is read, and its answer to the client while that is read.
"""

import asyncio
from collections.abc import Callable, Coroutine, Generator, Iterator
from typing import Any, Final, cast, final

_BEGUN: Final = object()


@final
class Wake:
    """What one coroutine waits for, once: made, and awaited right away. It need not run in an :class:`EagerTask`."""

    __slots__ = ("_loop", "go_on")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.go_on: Callable[[], None] | None = None

    def set(self) -> None:
        """Let it go on: in an eager task before this returns, else in the loop's next turn. Only the first counts.

        To be called by the event loop, not within a task.
        """
        go_on, self.go_on = self.go_on, None
        if go_on is not None:
            go_on()

    def __await__(self) -> Generator[Any, None, None]:
        if asyncio.current_task(self._loop) is None:
            yield self
            return
        future = self._loop.create_future()
        self.go_on = lambda: None if future.done() else future.set_result(None)
        yield from future


@final
class EagerTask:
    """Runs one coroutine, which ends by itself or because it was cancelled; nobody waits for it.

    It is no task of asyncio's as long as it waits for :class:`Wake` only, and becomes one with whatever else it
    awaits. What needs one (asyncio's timeouts, other people's libraries) has to be preceded by :func:`in_task`.
    """

    __slots__ = ("_coroutine", "_has_task", "_is_cancelled", "_is_over", "_loop", "_task", "_waits_for")

    def __init__(self, coroutine: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop) -> None:
        self._coroutine = coroutine
        self._loop = loop
        self._waits_for: Wake | None = None
        self._is_cancelled = False  # while it ran, or before its task has begun
        self._is_over = False
        self._has_task = False
        self._task: asyncio.Task[None] | None = None

    def run(self) -> None:
        """Begin, up to where it waits first. To be called by the event loop, not within a task."""
        self._waits_for = None
        try:
            waits_for = self._coroutine.send(None)
        except (StopIteration, asyncio.CancelledError):
            self._is_over = True
        else:
            self._wait(waits_for)

    def cancel(self, msg: str | None = None) -> bool:
        """As a task's, but that it may have been cancelled already when this returns."""
        if self._task is not None and self._has_task:
            return self._task.cancel(msg)
        if self._is_over:
            return False
        if self._waits_for is None:
            self._is_cancelled = True
            return True
        self._waits_for.go_on, self._waits_for = None, None
        if asyncio.current_task(self._loop) is None:
            self._throw()
        else:
            self._loop.call_soon(self._throw)
        return True

    def uncancel(self) -> None:
        """As a task's."""
        if self._task is not None:
            self._task.uncancel()

    def _throw(self) -> None:
        try:
            waits_for = self._coroutine.throw(asyncio.CancelledError())
        except (StopIteration, asyncio.CancelledError):
            self._is_over = True
        else:
            self._wait(waits_for)

    def _wait(self, waits_for: object) -> None:
        if not isinstance(waits_for, Wake):
            self._task = self._loop.create_task(self._in_task(waits_for))
        elif self._is_cancelled:
            self._is_cancelled = False
            self._loop.call_soon(self._throw)
        else:
            self._waits_for = waits_for
            waits_for.go_on = self.run

    async def _in_task(self, waits_for: object) -> None:
        self._has_task = True
        if self._is_cancelled and self._task is not None:  # before this began, which would have ended it unheard
            self._task.cancel()
        await _Rest(self._coroutine, waits_for)


async def next_turn() -> None:
    """Let everything else go first that there is to do now."""
    loop = asyncio.get_running_loop()
    if asyncio.current_task(loop) is None:
        wake = Wake(loop)
        loop.call_soon(wake.set)
        await wake
    else:
        await asyncio.sleep(0)


async def in_task() -> None:
    """What follows runs in a task of asyncio's."""
    if asyncio.current_task() is None:
        await asyncio.sleep(0)


class _Rest:
    """A coroutine that has begun, and ``waits_for`` something, to be awaited to its end."""

    def __init__(self, coroutine: Coroutine[Any, Any, None], waits_for: object) -> None:
        self._coroutine = coroutine
        self._waits_for = waits_for
        self.throw = coroutine.throw
        self.close = coroutine.close
        self.send = coroutine.send

    def __await__(self) -> Generator[Any, Any, None]:
        return cast("Generator[Any, Any, None]", self)  # as far as ``await`` wants one

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> object:
        """The first time what it waits for, later what it waits for then."""
        waits_for, self._waits_for = self._waits_for, _BEGUN
        return self._coroutine.send(None) if waits_for is _BEGUN else waits_for
