"""Accounts as things that are administered: who may, what never happens, and what happens at once."""

import asyncio

import pytest
from sqlalchemy import delete, select, update

from raworc.errors import BadRequest, Conflict, Forbidden, NotFound, RateLimited, Unauthorized
from raworc.services.agents import NewAgent
from raworc.services.blocklist import Blocklist
from raworc.services.minting import Minting
from raworc.services.operators import NewOperator, OperatorChange, Operators
from raworc.services.passwords import Passwords
from raworc.store.schema import accounts as table
from raworc.store.schema import audit, bindings
from rows import add_account, add_role, bind

pytestmark = pytest.mark.anyio

PASSWORD = "a-password-of-tests"
HELPS = {"resources": ["service-accounts"], "verbs": ["*"], "scope": "global"}


@pytest.fixture
def operators(db):
    passwords = Passwords()
    yield Operators(db, passwords)
    passwords.close()


@pytest.fixture
def blocklist(db):
    return Blocklist(db)


@pytest.fixture
def minting(db, accounts):
    return Minting(db, accounts)


@pytest.fixture
async def helper(db, people):
    """May do everything with accounts, and nothing else."""
    async with db.transaction() as conn:
        await bind(conn, await add_role(conn, "helper", HELPS), await add_account(conn, "helen"))
    return await people.caller("helen")


@pytest.fixture
async def second(operators, admin, people):
    """Another administrator."""
    await operators.create(admin, NewOperator("second", PASSWORD, role="admin"))
    return await people.caller("second")


async def deeds(db):
    async with db.reading() as conn:
        found = await conn.execute(select(audit).where(audit.c.verb != "login").order_by(audit.c.number))
        return [(row.actor, row.verb, row.name, row.allowed) for row in found]


async def names(db):
    async with db.reading() as conn:
        return set(await conn.scalars(select(table.c.name)))


async def test_an_account_lives_its_life(operators, accounts, admin, db):
    made = await operators.create(admin, NewOperator("Carl.o_1", PASSWORD, description="Reads logs"))
    assert (made.user, made.description, made.active, made.role) == ("Carl.o_1", "Reads logs", True, "user")
    assert made.last_login_at is None
    assert (await accounts.login("carl.O_1", PASSWORD, contract="agents")).role == "user"
    changed = await operators.update(admin, "carl.o_1", OperatorChange(description="", role="admin"))
    assert (changed.description, changed.role, changed.active) == ("", "admin", True)
    assert changed.updated_at > made.updated_at
    assert changed.last_login_at is not None
    assert (await operators.update(admin, "carl.o_1", OperatorChange(role="user"))).role == "user"
    await operators.delete(admin, "CARL.O_1")
    with pytest.raises(NotFound):
        await operators.get(admin, "Carl.o_1")
    await operators.create(admin, NewOperator("carl.o_1", PASSWORD))
    verbs = [verb for _, verb, _, allowed in await deeds(db) if allowed]
    assert verbs == ["create", "update", "update", "delete", "create"]


@pytest.mark.parametrize(
    "new",
    [
        NewOperator("", PASSWORD),
        NewOperator(".", PASSWORD),
        NewOperator("-x", PASSWORD),
        NewOperator("a b", PASSWORD),
        NewOperator("a/b", PASSWORD),
        NewOperator("carl\n", PASSWORD),
        NewOperator("c\u00e4rl", PASSWORD),
        NewOperator("a" * 256, PASSWORD),
        NewOperator("carl", "1234567"),
        NewOperator("carl", "x" * 1025),
    ],
)
async def test_names_and_passwords_have_their_rules(operators, admin, db, new):
    before = await names(db)
    with pytest.raises(BadRequest) as caught:
        await operators.create(admin, new)
    assert caught.value.details[0].field in {"user", "pass"}
    assert new.password not in str(caught.value)
    assert await names(db) == before


async def test_a_name_is_taken_in_any_case(operators, admin):
    with pytest.raises(Conflict, match="'ADMIN' already exists"):
        await operators.create(admin, NewOperator("ADMIN", PASSWORD))


async def test_one_of_two_makes_a_name(operators, admin):
    made = await asyncio.gather(
        *(operators.create(admin, NewOperator(name, PASSWORD)) for name in ("carl", "CARL")), return_exceptions=True
    )
    assert sum(isinstance(item, Conflict) for item in made) == 1


