"""What handlers write, on its way to the database: in batches, bounded, without anybody's waiting for it."""

import asyncio
import uuid
from collections import deque
from typing import Final

from raworc.clock import now
from raworc.domain.handlers import MAX_BATCH_CHARACTERS, LogLine
from raworc.operator.patience import patiently
from raworc.services.agent_logs import KeptLogs

_EVERY_S: Final = 0.2
_END_S: Final = 2.0


class LogBook:
    """One for all handlers of an operator."""

    def __init__(self, logs: KeptLogs) -> None:
        self._logs = logs
        self._waiting: dict[uuid.UUID, _Waiting] = {}
        self._task: asyncio.Task[None] | None = None

    def hear(self, agent_id: uuid.UUID, line: LogLine) -> None:
        """Keep one line, soon."""
        self._waiting.setdefault(agent_id, _Waiting()).add(line)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._write_all(), name="log book")

    async def close(self) -> None:
        """Write what waits, unless the database takes too long for that."""
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=_END_S)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _write_all(self) -> None:
        while self._waiting:
            batches, self._waiting = self._waiting, {}
            for agent_id, waiting in batches.items():
                lines = waiting.lines()
                await patiently(lambda agent_id=agent_id, lines=lines: self._logs.append(agent_id, lines))
            await asyncio.sleep(_EVERY_S)


class _Waiting:
    """Lines of one agent; the oldest go when there are too many characters."""

    def __init__(self) -> None:
        self._lines: deque[LogLine] = deque()
        self._characters = 0
        self._left_out = 0

    def add(self, line: LogLine) -> None:
        self._lines.append(line)
        self._characters += len(line.text)
        while self._characters > MAX_BATCH_CHARACTERS:
            self._characters -= len(self._lines.popleft().text)
            self._left_out += 1

    def lines(self) -> list[LogLine]:
        if not self._left_out:
            return list(self._lines)
        return [LogLine(now(), "WARNING", f"[... {self._left_out} lines left out ...]"), *self._lines]
