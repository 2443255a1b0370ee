"""Version, health, login, and what a token is worth."""

import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import delete, select, update

from asking import Api, client_of, error_of, somebody
from raworc import __version__
from raworc.keys import load_keys
from raworc.services.tokens import LoginClaims, Tokens, WorkClaims
from raworc.settings import Settings
from raworc.store.database import Database
from raworc.store.schema import accounts, bindings, login_failures
from served import Served

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
async def _forgive(db: Database) -> AsyncIterator[None]:
    """What one test gets wrong does not slow the next one down."""
    yield
    async with db.transaction() as conn:
        await conn.execute(delete(login_failures))


async def test_version_is_public(nobody: Api):
    answer = await nobody.get("/version")

    assert answer.status_code == 200
    assert answer.json() == {"version": __version__, "api": "v0"}
    assert answer.headers["raworc-contract"] == "agents"


@pytest.mark.parametrize("path", ["/api/v0/health", "/agents/api/v0/health", "/livez", "/readyz"])
async def test_health_is_ok_as_text_or_as_json_by_accept(nobody: Api, path: str):
    url = nobody.served.url + path
    text = await nobody.http.get(url, headers={"accept": "*/*"})
    json = await nobody.http.get(url, headers={"accept": "application/json"})

    assert (text.status_code, text.text) == (200, "OK")
    assert json.json()["status"] == "ok"
    assert json.json()["version"] == __version__


LOGINS = [
    ("/auth/login", {"user": "admin", "pass": "admin"}),
    ("/operators/admin/login", {"pass": "admin"}),
    ("/operators/ADMIN/login", {"pass": "admin", "ttl_hours": None}),
]


@pytest.mark.parametrize(("path", "body"), LOGINS)
async def test_a_login_answers_the_token_response(nobody: Api, path: str, body: dict[str, object]):
    answer = (await nobody.ask("POST", path, body)).json()

    assert set(answer) == {"token", "token_type", "expires_at", "user", "role"}
    assert answer["token_type"] == "Bearer"
    assert answer["user"] == "admin"
    assert answer["role"] == "admin"
    expires_at = datetime.fromisoformat(answer["expires_at"])
    assert abs(expires_at - datetime.now(UTC) - timedelta(hours=24)) < timedelta(minutes=1)
    assert answer["expires_at"].endswith("Z")
    async with client_of(nobody.served, answer["token"]) as api:
        assert (await api.get("/auth")).json() == {"user": "admin", "type": "Admin"}


CONTRACTS = [
    ("/api/v0/auth/login", None, "spaces"),
    ("/api/v0/operators/admin/login", None, "agents"),
    ("/agents/api/v0/auth/login", None, "agents"),
    ("/agents/api/v0/auth/login", "spaces", "agents"),
    ("/api/v0/operators/admin/login", "organizations", "organizations"),
    ("/api/v0/auth/login", "nonsense", "spaces"),
]


@pytest.mark.parametrize(("path", "header", "contract"), CONTRACTS)
async def test_a_token_is_issued_under_the_contract_that_was_asked(
    nobody: Api, settings: Settings, path: str, header: str | None, contract: str
):
    headers = {"raworc-contract": header} if header else {}
    body = {"user": "admin", "pass": "admin"}
    answer = await nobody.http.post(nobody.served.url + path, json=body, headers=headers)

    claims = Tokens(load_keys(settings).jwt).read(answer.json()["token"])
    assert isinstance(claims, LoginClaims)
    assert claims.contract == contract


async def test_ttl_hours_shortens_a_token(nobody: Api):
    answer = await nobody.ask("POST", "/operators/admin/login", {"pass": "admin", "ttl_hours": 0.5})

    expires_at = datetime.fromisoformat(answer.json()["expires_at"])
    assert expires_at - datetime.now(UTC) < timedelta(minutes=31)