async def test_everybody_sees_himself_and_only_helpers_see_others(operators, admin, ann, bob, helper):
    async def seen(caller):
        return [item.user for item in await operators.page(caller, limit=100, offset=0)]

    assert await seen(ann) == ["ann"]
    assert await seen(admin) == await seen(helper) == ["admin", "ann", "bob", "helen"]
    assert [item.user for item in await operators.page(admin, limit=2, offset=1)] == ["ann", "bob"]
    assert (await operators.get(ann, "ANN")).user == "ann"
    told = set()
    for name in ("bob", "admin", "nobody", "a/b"):
        with pytest.raises(Forbidden) as caught:
            await operators.get(ann, name)
        told.add(str(caught.value))
    assert len(told) == 1, "what an account is told of others does not say which there are"


@pytest.mark.usefixtures("ann", "admin")
async def test_a_helper_touches_nobody_who_may_do_more(operators, blocklist, minting, helper, db):
    await operators.update(helper, "ann", OperatorChange(description="helped"))
    await operators.set_password(helper, "ann", "another-good-password", None)
    before = await names(db)
    for refused in (
        operators.set_password(helper, "admin", "another-good-password", None),
        operators.update(helper, "admin", OperatorChange(active=False)),
        operators.update(helper, "helen", OperatorChange(role="admin")),
        operators.create(helper, NewOperator("carl", PASSWORD, role="admin")),
        operators.delete(helper, "admin"),
        blocklist.block(helper, "admin"),
        minting.mint(helper, "ann", "user", None),
        minting.mint(helper, "admin", "admin", None),
    ):
        with pytest.raises(Forbidden):
            await refused
    assert await names(db) == before
    assert [deed[3] for deed in await deeds(db)] == [True] * 2 + [False] * 8


async def test_the_last_administrator_stays(operators, blocklist, admin, ann):
    for refused in (
        operators.delete(admin, "admin"),
        operators.update(admin, "admin", OperatorChange(active=False)),
        operators.update(admin, "admin", OperatorChange(role="user")),
        blocklist.block(admin, "admin"),
    ):
        with pytest.raises(Conflict, match="last administrator"):
            await refused
    assert (await operators.get(admin, "admin")).role == "admin"


@pytest.mark.parametrize("attempt", range(5))
async def test_two_administrators_who_remove_each_other_leave_one(operators, admin, second, db, attempt):
    ways = [
        operators.delete,
        lambda caller, name: operators.update(caller, name, OperatorChange(role="user")),
        lambda caller, name: operators.update(caller, name, OperatorChange(active=False)),
        Blocklist(db).block,
        lambda caller, name: operators.set_password(caller, name, "another-good-password", None),
    ]
    way = ways[attempt]
    ended = await asyncio.gather(way(admin, "second"), way(second, "admin"), return_exceptions=True)
    lost = [item for item in ended if isinstance(item, Exception)]
    assert len(lost) == 1
    assert isinstance(lost[0], Unauthorized | Forbidden)


async def test_an_account_with_agents_stays_until_they_are_gone(operators, agents, admin, ann, db):
    await agents.create(ann, NewAgent("demo"))
    with pytest.raises(Conflict, match="owns an agent"):
        await operators.delete(admin, "ann")
    await agents.delete(ann, "demo")
    await operators.delete(admin, "ann")
    assert "ann" not in await names(db)


async def test_an_account_that_is_deleted_while_it_creates_agents_leaves_none(operators, agents, admin, ann, db):
    made = [agents.create(ann, NewAgent(f"demo-{number}")) for number in range(6)]
    ended = await asyncio.gather(*made[:3], operators.delete(admin, "ann"), *made[3:], return_exceptions=True)
    deleted = ended.pop(3)
    if deleted is None:
        assert all(isinstance(item, Unauthorized) for item in ended)
    else:
        assert isinstance(deleted, Conflict)


async def test_a_password_change_ends_every_token(operators, accounts, admin, people, db):
    await operators.create(admin, NewOperator("carl", PASSWORD))
    token = (await accounts.login("carl", PASSWORD, contract="agents")).token
    carl = await accounts.authenticate(token)
    with pytest.raises(BadRequest, match="current_password"):
        await operators.set_password(carl, "carl", "another-good-password", None)
    with pytest.raises(Unauthorized):
        await operators.set_password(carl, "carl", "another-good-password", "wrong")
    with pytest.raises(Forbidden):
        await operators.set_password(carl, "admin", "another-good-password", "admin")
    await operators.set_password(carl, "Carl", "another-good-password", PASSWORD)
    with pytest.raises(Unauthorized):
        await accounts.authenticate(token)
    with pytest.raises(Unauthorized):
        await accounts.login("carl", PASSWORD, contract="agents")
    assert (await accounts.login("carl", "another-good-password", contract="agents")).user == "carl"


