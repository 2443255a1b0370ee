"""Logging in by an identity provider's word, over HTTP, against a provider that speaks the real protocols."""

import asyncio
import io
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import delete, select, update

from asking import Api, error_of
from assertions import Response, Signer, encoded
from issuer import CLIENT, SECRET, Issuer, rsa_key, running_issuer
from raworc.cli.main import run
from raworc.settings import Settings
from raworc.store.database import Database
from raworc.store.schema import accounts, audit, bindings, login_failures, roles, spaces
from rows import add_account, bind

pytestmark = pytest.mark.anyio

CONFIGURATION = """
[providers.corp]
kind = "oidc"
issuer = "{url}"
audience = "{client}"
name = "preferred_username"
create = true
ttl_hours = 8
accounts = {{ the-boss = "admin", nobody-here = "not-there" }}
roles = [
  {{ group = "builders", role = "developer", space = "default" }},
  {{ group = "chiefs", role = "Admin", space = "*" }},
  {{ group = "dreamers", role = "no-such-role", space = "*" }},
  {{ group = "dreamers", role = "developer", space = "no-such-space" }},
]

[providers.known]
kind = "oidc"
issuer = "{url}"
audience = "for-known-ones"
require = {{ hd = ["example.com", "example.org"] }}

[providers.by-name]
kind = "oidc"
issuer = "{url}"
audience = "by-name"
name = "email"
link_by_name = true
accounts = {{ reserved = "mapped@example.com" }}

[providers.asked]
kind = "oauth2"
introspection_url = "{url}/introspect"
client_id = "{client}"
client_secret = "{secret}"
clients = ["cli"]
create = true
space = "there-is-none"

[providers.federation]
kind = "saml"
issuer = "urn:idp:example"
audience = "urn:raworc"
recipient = "https://raworc.example.com/saml"
certificate_file = "{certificates}"
name = "uid"
create = true
roles = [{{ group = "builders", role = "developer", space = "default" }}]
"""


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with running_issuer() as found:
        yield found


@pytest.fixture(scope="module")
def signer() -> Signer:
    return Signer()


@pytest.fixture(scope="module")
def settings(settings: Settings, issuer: Issuer, signer: Signer) -> Settings:
    """With the providers in a file, as they usually are."""
    file = settings.home / "identity.toml"
    pem = signer.write(settings.home / "provider.pem")
    file.write_text(CONFIGURATION.format(url=issuer.url, client=CLIENT, secret=SECRET, certificates=pem))
    return replace(settings, identity_file=file)


@pytest.fixture(autouse=True)
async def no_failures(db: Database):
    """Those of earlier tests do not slow this one down."""
    async with db.transaction() as conn:
        await conn.execute(delete(login_failures))


@dataclass
class Person:
    """Somebody whom the provider knows."""

    api: Api
    issuer: Issuer
    subject: str
    name: str

    async def login(self, provider: str = "corp", *, ttl_hours: float | None = None, **changes: Any) -> httpx2.Response:
        token = self.issuer.token(**{"sub": self.subject, "preferred_username": self.name} | changes)
        body = {"provider": provider, "token": token}
        return await self.send(body if ttl_hours is None else body | {"ttl_hours": ttl_hours})

    async def send(self, body: dict[str, Any]) -> httpx2.Response:
        return await self.api.http.post(f"{self.api.served.url}/api/v0/auth/external", json=body)


@pytest.fixture
def person(nobody: Api, issuer: Issuer) -> Person:
    unique = uuid.uuid4().hex[:12]
    return Person(nobody, issuer, f"subject-{unique}", f"name-{unique}")


async def last_audit(db: Database) -> dict[str, Any]:
    async with db.reading() as conn:
        row = (await conn.execute(select(audit).order_by(audit.c.number.desc()).limit(1))).mappings().one()
        return dict(row)


async def held(db: Database, name: str) -> set[tuple[str, str | None]]:
    """The roles that are bound to an account."""
    async with db.reading() as conn:
        joined = bindings.join(roles, roles.c.id == bindings.c.role_id).join(
            accounts, accounts.c.id == bindings.c.account_id
        )
        found = await conn.execute(
            select(roles.c.name, bindings.c.space).select_from(joined).where(accounts.c.name == name)
        )
        return {tuple(row) for row in found}


