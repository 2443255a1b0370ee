"""An operator that kills itself, once it reaches one labelled point of a turn, or of a remix's copy.

``mortal.py POINT SOFT_LIMIT``: the product has no such points; its methods are wrapped before it starts.
"""

import inspect
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from raworc.operator.model import Hear, Model
from raworc.operator.places import Place
from raworc.sandbox import copies
from raworc.services.holds import Holds
from raworc.services.runs import Runs
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
    "before a remix's files are copied": (Place, "fill", 1, "before"),
    "amid a remix's files": (copies._Copy, "_copy_file", 2, "before"),
    "before a remix's files get their name": (copies, "_settle", 1, "before"),
    "a remix's files have their name": (Place, "fill", 1, "after"),
    "a remix's files are noted": (Runs, "filled", 1, "after"),
}
"""Whose method, which call of it, and when: before it, after it, or when it has heard a piece of the answer."""


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def arm(owner: object, name: str, number: int, when: str) -> None:
    """Let the process die there."""
    kept: Callable[..., Any] = getattr(owner, name)
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

    def deadly_in_a_thread(*given: Any) -> Any:
        nonlocal calls
        calls += 1
        return die() if calls == number else kept(*given)

    setattr(owner, name, deadly if inspect.iscoroutinefunction(kept) else deadly_in_a_thread)


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
