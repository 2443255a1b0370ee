"""Whatever anybody does with roles and bindings, in whatever order: nobody gains what the one who gave it lacked."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from sqlalchemy import delete, text

from raworc.errors import RaworcError
from raworc.services.accounts import Accounts, Caller
from raworc.services.bindings import Bindings, NewBinding, Subject
from raworc.services.roles import NewRole, RoleRule, Roles
from raworc.services.tokens import Tokens
from raworc.store import accounts as account_rows
from raworc.store.database import Database
from raworc.store.schema import bindings, roles
from rows import add_account, add_role, bind

pytestmark = pytest.mark.anyio

VERBS = ("read", "list", "create", "delete", "read-values")
RESOURCES = ("agents", "secrets", "spaces", "roles", "role-bindings", "audit")
PLACES = (None, "alpha", "beta")
ALL = tuple(itertools.product(VERBS, RESOURCES, PLACES))
PEOPLE = ("admin", "keeper", "maker", "binder", "nobody")
T = TypeVar("T")
Right = tuple[str, str, str | None]


def effective(grants: list[tuple[list[dict[str, Any]], str | None]]) -> frozenset[Right]:
    """What rules bound in places come to: the rules of the documents, said here once more and apart from the code."""
    return frozenset(right for right in ALL if any(_gives(rules, bound, *right) for rules, bound in grants))


def _gives(rules: list[dict[str, Any]], bound: str | None, verb: str, resource: str, place: str | None) -> bool:
    for each in rules:
        verbs = {"read" if word == "get" else word for word in each["verbs"]}
        if not (verbs & {verb, "*"} and set(each["resources"]) & {resource, "*"}):
            continue
        if bound is None:
            return True
        if bound != place:
            continue
        if each["scope"] == "space" or (resource == "spaces" and verb in {"read", "list"}):
            return True
    return False


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
WHO = st.sampled_from(PEOPLE)
STEPS, STORIES = 12, 25


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


class Grants(RuleBasedStateMachine):
    """Everybody does what he likes with roles and bindings; after each deed the rows say what everybody may."""

    url: str

    def __init__(self) -> None:
        super().__init__()
        self._runner = asyncio.Runner()
        self._db = self._run(self._opened())
        self._tokens = Tokens(b"k" * 32)
        self._accounts = Accounts(self._db, self._tokens)
        self._run(begin(self._db))
        self._may = self._run(everybodys(self._db))

    @rule(who=WHO, name=NAMES, given=RULES)
    def make_role(self, who: str, name: str, given: tuple[tuple[Any, Any, str], ...]) -> None:
        rules = [RoleRule(resources, verbs, scope) for resources, verbs, scope in given]
        self._do(who, lambda actor: Roles(self._db).create(actor, NewRole(name, rules)))

    @rule(who=WHO, name=NAMES)
    def drop_role(self, who: str, name: str) -> None:
        self._do(who, lambda actor: Roles(self._db).delete(actor, name))

    @rule(who=WHO, role=ROLES, subject=SUBJECTS, place=st.sampled_from(PLACES))
    def bind(self, who: str, role: str, subject: str, place: str | None) -> None:
        new = NewBinding(role, (Subject(subject, place),))
        self._do(who, lambda actor: Bindings(self._db).create(actor, new))

    @rule(who=WHO, subject=SUBJECTS)
    def take(self, who: str, subject: str) -> None:
        """Away what somebody was given last."""
        found = self._run(self._newest(subject))
        if found is not None:
            self._do(who, lambda actor: Bindings(self._db).delete(actor, found))

    @invariant()
    def somebody_may_do_everything(self) -> None:
        assert any(len(rights) == len(ALL) for rights in self._may.values())

    def teardown(self) -> None:
        self._accounts.close()
        self._run(self._db.close())
        self._runner.close()

    def _do(self, who: str, deed: Callable[[Caller], Awaitable[object]]) -> None:
        before = self._may
        is_done = self._run(self._done(who, deed))
        self._may = self._run(everybodys(self._db))
        if not is_done:
            assert self._may == before, who
        for name in PEOPLE:
            assert self._may[name] - before[name] <= before[who], (who, name)

    async def _done(self, who: str, deed: Callable[[Caller], Awaitable[object]]) -> bool:
        try:
            await deed(await self._caller(who))
        except RaworcError:
            return False
        return True

    async def _caller(self, name: str) -> Caller:
        async with self._db.reading() as conn:
            account = await account_rows.by_name(conn, name)
        token, _ = self._tokens.login(account.id, account.version, "agents", ttl_s=60)
        return await self._accounts.authenticate(token)

    async def _opened(self) -> Database:
        return Database(self.url, pool_size=2)

    async def _newest(self, subject: str) -> str | None:
        async with self._db.reading() as conn:
            found = text("""
SELECT b.id FROM bindings b LEFT JOIN accounts a ON a.id = b.account_id
WHERE coalesce(a.name, 'authenticated') = :name ORDER BY b.created_at DESC, b.id LIMIT 1""")
            found_id = (await conn.execute(found, {"name": subject})).scalar_one_or_none()
        return None if found_id is None else str(found_id)

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)


def test_nobody_ever_gains_what_the_actor_lacked(database_url: str, pytestconfig: pytest.Config):
    times = 10 if pytestconfig.getoption("--faults") else 1
    machine = type("GrantsHere", (Grants,), {"url": database_url})
    run_state_machine_as_test(
        machine,
        settings=settings(
            database=None,
            deadline=None,
            derandomize=True,
            max_examples=STORIES * times,
            stateful_step_count=STEPS,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )


async def test_the_rules_of_this_file_are_not_the_same_for_everybody(db):
    await begin(db)
    found = await everybodys(db)
    assert found["admin"] == frozenset(ALL)
    assert found["nobody"] == frozenset()
    assert {place for _, _, place in found["keeper"]} == {"alpha"}
    assert ("create", "roles", None) in found["maker"]
    assert ("create", "secrets", "beta") not in found["binder"]
