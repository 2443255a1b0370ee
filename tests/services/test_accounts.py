import asyncio
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from argon2 import PasswordHasher, extract_parameters
from sqlalchemy import Engine, event, select, text, update

from raworc.domain.access import may
from raworc.errors import BadRequest, RateLimited, Unauthorized
from raworc.services.passwords import Passwords
from raworc.services.tokens import Tokens, WorkClaims
from raworc.settings import DEFAULT_PASSWORD
from raworc.store.schema import accounts as account_table
from raworc.store.schema import login_failures, login_places, roles
from rows import add_account, add_role, bind

pytestmark = pytest.mark.anyio


async def login(accounts, name="admin", password=DEFAULT_PASSWORD, **more):
    return await accounts.login(name, password, contract="agents", **more)


async def test_a_login_answers_a_token_that_speaks_for_the_account(accounts, db):
    answer = await login(accounts, "ADMIN")
    assert (answer.user, answer.role, answer.token_type) == ("admin", "admin", "Bearer")
    left = answer.expires_at - datetime.now(UTC)
    assert timedelta(hours=23, minutes=59) < left <= timedelta(hours=24)
    caller = await accounts.authenticate(answer.token)
    assert (caller.name, caller.contract, caller.is_admin) == ("admin", "agents", True)
    assert len(caller.token_id) == 32
    async with db.reading() as conn:
        assert await conn.scalar(select(account_table.c.last_login_at)) is not None


async def test_an_ordinary_account_is_a_user_with_what_everyone_has(accounts, people, ann):
    assert not ann.is_admin
    assert may(ann.grants, "create", "agents", space="default", owner=True)
    assert not may(ann.grants, "create", "agents", space="default")


@pytest.mark.parametrize(
    ("hours", "seconds"), [(None, 86_400), (1, 3600), (0.5, 1800), (0.0001, 1), (8760, 31_536_000)]
)
async def test_a_token_lasts_as_asked(accounts, hours, seconds):
    answer = await login(accounts, ttl_hours=hours)
    assert abs((answer.expires_at - datetime.now(UTC)).total_seconds() - seconds) <= 2


@pytest.mark.parametrize("hours", [0, -1, 8761, float("nan"), float("inf")])
async def test_a_token_cannot_last_just_any_time(accounts, hours):
    with pytest.raises(BadRequest):
        await login(accounts, ttl_hours=hours)


async def test_every_wrong_login_reads_the_same(accounts, db):
    async with db.transaction() as conn:
        await add_account(conn, "idle", active=False, password_hash=await Passwords().hash("sleeping beauty"))
    texts = set()
    for name, password in (
        ("admin", "wrong"),
        ("admin", ""),
        ("nobody", "admin"),
        ("idle", "sleeping beauty"),
        ("", ""),
        ("ad\x00min", "admin"),
        ("\ud800", "\ud800"),
        ("a" * 10_000, "b" * 10_000),
        ("admin\n", "admin"),
    ):
        with pytest.raises(Unauthorized) as caught:
            await login(accounts, name, password)
        texts.add(str(caught.value))
    assert len(texts) == 1


class Counting(PasswordHasher):
    """Notes which hash each check works on."""

    def __init__(self, asked: list[str]) -> None:
        super().__init__()
        self.asked = asked

    def verify(self, stored: str | bytes, password: str | bytes) -> bool:
        self.asked.append(str(stored))
        return super().verify(stored, password)


async def test_an_unknown_name_costs_what_a_known_one_does(accounts, db):
    """The work is compared, not the clock: hashes of one kind and cost, and the same statements."""
    asked: list[str] = []
    statements: list[str] = []
    accounts._passwords._hasher = Counting(asked)
    async with db.transaction() as conn:
        await add_account(conn, "away", active=False, password_hash=await Passwords().hash("a-good-password"))

    def note(_conn, _cursor, statement, *_):
        statements.append(statement)

    work = []
    event.listen(Engine, "before_cursor_execute", note)
    for name, password in (("admin", "wrong"), ("nobody", "wrong"), ("away", "a-good-password")):
        statements.clear()
        with pytest.raises(Unauthorized):
            await login(accounts, name, password)
        work.append(list(statements))
    event.remove(Engine, "before_cursor_execute", note)
    assert work[0] == work[1] == work[2]
    assert len(work[0]) >= 3
    known, unknown, away = asked
    assert extract_parameters(known) == extract_parameters(unknown) == extract_parameters(away)
    assert extract_parameters(unknown).memory_cost == 19_456


async def test_ten_failures_back_off_for_account_and_address(accounts, db):
    for _ in range(10):
        with pytest.raises(Unauthorized):
            await login(accounts, "admin", "wrong", address="192.0.2.1")
    with pytest.raises(RateLimited) as caught:
        await login(accounts, "Admin", address="192.0.2.9")
    assert 0 < int(caught.value.headers["Retry-After"]) <= 300
    with pytest.raises(RateLimited):
        await login(accounts, "nobody", address="192.0.2.1")
    with pytest.raises(Unauthorized):
        await login(accounts, "nobody", address="192.0.2.2")
    async with db.transaction() as conn:
        await conn.execute(update(login_failures).values(since=text("now() - interval '301 seconds'")))
    assert (await login(accounts)).user == "admin"