async def change(db: Database, name: str, **values: Any) -> None:
    async with db.transaction() as conn:
        await conn.execute(update(accounts).where(accounts.c.name == name).values(**values))


async def test_who_logs_in_first_gets_an_account_and_keeps_it_under_another_name(person: Person, db: Database):
    answer = await person.login()
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert set(body) == {"token", "token_type", "expires_at", "user", "role"}
    assert (body["user"], body["role"], answer.headers["cache-control"]) == (person.name, "user", "no-store")
    me = await person.api.http.get(
        f"{person.api.served.url}/api/v0/auth/me", headers={"authorization": f"Bearer {body['token']}"}
    )
    assert me.json()["user"] == person.name
    assert me.headers["raworc-contract"] == "organizations"
    row = await last_audit(db)
    assert (row["actor"], row["verb"], row["allowed"]) == (person.name, "login", True)
    assert row["details"] == {"provider": "corp", "subject": person.subject}
    renamed = replace(person, name=f"{person.name}-married")
    assert (await renamed.login()).json()["user"] == person.name


async def test_no_password_opens_an_account_that_a_provider_made(person: Person, nobody: Api):
    await person.login()
    for password in ("", "none", "none\0"):
        error_of(await nobody.ask("POST", f"/operators/{person.name}/login", {"pass": password}), 401, "UNAUTHORIZED")


async def test_a_name_that_is_taken_is_not_handed_over(person: Person, db: Database):
    async with db.transaction() as conn:
        await add_account(conn, person.name.upper())
    answer = await person.login()
    assert "not yours" in error_of(answer, 403, "FORBIDDEN")["message"]
    row = await last_audit(db)
    assert (row["allowed"], row["details"]["subject"]) == (False, person.subject)
    error_of(await replace(person, name="admin").login(), 403, "FORBIDDEN")


async def test_a_mapped_subject_is_the_account_that_the_configuration_names(person: Person):
    boss = await replace(person, subject="the-boss").login(preferred_username=None)
    assert (boss.json()["user"], boss.json()["role"]) == ("admin", "admin")
    lost = error_of(await replace(person, subject="nobody-here").login(), 403, "FORBIDDEN")
    assert "'not-there'" in lost["message"]


@pytest.mark.parametrize("name", [None, "", "a b", "ä", "x" * 300, "-x", "a/b", ["a", "b"], 7])
async def test_who_has_no_name_for_an_account_gets_none(person: Person, name: Any):
    error_of(await person.login(preferred_username=name), 403, "FORBIDDEN")


async def test_an_account_that_is_shut_stays_shut(person: Person, db: Database):
    await person.login()
    await change(db, person.name, active=False)
    error_of(await person.login(), 403, "FORBIDDEN")
    await change(db, person.name, active=True, blocked_at=audit.c.at.type.python_type.now())
    error_of(await person.login(), 403, "FORBIDDEN")
    assert (await last_audit(db))["allowed"] is False
    await change(db, person.name, blocked_at=None)
    assert (await person.login()).status_code == 200


async def test_a_removed_account_is_nobodys_again(person: Person, db: Database):
    await person.login(groups=["builders"])
    async with db.transaction() as conn:
        await conn.execute(delete(accounts).where(accounts.c.name == person.name))
    assert (await person.login()).status_code == 200
    assert await held(db, person.name) == set()


async def test_groups_give_roles_and_take_them_again_and_touch_no_others(person: Person, db: Database):
    answer = await person.login(groups=["builders", "chiefs", "dreamers", "strangers"])
    assert answer.json()["role"] == "admin"
    assert await held(db, person.name) == {("developer", "default"), ("admin", None)}
    async with db.transaction() as conn:
        account = await conn.scalar(select(accounts.c.id).where(accounts.c.name == person.name))
        operator = await conn.scalar(select(roles.c.id).where(roles.c.name == "operator"))
        await bind(conn, operator, account)
    answer = await person.login(groups="builders")
    assert answer.json()["role"] == "user"
    assert await held(db, person.name) == {("developer", "default"), ("operator", None)}
    assert (await person.login()).status_code == 200
    assert await held(db, person.name) == {("operator", None)}
    async with db.reading() as conn:
        rows = await conn.execute(select(audit.c.verb).where(audit.c.name == person.name).order_by(audit.c.number))
        verbs = [row.verb for row in rows]
    assert verbs == ["create", "create", "create", "login", "delete", "login", "delete", "login"]


