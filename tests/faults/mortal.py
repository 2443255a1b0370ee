"""An operator that kills itself, once it reaches one labelled point of a turn.

``mortal.py POINT SOFT_LIMIT``: the product has no such points; its methods are wrapped before it starts.
"""

import os
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Final

from raworc.operator.model import Hear, Model
from raworc.services.holds import Holds
from raworc.services.steps import Steps
from raworc.supervisor import operator
from raworc.supervisor.entry import Work, run_child
from raworc.wire.anthropic import Delta

POINTS: Final = {
    "the session is claimed": (Holds, "claim", 1, "after"),
    "before the turn is taken": (Steps, "take", 1, "before"),
    "before the model is asked": (Model, "ask", 1, "before"),
    "mid-stream": (Model, "ask", 1, "heard"),
    "before the answer is stored": (Steps, "advance", 1, "before"),
    "the tool is marked as started": (Steps, "advance", 1, "after"),
    "before the tool's result is stored": (Steps, "advance", 2, "before"),
    "the tool's result is stored": (Steps, "advance", 2, "after"),
    "before the end is stored": (Steps, "settle", 1, "before"),
    "the end is stored": (Steps, "settle", 1, "after"),
    "before a compaction is stored": (Steps, "settle_compaction", 1, "before"),
    "a compaction is stored": (Steps, "settle_compaction", 1, "after"),
    "before the middle of a turn is compacted": (Steps, "compact", 1, "before"),
    "the middle of a turn is compacted": (Steps, "compact", 1, "after"),
}
"""Whose method, which call of it, and when: before it, after it, or when it has heard a piece of the answer."""


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def arm(owner: type, name: str, number: int, when: str) -> None:
    """Let the process die there."""
    kept: Callable[..., Awaitable[Any]] = getattr(owner, name)
    calls = 0

    async def deadly(self: object, *given: Any, **named: Any) -> Any:
        nonlocal calls
        if name == "claim":
            answer = await kept(self, *given, **named)
            return die() if answer else answer
        calls += 1
        if calls == number and when == "before":
            die()
        if calls == number and when == "heard":
            given = (given[0], hearing(given[1]))
        answer = await kept(self, *given, **named)
        if calls == number and when == "after":
            die()
        return answer

    setattr(owner, name, deadly)


def hearing(hear: Hear) -> Hear:
    """Die at the first piece."""

    def heard(delta: Delta) -> None:
        hear(delta)
        die()

    return heard


def prepare(settings: Any) -> Work:
    """The operator with the soft limit of its arguments."""
    return operator._prepare(replace(settings, context_soft_limit_tokens=int(sys.argv[2])))


if __name__ == "__main__":
    if sys.argv[1] in POINTS:
        arm(*POINTS[sys.argv[1]])
    run_child(prepare)
