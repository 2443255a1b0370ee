"""The states of a session and of a turn, what a person may ask of them, and which timer is due.

Core states are finer than what a contract shows; each contract has one function here that gives its words.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

State = Literal["init", "idle", "busy", "paused", "slept", "error", "terminated"]
ShownState = Literal["init", "idle", "busy", "slept"]
"""The words of the agents contract."""

TurnStatus = Literal["pending", "processing", "completed", "failed", "cancelled"]
SETTLED: Final[frozenset[TurnStatus]] = frozenset({"completed", "failed", "cancelled"})
"""A turn in one of these never runs again and never changes its status again."""

ASLEEP: Final[frozenset[State]] = frozenset({"paused", "slept", "error", "terminated"})
"""States without a sandbox that could take work; the agents contract shows them all as ``slept``."""

MIN_DELAY_S: Final = 5
MAX_TIMEOUT_S: Final = 604_800


def shown_state(state: State, *, on_hold: bool, queued: bool) -> ShownState:
    """The agents contract's word for a session.

    ``on_hold``: ``POST /busy`` is in force. ``queued``: a turn waits to be taken, so that a client which has
    just posted never sees ``idle`` before its work is done. ``store/agents.py`` says the same in SQL.
    """
    if state in ASLEEP:
        return "slept"
    if on_hold:
        return "busy"
    if state == "init":
        return "init"
    return "busy" if queued or state == "busy" else "idle"


Due = Literal["sleep", "hold_timeout", "busy_timeout", "idle_timeout"]


@dataclass(frozen=True)
class Timers:
    """What a session's timers are decided from. Every moment is the database's; no idle timeout (0) is never due."""

    state: State
    idle_timeout_s: int
    busy_timeout_s: int
    idle_from: datetime | None
    busy_from: datetime | None
    busy_hold_from: datetime | None
    sleep_at: datetime | None
    queued: bool


def due(timers: Timers, now: datetime) -> Due | None:
    """What is to happen to a session at ``now``, the most binding first.

    ``sleep``: a delayed sleep falls due. ``hold_timeout``: the busy hold ends, nothing sleeps. ``busy_timeout``:
    the running turn fails and the session sleeps. ``idle_timeout``: the session sleeps; never under a hold or
    with a turn waiting.
    """
    if timers.state in ASLEEP:
        return None
    if timers.sleep_at is not None and timers.sleep_at <= now:
        return "sleep"
    busy, idle = timedelta(seconds=timers.busy_timeout_s), timedelta(seconds=timers.idle_timeout_s)
    if timers.busy_hold_from is not None and timers.busy_hold_from + busy <= now:
        return "hold_timeout"
    if timers.state == "busy" and timers.busy_from is not None and timers.busy_from + busy <= now:
        return "busy_timeout"
    may_idle = timers.state == "idle" and timers.busy_hold_from is None and not timers.queued
    if may_idle and timers.idle_timeout_s and timers.idle_from is not None and timers.idle_from + idle <= now:
        return "idle_timeout"
    return None


Request = Literal["nothing", "hold", "release", "wake", "sleep"]


@dataclass(frozen=True)
class Refusal:
    """Why a state cannot be asked for: ``malformed`` input (400), or a conflict with the present (409)."""

    reason: str
    malformed: bool


def requested(shown: ShownState, wanted: ShownState, *, processing: bool) -> Request | Refusal:
    """What asking for state ``wanted`` means while ``shown`` is shown and perhaps a turn runs."""
    if wanted == shown:
        return "nothing"
    match wanted:
        case "init":
            return _refuse_init(processing=processing)
        case "slept":
            return "sleep"
        case "busy":
            return Refusal("is asleep: wake it first", malformed=False) if shown == "slept" else "hold"
        case "idle":
            if processing:
                return Refusal("is processing a response: wait for it or cancel it", malformed=False)
            return "wake" if shown == "slept" else "release"


def _refuse_init(*, processing: bool) -> Refusal:
    if processing:
        return Refusal("is processing a response: wait for it or cancel it", malformed=False)
    return Refusal("cannot be set to 'init': that state comes by itself at creation and wake", malformed=True)