async def test_a_role_that_was_bound_by_hand_is_not_taken_by_a_group(person: Person, db: Database):
    await person.login()
    async with db.transaction() as conn:
        account = await conn.scalar(select(accounts.c.id).where(accounts.c.name == person.name))
        developer = await conn.scalar(select(roles.c.id).where(roles.c.name == "developer"))
        await bind(conn, developer, account, "default")
    await person.login(groups=["builders"])
    await person.login()
    assert await held(db, person.name) == {("developer", "default")}


async def test_the_last_administrator_does_not_lose_the_role_and_gets_no_token(person: Person, db: Database):
    await person.login(groups=["chiefs"])
    await change(db, "admin", active=False)
    try:
        error_of(await person.login(), 409, "CONFLICT")
        assert await held(db, person.name) == {("admin", None)}
    finally:
        await change(db, "admin", active=True)
    assert (await person.login()).json()["role"] == "user"


async def test_two_first_logins_at_once_make_one_account(person: Person, db: Database):
    answers = await asyncio.gather(*(person.login(groups=["builders"]) for _ in range(6)))
    assert [answer.status_code for answer in answers] == [200] * 6
    assert await held(db, person.name) == {("developer", "default")}


async def test_without_create_only_known_ones_come_in(person: Person):
    allowed = {"aud": "for-known-ones", "hd": "example.org"}
    assert "no account" in error_of(await person.login("known", **allowed), 403, "FORBIDDEN")["message"]
    assert (await person.login()).status_code == 200
    assert (await person.login("known", **allowed)).json()["user"] == person.name
    for domain in ("evil.example", None, ["example.net"]):
        error_of(await person.login("known", aud="for-known-ones", hd=domain), 403, "FORBIDDEN")


async def test_names_link_accounts_only_where_that_is_configured_and_never_administrators(person: Person, db: Database):
    person.name = f"{person.name}@example.com"
    proven = {"aud": "by-name", "email": person.name, "email_verified": True}
    async with db.transaction() as conn:
        account = await add_account(conn, person.name)
        await add_account(conn, "mapped@example.com")
    for unverified in (False, None, "yes"):
        error_of(await person.login("by-name", **proven | {"email_verified": unverified}), 403, "FORBIDDEN")
    error_of(await person.login("by-name", **proven | {"email": "mapped@example.com"}), 403, "FORBIDDEN")
    assert (await person.login("by-name", **proven)).json()["user"] == person.name
    successor = replace(person, subject=f"{person.subject}-2")
    error_of(await successor.login("by-name", **proven), 403, "FORBIDDEN")
    async with db.transaction() as conn:
        await conn.execute(delete(accounts).where(accounts.c.id == account))
        boss = await add_account(conn, person.name)
        await bind(conn, await conn.scalar(select(roles.c.id).where(roles.c.name == "admin")), boss)
    error_of(await person.login("by-name", **proven), 403, "FORBIDDEN")


async def test_introspected_tokens_log_in_once_their_server_says_so(person: Person, issuer: Issuer, db: Database):
    opaque = f"opaque-{person.name}"
    body = {"provider": "asked", "token": opaque}
    error_of(await person.send(body), 401, "UNAUTHORIZED")
    issuer.tokens[opaque] = {"active": True, "sub": person.name, "client_id": "cli"}
    error_of(await person.send(body), 409, "CONFLICT")  # the space for new accounts is not there
    async with db.transaction() as conn:
        await conn.execute(spaces.insert().values(name="there-is-none"))
    assert (await person.send(body)).json()["user"] == person.name
    del issuer.tokens[opaque]
    error_of(await person.send(body), 401, "UNAUTHORIZED")


async def test_what_proves_nothing_reads_alike_and_is_told_to_the_audit(person: Person, db: Database, issuer: Issuer):
    texts = set()
    for changes in ({"exp": 1}, {"aud": "other"}, {"iss": "https://other.example"}, {"key": rsa_key()}):
        texts.add(error_of(await person.login(**changes), 401, "UNAUTHORIZED")["message"])
    assert len(texts) == 1
    assert (await last_audit(db))["details"] == {"provider": "corp", "reason": "no key of the issuer has signed it"}
    async with db.reading() as conn:
        assert await conn.scalar(select(accounts.c.id).where(accounts.c.name == person.name)) is None


