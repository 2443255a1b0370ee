import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raworc.domain.access import Grant, covers, is_admin, may, rule, spaces_for

ADMIN = Grant((rule(["*"], ["*"], "global"),), None)
SELF_SERVICE = Grant((rule(["own-agents"], ["*"], "space"),), None)
WORDS = st.sampled_from(["agents", "own-agents", "spaces", "secrets", "*"])
VERBS = st.sampled_from(["get", "read", "list", "create", "update", "delete", "read-values", "*"])
SPACES = st.sampled_from([None, "a", "b"])
RULES = st.builds(
    rule,
    st.sets(WORDS, max_size=2),
    st.sets(VERBS, max_size=2),
    st.sampled_from(["space", "global"]),
)
GRANTS = st.lists(st.builds(Grant, st.lists(RULES, max_size=2).map(tuple), SPACES), max_size=3)
ASKED = st.sampled_from(["get", "list", "create", "update", "delete", "read-values"])
THINGS = st.sampled_from(["agents", "spaces", "secrets"])


def test_nothing_granted_allows_nothing():
    for verb, resource in itertools.product(["get", "create", "delete"], ["agents", "spaces"]):
        assert not may([], verb, resource, space="a", owner=True)


def test_an_admin_may_all_everywhere():
    assert is_admin([ADMIN])
    assert may([ADMIN], "read-values", "secrets", space="a")
    assert may([ADMIN], "delete", "service-accounts", space=None)


@pytest.mark.parametrize(
    "grant",
    [
        Grant((rule(["*"], ["*"], "global"),), "a"),
        Grant((rule(["*"], ["get"], "global"),), None),
        Grant((rule(["agents"], ["*"], "global"),), None),
        Grant((rule(["*"], ["get"]), rule(["agents"], ["*"])), None),
        SELF_SERVICE,
    ],
)
def test_less_than_everything_everywhere_is_no_admin(grant):
    assert not is_admin([grant])


def test_own_things_are_allowed_to_their_owner_only():
    assert may([SELF_SERVICE], "delete", "agents", space="a", owner=True)
    assert not may([SELF_SERVICE], "delete", "agents", space="a")
    assert not may([SELF_SERVICE], "delete", "secrets", space="a", owner=True)


def test_get_and_read_are_one_verb():
    for held, asked in itertools.product(["get", "read"], repeat=2):
        assert may([Grant((rule(["agents"], [held]),), None)], asked, "agents", space="a")


@pytest.mark.parametrize(
    ("scope", "bound", "space", "allowed"),
    [
        ("space", None, "a", True),
        ("global", None, "a", True),
        ("space", "a", "a", True),
        ("space", "a", "b", False),
        ("space", "a", None, False),
        ("global", "a", "a", False),
        ("global", "a", "b", False),
    ],
)
def test_scopes(scope, bound, space, allowed):
    assert may([Grant((rule(["agents"], ["*"], scope),), bound)], "update", "agents", space=space) is allowed


def test_a_global_rule_bound_to_a_space_shows_that_space_and_no_more():
    grant = [Grant((rule(["*"], ["*"], "global"),), "a")]
    assert may(grant, "get", "spaces", space="a")
    assert may(grant, "list", "spaces", space="a")
    assert not may(grant, "update", "spaces", space="a")
    assert not may(grant, "get", "spaces", space="b")


@given(GRANTS, ASKED, THINGS)
def test_a_binding_for_a_space_gives_nothing_outside_it(grants, verb, resource):
    bound = [grant for grant in grants if grant.space == "a"]
    assert not may(bound, verb, resource, space="b", owner=True)
    assert not may(bound, verb, resource, space=None, owner=True)


@given(GRANTS, st.builds(Grant, RULES.map(lambda held: (held,)), SPACES), ASKED, THINGS, st.booleans())
def test_more_grants_never_allow_less(grants, more, verb, resource, owner):
    if may(grants, verb, resource, space="a", owner=owner):
        assert may([*grants, more], verb, resource, space="a", owner=owner)


@given(GRANTS, ASKED, st.sampled_from(["agents", "secrets"]), st.sampled_from(["a", "b"]))
def test_lists_agree_with_single_questions(grants, verb, resource, space):
    found = spaces_for(grants, verb, resource)
    assert may(grants, verb, resource, space=space) is (found is None or space in found)


COVERED = [
    (Grant((rule(["*"], ["*"], "global"),), None), Grant((rule(["agents"], ["update"]),), "lab"), True),
    (Grant((rule(["*"], ["*"], "global"),), None), Grant((rule(["*"], ["*"], "global"),), None), True),
    (Grant((rule(["agents"], ["*"]),), None), Grant((rule(["agents"], ["get", "list"]),), None), True),
    (Grant((rule(["agents"], ["read"]),), None), Grant((rule(["agents"], ["get"]),), "lab"), True),
    (Grant((rule(["agents"], ["*"]),), None), Grant((rule(["*"], ["get"]),), None), False),
    (Grant((rule(["*"], ["get"]),), None), Grant((rule(["agents"], ["*"]),), None), False),
    (Grant((rule(["agents"], ["*"]),), "lab"), Grant((rule(["agents"], ["get"]),), None), False),
    (Grant((rule(["agents"], ["*"]),), "lab"), Grant((rule(["agents"], ["get"]),), "shop"), False),
    (Grant((rule(["agents"], ["*"]),), "lab"), Grant((rule(["agents"], ["get"]),), "lab"), True),
    (Grant((rule(["spaces"], ["*"], "space"),), "lab"), Grant((rule(["spaces"], ["get"], "global"),), "lab"), True),
    (Grant((rule(["*"], ["*"], "space"),), "lab"), Grant((rule(["*"], ["*"], "global"),), "lab"), True),
    (Grant((rule(["*"], ["*"], "space"),), "lab"), Grant((rule(["*"], ["*"], "global"),), None), False),
    (Grant((rule(["*"], ["*"], "global"),), "lab"), Grant((rule(["agents"], ["get"]),), "lab"), False),
    (
        Grant((rule(["agents"], ["get"]), rule(["secrets"], ["get", "list"])), None),
        Grant((rule(["agents", "secrets"], ["get"]),), "lab"),
        True,
    ),
]


@pytest.mark.parametrize(("held", "asked", "expected"), COVERED)
def test_only_what_one_holds_can_be_handed_out(held: Grant, asked: Grant, *, expected: bool):
    assert covers([held], [asked]) is expected
    assert covers([held, asked], [asked])
    assert covers([held], [])


@given(GRANTS, GRANTS, VERBS, WORDS, SPACES, st.booleans())
def test_nobody_hands_out_what_he_may_not_do(
    held: list[Grant], asked: list[Grant], verb: str, resource: str, space: str | None, owner: bool
):
    if covers(held, asked) and may(asked, verb, resource, space=space, owner=owner):
        assert may(held, verb, resource, space=space, owner=owner)
