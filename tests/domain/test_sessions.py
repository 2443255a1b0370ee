"""Where sessions may go, in the words of both contracts, and what may be said of them."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raworc.domain.lifecycle import State
from raworc.domain.sessions import (
    ORGANIZATIONS_MOVES,
    SPACES_MOVES,
    Fields,
    OrganizationsState,
    SpacesState,
    Standing,
    answer_of,
    check_content,
    checked,
    organizations_move,
    organizations_state,
    spaces_move,
    spaces_state,
)
from raworc.errors import BadRequest

DOCUMENTED = {  # "INIT>READY,ERROR; READY>IDLE,BUSY,ERROR; IDLE>READY,ERROR; BUSY>READY,ERROR; ERROR>INIT,READY"
    "INIT": {"READY", "ERROR"},
    "READY": {"IDLE", "BUSY", "ERROR"},
    "IDLE": {"READY", "ERROR"},
    "BUSY": {"READY", "ERROR"},
    "ERROR": {"INIT", "READY"},
}

WORDS: dict[State, tuple[SpacesState, OrganizationsState]] = {
    "init": ("INIT", "INIT"),
    "idle": ("IDLE", "READY"),
    "busy": ("BUSY", "BUSY"),
    "paused": ("PAUSED", "IDLE"),
    "slept": ("SUSPENDED", "IDLE"),
    "error": ("ERROR", "ERROR"),
    "terminated": ("TERMINATED", "ERROR"),
}


@pytest.mark.parametrize("state", get_args(State))
def test_each_contract_has_a_word_for_every_state(state: State):
    assert (spaces_state(Standing(state)), organizations_state(Standing(state))) == WORDS[state]
    waiting = Standing(state, is_busy=True)
    expected = ("BUSY", "BUSY") if state == "idle" else WORDS[state]
    assert (spaces_state(waiting), organizations_state(waiting)) == expected


def test_the_moves_of_organizations_are_the_documented_ones():
    assert {state: set(moves) for state, moves in ORGANIZATIONS_MOVES.items()} == DOCUMENTED


def test_every_state_of_spaces_has_its_moves_and_none_leads_out_of_the_end():
    assert set(SPACES_MOVES) == set(get_args(SpacesState))
    assert SPACES_MOVES["TERMINATED"] == {}
    assert all("TERMINATED" in moves for state, moves in SPACES_MOVES.items() if state != "TERMINATED")


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 6)), max_size=12))
def test_no_order_of_moves_leaves_the_end_or_goes_where_a_table_does_not(wishes: list[tuple[bool, int]]):
    """A model of a session that does what its moves say, driven in both contracts' words at once."""
    state: State = "init"
    for is_spaces, number in wishes:
        now = Standing(state)
        if is_spaces:
            wanted = get_args(SpacesState)[number]
            move, allowed = spaces_move(now, wanted), SPACES_MOVES[spaces_state(now)]
        else:
            wanted = get_args(OrganizationsState)[number % 5]
            move, allowed = organizations_move(now, wanted), ORGANIZATIONS_MOVES[organizations_state(now)]
        if state == "terminated":
            assert move is None
        elif move is None:
            assert wanted not in allowed
        else:
            state = MOVED[move] or state
            shown = spaces_state(Standing(state)) if is_spaces else organizations_state(Standing(state))
            assert shown == wanted or move in {"nothing", "hold"} or (shown, wanted) in ARRIVING


MOVED: dict[str, State | None] = {
    "nothing": None,
    "hold": None,
    "release": "idle",
    "pause": "paused",
    "suspend": "slept",
    "resume": "init",
    "fail": "error",
    "terminate": "terminated",
}
ARRIVING = {("INIT", "IDLE"), ("INIT", "READY")}  # it is on its way there


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        (Fields(name=""), "name"),
        (Fields(name="x" * 256), "name"),
        (Fields(starting_prompt=""), "starting_prompt"),
        (Fields(starting_prompt="x" * 65_536), "starting_prompt"),
        (Fields(waiting_timeout_s=-1), "waiting_timeout_seconds"),
        (Fields(waiting_timeout_s=86_401), "waiting_timeout_seconds"),
        (Fields(metadata={"a": "x" * 66_553}), "metadata"),
    ],
)
def test_what_is_outside_its_range_is_refused_by_its_name(fields: Fields, field: str):
    with pytest.raises(BadRequest) as caught:
        checked(fields)
    assert [detail.field for detail in caught.value.details] == [field]


def test_what_is_at_the_end_of_its_range_is_taken():
    for name, prompt, waiting_s in (("x", "x", 0), ("x" * 255, "x" * 65_535, 86_400)):
        fields = Fields(name, prompt, waiting_s, {"a": "x" * 66_552})
        assert checked(fields) == {"name": name, "starting_prompt": prompt, "metadata": fields.metadata}
    assert check_content("x" * 65_535)


def test_whoever_waits_for_an_answer_is_told_that_there_is_none():
    assert answer_of(None, "hi", "completed", None) == ("AGENT", "hi")
    assert answer_of(None, "", "failed", "why") == ("SYSTEM", "This message was not answered: why")
    assert answer_of(None, "", "cancelled", "user_cancel")[1] == "This message was not answered: it was cancelled"
    assert answer_of("SYSTEM", "a note", "completed", None) == ("SYSTEM", "a note")