async def test_what_is_asked_must_make_sense(person: Person):
    for body in ({}, {"provider": "corp"}, {"provider": "nobody", "token": "x"}, {"provider": 7, "token": "x"}):
        error_of(await person.send(body), 400, "BAD_REQUEST")
    for body in ({"token": ""}, {"token": "x" * 100_000}, {"token": "\0"}):
        error_of(await person.send({"provider": "corp"} | body), 401, "UNAUTHORIZED")
    for hours in (8.1, 0, -1):
        error_of(await person.login(ttl_hours=hours), 400, "BAD_REQUEST")
    assert (await person.login(ttl_hours=8)).status_code == 200


async def test_configuration_that_is_sent_counts_for_nothing(person: Person, issuer: Issuer):
    before = issuer.asked.copy()
    sent = {"issuer": f"{issuer.url}/other", "jwks_url": f"{issuer.url}/other/keys", "client_id": "other"}
    token = issuer.token(sub=person.subject, iss=sent["issuer"])
    error_of(await person.send({"provider": "corp", "token": token, "provider_config": sent}), 401, "UNAUTHORIZED")
    assert {path for path in issuer.asked if path not in before} <= {"/.well-known/openid-configuration", "/keys"}


async def test_ten_bad_tokens_slow_bad_ones_down_and_nobody_else(person: Person, nobody: Api, issuer: Issuer):
    for _ in range(10):
        error_of(await person.login(exp=1), 401, "UNAUTHORIZED")
    answer = await person.login(exp=1)
    error_of(answer, 429, "RATE_LIMITED")
    assert int(answer.headers["retry-after"]) > 0
    assert (await person.login()).status_code == 200
    assert (await nobody.ask("POST", "/operators/admin/login", {"pass": "admin"})).status_code == 200
    asked = issuer.asked.get("/introspect")
    error_of(await person.send({"provider": "asked", "token": "made-up"}), 429, "RATE_LIMITED")
    assert issuer.asked.get("/introspect") == asked


async def test_a_provider_that_is_away_is_503(person: Person, issuer: Issuer):
    issuer.answer = (500, {}, b"")
    try:
        answer = await person.send({"provider": "asked", "token": "opaque"})
    finally:
        issuer.answer = None
    error_of(answer, 503, "SERVICE_UNAVAILABLE")
    assert answer.headers["retry-after"] == "10"


async def test_an_assertion_logs_in_once(person: Person, signer: Signer, db: Database):
    response = Response(subject=person.subject, attributes={"uid": [person.name], "groups": ["builders"]})
    body = {"provider": "federation", "token": encoded(response.made(signer))}
    answers = await asyncio.gather(*(person.send(body) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 401, 401, 401]
    assert (await last_audit(db))["details"] == {"provider": "federation", "reason": "it was used before"}
    assert await held(db, person.name) == {("developer", "default")}
    again = replace(response, id=f"_{uuid.uuid4().hex}", attributes={})
    body = {"provider": "federation", "token": encoded(again.made(signer))}
    assert (await person.send(body)).json()["user"] == person.name
    assert await held(db, person.name) == set()


async def test_an_assertion_that_is_denied_may_be_used_when_its_account_is_let_in(
    person: Person, signer: Signer, db: Database
):
    async with db.transaction() as conn:
        await add_account(conn, person.name)
    response = Response(subject=person.subject, attributes={"uid": [person.name]})
    body = {"provider": "federation", "token": encoded(response.made(signer))}
    error_of(await person.send(body), 403, "FORBIDDEN")
    async with db.transaction() as conn:
        await conn.execute(delete(accounts).where(accounts.c.name == person.name))
    assert (await person.send(body)).status_code == 200


async def test_the_command_line_logs_in_with_a_provider(
    person: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("RAWORC_CREDENTIALS", str(tmp_path / "credentials.json"))

    async def login(token: str, code: int) -> str:
        monkeypatch.setattr("sys.stdin", io.StringIO(f"{token}\n"))
        command = ("login", "--url", person.api.served.url, "--provider", "corp")
        assert await asyncio.to_thread(run, command) == code
        told = capsys.readouterr()
        return told.out + told.err

    token = person.issuer.token(sub=person.subject, preferred_username=person.name)
    assert f"as '{person.name}' (user)" in await login(token, 0)
    assert token not in (tmp_path / "credentials.json").read_text()
    assert "does not vouch" in await login("nonsense", 1)