async def test_an_administrator_needs_no_current_password_but_a_given_one_must_be_right(operators, accounts, admin):
    with pytest.raises(Unauthorized):
        await operators.set_password(admin, "admin", "another-good-password", "wrong")
    await operators.set_password(admin, "admin", "another-good-password", None)
    assert (await accounts.login("admin", "another-good-password", contract="agents")).notice is None


async def test_current_passwords_cannot_be_guessed_either(operators, admin, people):
    await operators.create(admin, NewOperator("carl", PASSWORD))
    carl = await people.caller("carl")
    for _ in range(10):
        with pytest.raises(Unauthorized):
            await operators.set_password(carl, "carl", "another-good-password", "wrong")
    with pytest.raises(RateLimited):
        await operators.set_password(carl, "carl", "another-good-password", PASSWORD)


async def test_a_deactivated_account_loses_its_tokens_for_good(operators, accounts, admin, db):
    await operators.create(admin, NewOperator("carl", PASSWORD))
    token = (await accounts.login("carl", PASSWORD, contract="agents")).token
    await operators.update(admin, "carl", OperatorChange(active=False))
    for again in (None, OperatorChange(active=True)):
        if again:
            await operators.update(admin, "carl", again)
        with pytest.raises(Unauthorized):
            await accounts.authenticate(token)
    assert (await accounts.login("carl", PASSWORD, contract="agents")).user == "carl"


async def test_a_blocked_account_is_kept_out_for_the_time_being(operators, accounts, blocklist, admin):
    await operators.create(admin, NewOperator("carl", PASSWORD))
    token = (await accounts.login("carl", PASSWORD, contract="agents")).token
    assert await blocklist.block(admin, "CARL")
    assert not await blocklist.block(admin, "carl")
    (entry,) = await blocklist.page(admin, limit=10, offset=0)
    assert (entry.principal, entry.role) == ("carl", "user")
    for refused in (accounts.authenticate(token), accounts.login("carl", PASSWORD, contract="agents")):
        with pytest.raises(Unauthorized):
            await refused
    assert await blocklist.unblock(admin, "carl")
    assert not await blocklist.unblock(admin, "carl")
    assert (await accounts.authenticate(token)).name == "carl"
    assert await blocklist.page(admin, limit=10, offset=0) == []
    with pytest.raises(NotFound):
        await blocklist.block(admin, "nobody")


async def test_an_administrator_makes_tokens_for_others(operators, accounts, minting, blocklist, admin, ann):
    made = await minting.mint(admin, "ann", "user", 2)
    assert (made.user, made.role) == ("ann", "user")
    assert (await accounts.authenticate(made.token)).account_id == ann.account_id
    new = await minting.mint(admin, "someone@example.org", "user", None)
    assert (await accounts.authenticate(new.token)).name == "someone@example.org"
    for password in ("", "none", "wrong"):
        with pytest.raises(Unauthorized):
            await accounts.login("someone@example.org", password, contract="agents")
    assert (await minting.mint(admin, "admin", "admin", None)).role == "admin"
    for refused in (
        minting.mint(admin, "ann", "admin", None),
        minting.mint(admin, "admin", "user", None),
        minting.mint(admin, "unheard-of", "admin", None),
        minting.mint(admin, "a b", "user", None),
        minting.mint(admin, "ann", "user", 0),
    ):
        with pytest.raises(BadRequest):
            await refused
    with pytest.raises(Forbidden):
        await minting.mint(ann, "ann", "user", None)
    await blocklist.block(admin, "ann")
    with pytest.raises(Conflict):
        await minting.mint(admin, "ann", "user", None)


async def test_without_the_role_everybody_has_nobody_is_less_than_himself(operators, helper, ann, db):
    async with db.transaction() as conn:
        await conn.execute(delete(bindings).where(bindings.c.account_id.is_(None)))
    await operators.update(helper, "ann", OperatorChange(active=False))
    async with db.transaction() as conn:
        await conn.execute(update(table).where(table.c.name == "helen").values(active=False))
    with pytest.raises(Unauthorized):
        await operators.update(helper, "ann", OperatorChange(active=True))


async def test_the_audit_tells_who_did_it_and_holds_no_password(operators, minting, admin, db):
    await operators.create(admin, NewOperator("carl", "canary-password-1"))
    await operators.set_password(admin, "carl", "canary-password-2", None)
    token = (await minting.mint(admin, "carl", "user", 1)).token
    assert await deeds(db) == [
        ("admin", "create", "carl", True),
        ("admin", "update-password", "carl", True),
        ("admin", "create-token", "carl", True),
    ]
    async with db.reading() as conn:
        text = repr((await conn.execute(select(audit))).all())
    assert "canary-password" not in text
    assert token not in text
