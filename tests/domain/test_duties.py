"""What an operator does for a session, for every situation that can be found."""

import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from raworc.domain.duties import (
    BecomeIdle,
    Cancel,
    Continue,
    Duty,
    EndBusyHold,
    Fill,
    Forget,
    Pause,
    Release,
    Rest,
    Situation,
    Sleep,
    Start,
    Terminate,
    Wake,
    duty,
    stops,
)
from raworc.domain.lifecycle import State, Timers
from raworc.ids import TurnId

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LONG_AGO, LATER = NOW - timedelta(hours=2), NOW + timedelta(seconds=1)
ONE, TWO = TurnId(uuid.UUID(int=1)), TurnId(uuid.UUID(int=2))


def at(state: State, *, timers: dict[str, object] | None = None, **others: object) -> Situation:
    base = Timers(
        state=state,
        idle_timeout_s=300,
        busy_timeout_s=3600,
        idle_from=NOW if state == "idle" else None,
        busy_from=NOW if state == "busy" else None,
        busy_hold_from=None,
        sleep_at=None,
        queued=others.get("pending") is not None,
    )
    return Situation(timers=replace(base, **(timers or {})), now=NOW, **others)  # pyright: ignore[reportArgumentType]


SLEEP_DUE = {"sleep_at": LONG_AGO}
CASES: dict[str, tuple[Situation, Duty]] = {
    "new": (at("init", desired="idle"), Wake()),
    "new with a prompt": (at("init", desired="idle", pending=ONE), Wake()),
    "new, made from another": (at("init", desired="idle", lacks_files=True, pending=ONE), Fill()),
    "woken without its files": (at("error", desired="idle", lacks_files=True), Fill()),
    "slept before it had files": (at("init", desired="slept", lacks_files=True), Sleep("user")),
    "deleted before it had files": (at("init", desired="terminated", lacks_files=True), Terminate()),
    "deleted, but others need its files": (at("terminated", desired="terminated", is_needed=True), Release()),
    "woken": (at("slept", desired="idle", pending=ONE), Wake()),
    "idle": (at("idle"), Rest()),
    "never idle for too long": (at("idle", timers={"idle_timeout_s": 0, "idle_from": LONG_AGO}), Rest()),
    "to be paused": (at("paused", desired="paused", pending=ONE), Pause()),
    "to be paused under its turn": (at("paused", desired="paused", processing=ONE), Pause()),
    "to be paused anew": (at("paused", desired="paused", is_frozen=True), Pause()),
    "paused": (at("paused", is_frozen=True, pending=ONE, processing=TWO), Rest()),
    "paused, and its memory is lost": (at("paused", pending=ONE), Forget()),
    "terminated while paused": (at("terminated", desired="terminated", is_frozen=True), Terminate()),
    "suspended while paused": (at("slept", desired="slept", is_frozen=True), Release()),
    "resumed under its turn": (at("busy", processing=ONE, is_frozen=True), Continue(ONE)),
    "work": (at("idle", pending=ONE), Start(ONE)),
    "work under a busy hold": (at("idle", pending=ONE, timers={"busy_hold_from": NOW}), Start(ONE)),
    "a dead holder's turn": (at("busy", processing=ONE, pending=TWO), Continue(ONE)),
    "settled by a server": (at("busy", pending=TWO), BecomeIdle()),
    "a wish that is fulfilled": (at("idle", desired="idle", pending=TWO), BecomeIdle()),
    "cancel": (at("busy", processing=ONE, cancel_reason="user_cancel"), Cancel(ONE, "user_cancel")),
    "idle for too long": (at("idle", timers={"idle_from": LONG_AGO}), Sleep("idle_timeout")),
    "idle for long, but work": (at("idle", pending=ONE, timers={"idle_from": LONG_AGO}), Start(ONE)),
    "idle for long, but held busy": (at("idle", timers={"idle_from": LONG_AGO, "busy_hold_from": NOW}), Rest()),
    "held busy for too long": (at("idle", timers={"busy_hold_from": LONG_AGO}), EndBusyHold()),
    "busy for too long": (at("busy", processing=ONE, timers={"busy_from": LONG_AGO}), Sleep("busy_timeout")),
    "busy for long, but settled": (at("busy", timers={"busy_from": LONG_AGO}), BecomeIdle()),
    "sleep later": (at("idle", timers={"sleep_at": LATER}), Rest()),
    "sleep now": (
        at("idle", timers=SLEEP_DUE, sleep_note="bye", sleep_by="ann", pending=ONE),
        Sleep("user", "bye", "ann"),
    ),
    "sleep before it is up": (at("init", desired="idle", timers=SLEEP_DUE), Sleep("user")),
    "sleep while busy": (at("busy", processing=ONE, timers=SLEEP_DUE), Sleep("user")),
    "sleep at once": (at("busy", processing=ONE, desired="slept"), Sleep("user")),
    "sleep wins over cancel": (at("busy", processing=ONE, cancel_reason="x", timers=SLEEP_DUE), Sleep("user")),
    "asleep": (at("slept"), Release()),
    "asleep twice": (at("slept", desired="slept"), Release()),
    "broken": (at("error"), Release()),
    "deleted while busy": (at("busy", processing=ONE, desired="terminated", timers=SLEEP_DUE), Terminate()),
    "deleted while asleep": (at("slept", desired="terminated"), Terminate()),
}


@pytest.mark.parametrize(("found", "expected"), CASES.values(), ids=CASES)
def test_duty(found: Situation, expected: Duty):
    assert duty(found) == expected


STOPS: dict[str, tuple[Duty, bool]] = {
    "nothing new": (Continue(ONE), False),
    "it is just being taken": (Start(ONE), False),
    "the busy hold ends": (EndBusyHold(), False),
    "cancelled": (Cancel(ONE, "user_cancel"), True),
    "sleep": (Sleep("busy_timeout"), True),
    "deleted": (Terminate(), True),
    "deleted, but others need its files": (Release(), True),
    "settled by a server": (BecomeIdle(), True),
    "settled by a server, and the next one waits": (Start(TWO), True),
    "another turn is the processing one": (Continue(TWO), True),
}


@pytest.mark.parametrize(("what", "expected"), STOPS.values(), ids=STOPS)
def test_what_a_running_turn_stops_for(what: Duty, expected: bool):
    assert stops(what, ONE) == expected
