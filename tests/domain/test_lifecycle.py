from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raworc.domain.lifecycle import (
    ASLEEP,
    Refusal,
    ShownState,
    State,
    Timers,
    due,
    requested,
    shown_state,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
STATES = st.sampled_from(get_args(State))
PAST, FUTURE = NOW - timedelta(seconds=100), NOW + timedelta(seconds=100)
CALM = Timers("idle", 60, 60, idle_from=None, busy_from=None, busy_hold_from=None, sleep_at=None, queued=False)


@pytest.mark.parametrize(
    ("state", "on_hold", "queued", "shown"),
    [
        ("init", False, False, "init"),
        ("init", False, True, "init"),
        ("init", True, False, "busy"),
        ("idle", False, False, "idle"),
        ("idle", False, True, "busy"),
        ("idle", True, False, "busy"),
        ("busy", False, False, "busy"),
        ("paused", True, True, "slept"),
        ("slept", False, False, "slept"),
        ("error", False, False, "slept"),
        ("terminated", True, False, "slept"),
    ],
)
def test_shown_words(state, on_hold, queued, shown):
    assert shown_state(state, on_hold=on_hold, queued=queued) == shown


DUE = {
    "nothing planned": (CALM, None),
    "sleep due": (replace(CALM, sleep_at=NOW), "sleep"),
    "sleep later": (replace(CALM, sleep_at=FUTURE), None),
    "sleep while init": (replace(CALM, state="init", sleep_at=PAST), "sleep"),
    "idle for long": (replace(CALM, idle_from=PAST), "idle_timeout"),
    "idle exactly": (replace(CALM, idle_from=NOW - timedelta(seconds=60)), "idle_timeout"),
    "idle not yet": (replace(CALM, idle_from=NOW - timedelta(seconds=59)), None),
    "idle with a turn waiting": (replace(CALM, idle_from=PAST, queued=True), None),
    "idle under a hold": (replace(CALM, idle_from=PAST, busy_hold_from=NOW), None),
    "hold for long": (replace(CALM, idle_from=PAST, busy_hold_from=PAST), "hold_timeout"),
    "busy for long": (replace(CALM, state="busy", busy_from=PAST), "busy_timeout"),
    "busy not yet": (replace(CALM, state="busy", busy_from=NOW), None),
    "busy and sleep due": (replace(CALM, state="busy", busy_from=PAST, sleep_at=PAST), "sleep"),
    "asleep": (replace(CALM, state="slept", idle_from=PAST, busy_from=PAST, busy_hold_from=PAST, sleep_at=PAST), None),
}


@pytest.mark.parametrize(("timers", "what"), DUE.values(), ids=DUE)
def test_what_is_due(timers, what):
    assert due(timers, NOW) == what


MOMENTS = st.one_of(st.none(), st.integers(-200, 200).map(lambda s: NOW + timedelta(seconds=s)))
TIMERS = st.builds(
    Timers,
    state=STATES,
    idle_timeout_s=st.integers(1, 300),
    busy_timeout_s=st.integers(1, 300),
    idle_from=MOMENTS,
    busy_from=MOMENTS,
    busy_hold_from=MOMENTS,
    sleep_at=MOMENTS,
    queued=st.booleans(),
)


@given(TIMERS)
def test_what_is_due_stays_due(timers):
    what = due(timers, NOW)
    if what is not None:
        assert due(timers, NOW + timedelta(days=30)) is not None
    if timers.state in ASLEEP:
        assert what is None


REQUESTED = {
    ("idle", "idle", False): "nothing",
    ("idle", "busy", False): "hold",
    ("idle", "slept", False): "sleep",
    ("idle", "init", False): 400,
    ("busy", "idle", False): "release",
    ("busy", "idle", True): 409,
    ("busy", "busy", True): "nothing",
    ("busy", "slept", True): "sleep",
    ("busy", "init", True): 409,
    ("busy", "init", False): 400,
    ("slept", "slept", False): "nothing",
    ("slept", "idle", False): "wake",
    ("slept", "busy", False): 409,
    ("slept", "init", False): 400,
    ("init", "init", False): "nothing",
    ("init", "idle", False): "release",
    ("init", "busy", False): "hold",
    ("init", "slept", False): "sleep",
}


@pytest.mark.parametrize(("asked", "answer"), REQUESTED.items(), ids=str)
def test_what_asking_for_a_state_means(asked, answer):
    shown, wanted, processing = asked
    found = requested(shown, wanted, processing=processing)
    status = (400 if found.malformed else 409) if isinstance(found, Refusal) else found
    assert status == answer


def test_every_pair_of_words_has_a_meaning():
    assert {(shown, wanted) for shown, wanted, _ in REQUESTED} == {
        (shown, wanted) for shown in get_args(ShownState) for wanted in get_args(ShownState)
    }
