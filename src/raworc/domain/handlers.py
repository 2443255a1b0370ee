"""Code agents at work: what their handlers are told, what is made of what they log, how a turn of theirs goes on."""

import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from raworc.domain.turns import UNKNOWN_OUTCOME, Failure, Step

LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]

MAX_LINE_CHARACTERS: Final = 4000
MAX_LINES_A_SECOND: Final = 1000
MAX_BATCH_CHARACTERS: Final = 262_144
"""What is kept of a log between two writes: a handler may say more than a database should take."""

_SIZE: Final = struct.Struct("!I")
_SAID: Final = re.compile(r"\W{0,2}(debug|info|warn|warning|error|critical|fatal)\b(?=[\s:\]>|,-]|$)", re.IGNORECASE)
_LEVELS: Final[dict[str, LogLevel]] = {"debug": "DEBUG", "info": "INFO", "warn": "WARNING", "warning": "WARNING"}


@dataclass(frozen=True)
class Message:
    """What a handler is asked: the text, and what it may know about it."""

    text: str
    session_id: str
    space: str
    created_by: str
    at: datetime

    def encoded(self) -> bytes:
        """As ``sandbox/runner/runner.py`` reads it."""
        texts = (self.text, self.session_id, self.space, self.created_by, str(int(self.at.timestamp())))
        parts = [text.encode("utf-8", "replace") for text in texts]
        body = b"".join(_SIZE.pack(len(part)) + part for part in parts)
        return _SIZE.pack(len(body)) + body


@dataclass(frozen=True)
class LogLine:
    """One line of a handler's output, or a word of ours about it."""

    at: datetime
    level: LogLevel
    text: str


class Quota:
    """So many lines of a handler's are kept in each second; the rest is counted."""

    def __init__(self, most: int = MAX_LINES_A_SECOND) -> None:
        self._most = most
        self._second = 0
        self._room = most
        self.left_out = 0

    def cut(self, data: bytes, now_s: float) -> bytes:
        """As much of ``data`` as there is room for."""
        if int(now_s) != self._second:
            self._second, self._room = int(now_s), self._most
        count = data.count(b"\n") + 1
        if count <= self._room:
            self._room -= count - 1
            return data
        kept = data.split(b"\n", self._room)[: self._room]
        self.left_out += count - 1 - self._room
        self._room = 0
        return b"".join(line + b"\n" for line in kept)

    def report(self) -> str | None:
        """What is to be said, once, of lines that were left out."""
        count, self.left_out = self.left_out, 0
        return f"[... {count} lines left out: a handler may write {self._most} in a second ...]" if count else None


class Lines:
    """Cuts a stream of bytes into lines. What a line has above ``MAX_LINE_CHARACTERS`` is left out."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[str]:
        """The lines that ``data`` completes; empty ones are none."""
        *whole, rest = data.split(b"\n")
        if not whole:
            self._keep(rest)
            return []
        first = bytes(self._rest) + whole[0]
        self._rest.clear()
        self._keep(rest)
        return [text for line in (first, *whole[1:]) if (text := _shown(line))]

    def end(self) -> list[str]:
        """What is there of a line that nobody will complete."""
        text = _shown(bytes(self._rest))
        self._rest.clear()
        return [text] if text else []

    def _keep(self, rest: bytes) -> None:
        room = 4 * MAX_LINE_CHARACTERS + 1 - len(self._rest)  # 4: the most bytes that a character has
        self._rest += rest[: max(room, 0)]


def level_of(line: str, otherwise: LogLevel) -> LogLevel:
    """The level that a line names at its beginning, as loggers write it."""
    said = _SAID.match(line)
    return otherwise if said is None else _LEVELS.get(said[1].lower(), "ERROR")


@dataclass(frozen=True)
class RunHandler:
    """Ask the handler, as step ``number``."""

    number: int


def next_of_handler(steps: Sequence[Step]) -> RunHandler | Failure:
    """How a turn of a code agent goes on: its handler is asked once, in place of the model call that has begun.

    One that was at work when its worker stopped is not asked again: what it has done by then is unknown.
    """
    if any(step.kind == "handler" for step in steps):
        return Failure("handler_cut", f"The handler was at work when its worker stopped: {UNKNOWN_OUTCOME}")
    last = steps[-1] if steps else None
    if last is None:
        return RunHandler(1)
    return RunHandler(last.number if last.state == "started" else last.number + 1)


def _shown(line: bytes) -> str:
    text = line.decode("utf-8", "replace").rstrip().replace("\0", "\ufffd")
    if len(text) <= MAX_LINE_CHARACTERS:
        return text
    return f"{text[:MAX_LINE_CHARACTERS]} [...]"
