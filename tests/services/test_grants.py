"""Whatever anybody does with roles and bindings, in whatever order: nobody gains what the one who gave it lacked."""

import itertools
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, text

from raworc.errors import RaworcError
from raworc.services.bindings import Bindings, NewBinding, Subject
from raworc.services.roles import NewRole, RoleRule, Roles
from raworc.store.database import Database
from raworc.store.schema import bindings, roles
from rows import add_account, add_role, bind

pytestmark = pytest.mark.anyio

VERBS = ("read", "list", "create", "delete", "read-values")
RESOURCES = ("agents", "secrets", "spaces", "roles", "role-bindings", "audit")
PLACES = (None, "alpha", "beta")
ALL = tuple(itertools.product(VERBS, RESOURCES, PLACES))
PEOPLE = ("admin", "keeper", "maker", "binder", "nobody")
Right = tuple[str, str, str | None]


def effective(grants: list[tuple[list[dict[str, Any]], str | None]]) -> frozenset[Right]:
    """What rules bound in places come to: the rules of the documents, said here once more and apart from the code."""
    return frozenset(right for right in ALL if any(_gives(rules, bound, *right) for rules, bound in grants))


def _gives(rules: list[dict[str, Any]], bound: str | None, verb: str, resource: str, place: str | None) -> bool:
    for rule in rules:
        verbs = {"read" if word == "get" else word for word in rule["verbs"]}
        if not (verbs & {verb, "*"} and set(rule["resources"]) & {resource, "*"}):
            continue
        if bound is None:
            return True
        if bound != place:
            continue
        if rule["scope"] == "space" or (resource == "spaces" and verb in {"read", "list"}):
            return True
    return False


@dataclass(frozen=True)
class MakeRole:
    name: str
    rules: tuple[tuple[tuple[str, ...], tuple[str, ...], str], ...]


@dataclass(frozen=True)
class Bind:
    role: str
    subject: str
    place: str | None


@dataclass(frozen=True)
class Take:
    """Away what somebody was given."""

    subject: str


@dataclass(frozen=True)
class DropRole:
    name: str


def some(words: tuple[str, ...], extra: tuple[str, ...]) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from((*words, *extra)), min_size=1, max_size=3, unique=True).map(tuple)


NAMES = st.sampled_from(("one", "two", "three"))
RULES = st.lists(
    st.tuples(some(RESOURCES, ("*",)), some(VERBS, ("*", "get")), st.sampled_from(("space", "global"))),
    min_size=1,
    max_size=2,
).map(tuple)
ROLES = st.one_of(NAMES, st.sampled_from(("admin", "operator", "developer", "keeper")))
SUBJECTS = st.sampled_from((*PEOPLE, "authenticated"))
DEEDS = st.one_of(
    st.builds(MakeRole, NAMES, RULES),
    st.builds(Bind, ROLES, SUBJECTS, st.sampled_from(PLACES)),
    st.builds(Take, SUBJECTS),
    st.builds(DropRole, NAMES),
)
STORIES = st.lists(st.tuples(st.sampled_from(PEOPLE), DEEDS), min_size=4, max_size=14)


async def begin(db: Database) -> None:
    """Two spaces; who may do everything, everything in one of them, little and nothing."""
    async with db.transaction() as conn:
        await conn.execute(delete(bindings).where(bindings.c.builtin.is_(False)))
        await conn.execute(delete(roles).where(roles.c.builtin.is_(False)))
        await conn.execute(text("DELETE FROM accounts WHERE name <> 'admin'"))
        for name in ("alpha", "beta"):
            await conn.execute(text("INSERT INTO spaces (name) VALUES (:name) ON CONFLICT DO NOTHING"), {"name": name})
        ids = {name: await add_account(conn, name) for name in PEOPLE if name != "admin"}
        keeper = await add_role(conn, "keeper", {"resources": ["*"], "verbs": ["*"], "scope": "space"})
        reads = {"resources": ["agents", "spaces"], "verbs": ["read", "list"], "scope": "space"}
        makes = {"resources": ["roles", "role-bindings"], "verbs": ["*"], "scope": "space"}
        binds = {"resources": ["role-bindings"], "verbs": ["*"], "scope": "space"}
        await bind(conn, keeper, ids["keeper"], "alpha")
        await bind(conn, await add_role(conn, "maker", reads, makes), ids["maker"])
        await bind(conn, await add_role(conn, "binder", reads, binds), ids["binder"], "beta")


async def everybodys(db: Database) -> dict[str, frozenset[Right]]:
    """What each may, from the rows themselves."""
    async with db.reading() as conn:
        listed = text("""
SELECT a.name, r.rules, b.space FROM accounts a JOIN bindings b ON b.account_id = a.id OR b.account_id IS NULL
JOIN roles r ON r.id = b.role_id""")
        found: dict[str, list[tuple[list[dict[str, Any]], str | None]]] = {name: [] for name in PEOPLE}
        for name, rules, space in await conn.execute(listed):
            found[name].append((rules, space))
    return {name: effective(grants) for name, grants in found.items()}


async def tell(db: Database, actor: Any, deed: Any) -> None:
    match deed:
        case MakeRole(name, rules):
            given = [RoleRule(resources, verbs, scope) for resources, verbs, scope in rules]
            await Roles(db).create(actor, NewRole(name, given))
        case Bind(role, subject, place):
            await Bindings(db).create(actor, NewBinding(role, (Subject(subject, place),)))
        case DropRole(name):
            await Roles(db).delete(actor, name)
        case Take(subject):
            async with db.reading() as conn:
                rows = (
                    await conn.execute(
                        text(
                            "SELECT b.id FROM bindings b LEFT JOIN accounts a ON a.id = b.account_id "
                            "WHERE coalesce(a.name, 'authenticated') = :name ORDER BY b.created_at DESC, b.id"
                        ),
                        {"name": subject},
                    )
                ).all()
            if rows:
                await Bindings(db).delete(actor, str(rows[0].id))


@settings(
    settings.get_profile("made-up-requests"),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(story=STORIES)
async def test_nobody_ever_gains_what_the_actor_lacked(db, people, story):
    await begin(db)
    before = await everybodys(db)
    for who, deed in story:
        try:
            await tell(db, await people.caller(who), deed)
        except RaworcError:
            assert await everybodys(db) == before, (who, deed)
            continue
        after = await everybodys(db)
        for name in PEOPLE:
            assert after[name] - before[name] <= before[who], (who, deed, name)
        assert any(len(rights) == len(ALL) for rights in after.values())
        before = after


async def test_the_rules_of_this_file_are_not_the_same_for_everybody(db):
    await begin(db)
    found = await everybodys(db)
    assert found["admin"] == frozenset(ALL)
    assert found["nobody"] == frozenset()
    assert {place for _, _, place in found["keeper"]} == {"alpha"}
    assert ("create", "roles", None) in found["maker"]
    assert ("create", "secrets", "beta") not in found["binder"]