@pytest.mark.parametrize("ttl", [0, -1, 1e9, "1", True, [1]])
async def test_a_ttl_outside_its_rules_is_400_and_named(nobody: Api, ttl: object):
    answer = await nobody.ask("POST", "/operators/admin/login", {"pass": "admin", "ttl_hours": ttl})

    assert error_of(answer, 400, "BAD_REQUEST")["error"]["details"][0]["field"] == "ttl_hours"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/auth/login", {"user": "admin", "pass": "wrong"}),
        ("/auth/login", {"user": "nobody", "pass": "admin"}),
        ("/operators/nobody/login", {"pass": "admin"}),
        ("/operators/admin/login", {"pass": "admin\x00"}),
        ("/operators/admin/login", {"pass": ""}),
    ],
)
async def test_a_wrong_login_is_401_with_one_text(nobody: Api, path: str, body: dict[str, object]):
    answer = await nobody.ask("POST", path, body)

    assert error_of(answer, 401, "UNAUTHORIZED")["message"] == "Wrong name or password"
    assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/auth/login", {}, "user"),
        ("/auth/login", {"user": "admin"}, "pass"),
        ("/auth/login", {"user": 1, "pass": "admin"}, "user"),
        ("/operators/admin/login", {"pass": None}, "pass"),
        ("/operators/admin/login", None, "pass"),
    ],
)
async def test_a_login_without_its_fields_is_400_and_names_them(
    nobody: Api, path: str, body: dict[str, object] | None, field: str
):
    answer = await nobody.ask("POST", path, body)

    fields = [detail["field"] for detail in error_of(answer, 400, "BAD_REQUEST")["error"]["details"]]
    assert field in fields


async def test_too_many_failures_are_429_with_retry_after(nobody: Api):
    for _ in range(10):
        await nobody.ask("POST", "/operators/admin/login", {"pass": "wrong"})

    answer = await nobody.ask("POST", "/operators/admin/login", {"pass": "admin"})

    error_of(answer, 429, "RATE_LIMITED")
    assert int(answer.headers["retry-after"]) > 0


async def test_an_ordinary_account_is_a_user(other: Api):
    assert (await other.get("/auth")).json() == {"user": "olive", "type": "User"}


BAD_HEADERS = [
    {},
    {"authorization": ""},
    {"authorization": "Bearer"},
    {"authorization": "Basic YWRtaW46YWRtaW4="},
    {"authorization": "Bearer nonsense"},
    {"authorization": "Bearer " + "a" * 20_000},
    {"authorization": b"Bearer \xff\xfe"},
    {"authorization": "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9."},
]


@pytest.mark.parametrize("headers", BAD_HEADERS)
@pytest.mark.parametrize(("method", "path"), [("GET", "/agents/demo"), ("POST", "/agents"), ("GET", "/auth")])
async def test_no_or_a_bad_token_is_401(nobody: Api, headers: dict[str, str], method: str, path: str):
    answer = await nobody.http.request(method, path, headers=headers)

    error_of(answer, 401, "UNAUTHORIZED")
    assert answer.headers["www-authenticate"] == 'Bearer realm="raworc"'


async def test_a_bad_token_is_401_before_the_body_is_looked_at(nobody: Api):
    answer = await nobody.http.post("/agents", content=b"{not json")

    error_of(answer, 401, "UNAUTHORIZED")


async def test_the_scheme_is_read_in_any_case(admin: Api):
    token = admin.http.headers["authorization"].removeprefix("Bearer ")

    assert (await admin.http.get("/auth", headers={"authorization": f"bearer {token}"})).status_code == 200


async def test_a_token_of_a_turn_or_a_sandbox_is_not_a_login(nobody: Api, settings: Settings):
    tokens = Tokens(load_keys(settings).jwt)
    claims = WorkClaims("sandbox", uuid.uuid4(), 1, "default", "default.demo", None)

    async with client_of(nobody.served, tokens.work(claims, ttl_s=60)) as api:
        error_of(await api.get("/agents"), 401, "UNAUTHORIZED")


@pytest.mark.parametrize("change", [{"active": False}, {"version": 2}])
async def test_a_token_ends_with_what_it_was_issued_for(served: Served, db: Database, change: dict[str, object]):
    async with somebody(served, db) as caller:
        name = (await caller.get("/auth")).json()["user"]
        async with db.transaction() as conn:
            await conn.execute(update(accounts).where(accounts.c.name == name).values(**change))

        error_of(await caller.get("/auth"), 401, "UNAUTHORIZED")


async def test_without_any_role_the_collection_is_403_and_the_profile_is_not(other: Api, db: Database):
    async with db.transaction() as conn:
        removed = (await conn.execute(select(bindings).where(bindings.c.account_id.is_(None)))).one()
        await conn.execute(bindings.delete().where(bindings.c.id == removed.id))

    listed = await other.get("/agents")
    made = await other.ask("POST", "/agents", {"name": "demo"})
    profile = await other.get("/auth")
    async with db.transaction() as conn:
        await conn.execute(bindings.insert().values(**removed._mapping))

    error_of(listed, 403, "FORBIDDEN")
    error_of(made, 403, "FORBIDDEN")
    assert profile.json()["user"] == "olive"
