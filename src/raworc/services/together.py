"""One reading for all who ask in the same moment.

Under load many requests need rows of one kind at once, each a message to the database and back. Who asks while a
reading runs is answered by the next one, together with everybody else: a reading that was begun before somebody asked
never answers him, and nothing is kept. So each sees what was committed when he asked, as if he had read alone.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Together(Generic[K, V]):
    """Rows by their keys. ``read`` gives those of several keys; one that is missing there is not there."""

    def __init__(self, read: Callable[[frozenset[K]], Awaitable[Mapping[K, V]]]) -> None:
        self._read = read
        self._waiting: list[tuple[K, asyncio.Future[V | None]]] = []
        self._asked: list[tuple[K, asyncio.Future[V | None]]] = []  # whom the reading that runs is for
        self._reading: asyncio.Task[Mapping[K, V]] | None = None

    async def get(self, key: K) -> V | None:
        """The row as it is now, or None. Raises whatever the reading raises."""
        answer: asyncio.Future[V | None] = asyncio.get_running_loop().create_future()
        self._waiting.append((key, answer))
        if self._reading is None:
            self._begin()
        return await answer

    def _begin(self) -> None:
        self._reading = asyncio.create_task(self._read_all())
        self._reading.add_done_callback(self._answer)

    async def _read_all(self) -> Mapping[K, V]:
        self._asked, self._waiting = self._waiting, []
        return await self._read(frozenset(key for key, _ in self._asked))

    def _answer(self, reading: asyncio.Task[Mapping[K, V]]) -> None:
        asked, self._asked, self._reading = self._asked, [], None
        if self._waiting:
            self._begin()
        for key, answer in asked:
            if answer.done():  # who went away waits no more
                continue
            if reading.cancelled():
                answer.cancel()
            elif error := reading.exception():
                answer.set_exception(error)
            else:
                answer.set_result(reading.result().get(key))
