"""What an operator does next for a session that it holds, and what that means for the turn it runs."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from raworc.domain.lifecycle import ASLEEP, State, Timers, due
from raworc.ids import TurnId

SleepReason = Literal["user", "idle_timeout", "busy_timeout"]


@dataclass(frozen=True)
class Situation:
    """A held session as it is stored at ``now``, by the database's clock."""

    timers: Timers
    now: datetime
    desired: State | None = None
    sleep_note: str | None = None
    sleep_by: str | None = None
    processing: TurnId | None = None
    cancel_reason: str | None = None  # of the processing turn
    pending: TurnId | None = None  # the oldest one
    lacks_files: bool = False  # those of the session that it was made from
    is_needed: bool | None = False  # deleted, but others still lack its files
    is_frozen: bool | None = False  # its memory is kept under this very hold


@dataclass(frozen=True)
class Terminate:
    """Remove sandbox, workspace and rows."""


@dataclass(frozen=True)
class Sleep:
    """Close the sandbox, settle every open turn, keep the workspace. ``by`` is None where a timer did it."""

    reason: SleepReason
    note: str | None = None
    by: str | None = None


@dataclass(frozen=True)
class Pause:
    """Freeze the sandbox: its processes stop, and keep their memory; a turn waits."""


@dataclass(frozen=True)
class Forget:
    """The memory of a paused session went with who kept it: it sleeps now, with the turns that it has."""


@dataclass(frozen=True)
class Cancel:
    """Stop the processing turn and settle it."""

    turn_id: TurnId
    reason: str


@dataclass(frozen=True)
class EndBusyHold:
    """``POST /busy`` lasted for the busy timeout: it ends, and nothing sleeps."""


@dataclass(frozen=True)
class Fill:
    """Bring the files that it starts with, before there is a sandbox."""


@dataclass(frozen=True)
class Wake:
    """Open a sandbox, run the setup, become idle."""


@dataclass(frozen=True)
class Continue:
    """Go on with the turn that is processing."""

    turn_id: TurnId


@dataclass(frozen=True)
class Start:
    """Take this pending turn."""

    turn_id: TurnId


@dataclass(frozen=True)
class BecomeIdle:
    """Nothing runs any more: show it."""


@dataclass(frozen=True)
class Release:
    """Asleep and nothing wanted, or deleted and still needed: let go of the session."""


@dataclass(frozen=True)
class Rest:
    """Nothing to do until something is said or falls due."""


Duty = (
    Terminate
    | Sleep
    | Pause
    | Forget
    | Cancel
    | EndBusyHold
    | Fill
    | Wake
    | Continue
    | Start
    | BecomeIdle
    | Release
    | Rest
)


def duty(now: Situation) -> Duty:
    """The most binding thing to do."""
    if now.desired == "terminated":
        return Release() if now.is_needed else Terminate()
    if now.timers.state == "paused" and now.desired in {None, "paused"}:
        return _paused(now)
    if now.timers.state in ASLEEP and now.desired != "idle":
        return Release()
    return _ending(now) or _work(now)


def stops(what: Duty, turn_id: TurnId) -> bool:
    """Whether the turn that runs here has to stop for it, also because a server has settled the turn.

    A turn that is just being taken is still found pending.
    """
    return not isinstance(what, EndBusyHold) and what not in (Continue(turn_id), Start(turn_id))


def _paused(now: Situation) -> Duty:
    if now.desired is not None:
        return Pause()
    return Rest() if now.is_frozen else Forget()


def _ending(now: Situation) -> Duty | None:
    timer = due(now.timers, now.now)
    if timer == "sleep" or now.desired == "slept":
        return Sleep("user", now.sleep_note, now.sleep_by)
    if timer == "busy_timeout" and now.processing is not None:
        return Sleep("busy_timeout")
    if now.processing is not None and now.cancel_reason is not None:
        return Cancel(now.processing, now.cancel_reason)
    return EndBusyHold() if timer == "hold_timeout" else None


def _work(now: Situation) -> Duty:
    if now.timers.state == "init" or now.timers.state in ASLEEP:
        return Fill() if now.lacks_files else Wake()
    if now.processing is not None:
        return Continue(now.processing)
    if now.timers.state == "busy" or now.desired is not None:
        return BecomeIdle()
    if now.pending is not None:
        return Start(now.pending)
    return Sleep("idle_timeout") if due(now.timers, now.now) == "idle_timeout" else Rest()