async def test_guesses_from_elsewhere_shut_nobody_out_where_he_usually_is(accounts, db):
    usual, new = "192.0.2.1", "192.0.2.9"
    await login(accounts, address=usual)
    for last in range(10):
        with pytest.raises(Unauthorized):
            await login(accounts, "admin", "wrong", address=f"198.51.100.{last}")
    with pytest.raises(RateLimited):
        await login(accounts, address=new)
    assert (await login(accounts, "ADMIN", address=usual)).user == "admin"
    with pytest.raises(RateLimited):  # which says nothing of who is asked for elsewhere
        await login(accounts, address=new)

    for _ in range(10):
        with pytest.raises(Unauthorized):
            await login(accounts, "admin", "wrong", address=usual)
    with pytest.raises(RateLimited):
        await login(accounts, address=usual)
    async with db.transaction() as conn:
        await conn.execute(update(login_failures).values(since=text("now() - interval '301 seconds'")))
        await conn.execute(update(login_places).values(last_at=text("now() - interval '31 days'")))
    for _ in range(10):
        with pytest.raises(Unauthorized):
            await login(accounts, "admin", "wrong", address="203.0.113.5")
    with pytest.raises(RateLimited):
        await login(accounts, address=usual)


async def test_a_login_that_works_forgets_the_failures(accounts):
    for _ in range(2):
        for _ in range(9):
            with pytest.raises(Unauthorized):
                await login(accounts, "admin", "wrong", address="192.0.2.1")
        await login(accounts, address="192.0.2.1")


async def test_failures_at_once_are_all_counted(accounts, db):
    await asyncio.gather(*(login(accounts, "admin", "wrong") for _ in range(8)), return_exceptions=True)
    async with db.reading() as conn:
        assert await conn.scalar(select(login_failures.c.failures)) == 8


async def test_guesses_at_once_are_not_more_guesses(accounts):
    """Sixty at once, the right one among the last: who guesses in parallel learns no more than who waits."""
    guesses = ["wrong"] * 50 + ["admin"] * 10
    answers = await asyncio.gather(
        *(login(accounts, "admin", guess, address="192.0.2.1") for guess in guesses), return_exceptions=True
    )
    assert sum(isinstance(answer, Unauthorized) for answer in answers) == 10
    assert sum(isinstance(answer, RateLimited) for answer in answers) == 50


@pytest.mark.parametrize("change", [{"active": False}, {"version": 2}])
async def test_a_token_ends_with_what_it_was_issued_for(accounts, db, change):
    token = (await login(accounts)).token
    await accounts.authenticate(token)
    async with db.transaction() as conn:
        await conn.execute(update(account_table).values(change))
    with pytest.raises(Unauthorized):
        await accounts.authenticate(token)


async def test_a_token_of_a_deleted_account_is_refused(accounts, people, db, ann, tokens):
    token, _ = tokens.login(ann.account_id, 1, "agents", ttl_s=60)
    async with db.transaction() as conn:
        await conn.execute(account_table.delete().where(account_table.c.name == "ann"))
    with pytest.raises(Unauthorized):
        await accounts.authenticate(token)


async def test_only_login_tokens_speak_for_an_account(accounts, tokens, admin):
    claims = WorkClaims("sandbox", admin.account_id, 1, "default", "default.demo", None)
    forged, _ = Tokens(b"another key of 32 bytes length..").login(admin.account_id, 1, "agents", ttl_s=60)
    ended, _ = tokens.login(admin.account_id, 1, "agents", ttl_s=-60)
    for token in (tokens.work(claims, ttl_s=60), forged, ended, "", "x", "\u00e4", "a" * 10_000):
        with pytest.raises(Unauthorized):
            await accounts.authenticate(token)


async def test_grants_are_read_anew_on_every_request(accounts, people, db, ann):
    async with db.transaction() as conn:
        role_id = await add_role(conn, "helper", {"resources": ["agents"], "verbs": ["get"], "scope": "global"})
        await bind(conn, role_id, ann.account_id)
    assert may((await people.caller("ann")).grants, "get", "agents", space="default")
    async with db.transaction() as conn:
        await conn.execute(update(roles).where(roles.c.id == role_id).values(rules=[]))
    assert not may((await people.caller("ann")).grants, "get", "agents", space="default")


async def test_hashing_is_bounded():
    passwords = Passwords()
    answers = await asyncio.gather(*(passwords.verify(None, "x") for _ in range(70)), return_exceptions=True)
    assert sum(isinstance(answer, RateLimited) for answer in answers) == 6
    assert [answer for answer in answers if not isinstance(answer, RateLimited)] == [False] * 64
    passwords.close()


async def test_a_hash_that_is_none_matches_nothing(accounts, db):
    async with db.transaction() as conn:
        await add_account(conn, "odd", id=uuid.uuid4(), password_hash="not a hash")
    with pytest.raises(Unauthorized):
        await login(accounts, "odd", "not a hash")
