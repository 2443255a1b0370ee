"""Accounts over HTTP: the documented shapes, and that what ends an account ends what it does."""

import asyncio
import uuid
from datetime import datetime
from typing import Any

import pytest

from asking import Api, client_of, error_of
from raworc.keys import load_keys
from raworc.services.tokens import LoginClaims, Tokens
from raworc.settings import Settings

pytestmark = pytest.mark.anyio

PASSWORD = "a-password-of-tests"
OPERATOR = {"user", "description", "active", "created_at", "updated_at", "last_login_at", "role"}


def fresh() -> str:
    return f"carl.{uuid.uuid4().hex[:8]}"


async def made(admin: Api, **fields: Any) -> str:
    name = fresh()
    answer = await admin.ask("POST", "/operators", {"user": name, "pass": PASSWORD, **fields})
    assert answer.status_code == 200, answer.text
    return name


async def token_of(api: Api, name: str, password: str = PASSWORD) -> str:
    answer = await api.ask("POST", f"/operators/{name}/login", {"pass": password})
    assert answer.status_code == 200, answer.text
    return answer.json()["token"]


async def test_an_operator_is_the_documented_object(admin: Api):
    name = fresh()
    answer = await admin.ask("POST", "/operators", {"user": name, "pass": PASSWORD, "description": "Reads", "x": 1})
    body = answer.json()

    assert answer.status_code == 200
    assert set(body) == OPERATOR
    assert (body["user"], body["description"], body["active"], body["role"]) == (name, "Reads", True, "user")
    assert body["last_login_at"] is None
    assert datetime.fromisoformat(body["created_at"]).utcoffset() is not None
    assert (await admin.get(f"/operators/{name.upper()}")).json() == body
    assert body in (await admin.get("/operators")).json()


async def test_update_and_delete(admin: Api):
    name = await made(admin)
    changed = await admin.ask("PUT", f"/operators/{name}", {"description": None, "active": False})
    kept = await admin.ask("PUT", f"/operators/{name}", {})
    deleted = await admin.ask("DELETE", f"/operators/{name}")

    assert (changed.json()["description"], changed.json()["active"]) == (None, False)
    error_of(kept, 400, "BAD_REQUEST")
    assert (deleted.status_code, deleted.content) == (200, b"")
    error_of(await admin.get(f"/operators/{name}"), 404, "NOT_FOUND")
    error_of(await admin.ask("DELETE", f"/operators/{name}"), 404, "NOT_FOUND")


BAD: list[tuple[str, str, Any, str]] = [
    ("POST", "/operators", {}, "user"),
    ("POST", "/operators", {"user": "carl"}, "pass"),
    ("POST", "/operators", {"user": 5, "pass": PASSWORD}, "user"),
    ("POST", "/operators", {"user": "a b", "pass": PASSWORD}, "user"),
    ("POST", "/operators", {"user": "carl", "pass": "short"}, "pass"),
    ("POST", "/operators", {"user": "carl", "pass": PASSWORD, "active": "yes"}, "active"),
    ("POST", "/operators", {"user": "carl", "pass": PASSWORD, "role": "root"}, "role"),
    ("PUT", "/operators/admin", {"active": 1}, "active"),
    ("PUT", "/operators/admin/password", {}, "new_password"),
    ("PUT", "/operators/admin/password", {"new_password": "short"}, "new_password"),
    ("POST", "/auth/token", {"principal": "carl"}, "type"),
    ("POST", "/auth/token", {"principal": "carl", "type": "Root"}, "type"),
    ("POST", "/auth/token", {"principal": "a b", "type": "User"}, "principal"),
    ("POST", "/auth/token", {"principal": "admin", "type": "User"}, "type"),
    ("POST", "/auth/token", {"principal": "admin", "type": "Admin", "ttl_hours": 0}, "ttl_hours"),
    ("POST", "/blocklist/block", {}, "principal"),
    ("POST", "/blocklist/block", {"principal": "admin", "type": "Robot"}, "type"),
    ("POST", "/blocklist/unblock", {"principal": 1}, "principal"),
]


@pytest.mark.parametrize(("method", "path", "body", "field"), BAD)
async def test_bad_input_is_400_and_names_its_field(admin: Api, method: str, path: str, body: Any, field: str):
    answer = await admin.ask(method, path, body)

    details = error_of(answer, 400, "BAD_REQUEST")["error"]["details"]
    assert field in [detail["field"] for detail in details]
    assert "carl" not in [item["user"] for item in (await admin.get("/operators")).json()]


@pytest.mark.parametrize("name", ["%2e%2e", "%00", "a%20b", "\u00e4", "x" * 5000, "%ff"])
async def test_a_name_that_none_can_have_is_404(admin: Api, name: str):
    answer = await admin.http.get(f"{admin.served.url}/agents/api/v0/operators/{name}")

    assert answer.status_code in {400, 404}


async def test_the_first_password_is_nagged_about_and_no_other(admin: Api, nobody: Api):
    name = await made(admin)
    first = await nobody.ask("POST", "/operators/admin/login", {"pass": "admin"})
    other = await nobody.ask("POST", f"/operators/{name}/login", {"pass": PASSWORD})

    assert "change it" in first.headers["raworc-notice"]
    assert "raworc-notice" not in other.headers


async def test_ones_own_password_takes_the_current_one(admin: Api, nobody: Api):
    name = await made(admin)
    path = f"/operators/{name}/password"
    async with client_of(nobody.served, await token_of(nobody, name)) as carl:
        wrong = await carl.ask("PUT", path, {"current_password": "wrong", "new_password": "another-password"})
        error_of(wrong, 401, "UNAUTHORIZED")
        missing = error_of(await carl.ask("PUT", path, {"new_password": "another-password"}), 400, "BAD_REQUEST")
        assert missing["error"]["details"][0]["field"] == "current_password"
        changed = await carl.ask("PUT", path, {"current_password": PASSWORD, "new_password": "another-password"})
        assert (changed.status_code, changed.content) == (200, b"")
        error_of(await carl.get("/auth"), 401, "UNAUTHORIZED")
    assert await token_of(nobody, name, "another-password")


async def test_block_and_unblock(admin: Api, nobody: Api):
    name = await made(admin)
    async with client_of(nobody.served, await token_of(nobody, name)) as carl:
        asked = {"principal": name, "type": "User"}
        blocked = [(await admin.ask("POST", "/blocklist/block", asked)).json() for _ in range(2)]
        assert blocked == [{"blocked": True, "created": True}, {"blocked": True, "created": False}]
        error_of(await carl.get("/agents"), 401, "UNAUTHORIZED")
        entry = (await admin.get("/blocklist")).json()[0]
        assert set(entry) == {"principal", "principal_type", "created_at"}
        assert (entry["principal"], entry["principal_type"]) == (name, "User")
        again = [(await admin.ask("POST", "/blocklist/unblock", asked)).json() for _ in range(2)]
        assert again == [{"blocked": False, "deleted": True}, {"blocked": False, "deleted": False}]
        assert (await carl.get("/agents")).status_code == 200


async def test_a_minted_token_speaks_for_its_principal(admin: Api, nobody: Api):
    name = fresh()
    answer = await admin.ask("POST", "/auth/token", {"principal": name, "type": "User", "ttl_hours": 1})

    body = answer.json()
    assert set(body) == {"token", "token_type", "expires_at", "user", "role"}
    assert (body["user"], body["role"]) == (name, "user")
    assert answer.headers["cache-control"] == "no-store"
    async with client_of(nobody.served, body["token"]) as principal:
        assert (await principal.get("/auth")).json() == {"user": name, "type": "User"}
        assert [item["user"] for item in (await principal.get("/operators")).json()] == [name]
        error_of(await principal.ask("POST", "/auth/token", {"principal": name, "type": "User"}), 403, "FORBIDDEN")


@pytest.mark.parametrize("asked", [None, "spaces"])
async def test_a_minted_token_is_of_its_makers_contract(nobody: Api, settings: Settings, asked: str | None):
    headers = {"raworc-contract": asked} if asked else {}
    body = {"user": "admin", "pass": "admin"}
    url = f"{nobody.served.url}/api/v0"
    login = await nobody.http.post(f"{url}/operators/admin/login", json=body, headers=headers)
    headers = {"authorization": f"Bearer {login.json()['token']}", "raworc-contract": "organizations"}

    minted = await nobody.http.post(f"{url}/auth/token", json={"principal": "p1", "type": "User"}, headers=headers)
    claims = Tokens(load_keys(settings).jwt).read(minted.json()["token"])

    assert isinstance(claims, LoginClaims)
    assert claims.contract == (asked or "agents")


ENDS = {
    "deactivated": ("PUT", "/operators/{name}", {"active": False}),
    "blocked": ("POST", "/blocklist/block", {"principal": "{name}"}),
    "another password": ("PUT", "/operators/{name}/password", {"new_password": "another-password"}),
}


@pytest.mark.parametrize("end", ENDS)
async def test_what_ends_an_account_ends_its_next_request_and_its_streams(admin: Api, nobody: Api, end: str):
    name = await made(admin)
    method, path, body = ENDS[end]
    body = {key: value.format(name=name) if isinstance(value, str) else value for key, value in body.items()}
    async with client_of(nobody.served, await token_of(nobody, name)) as carl:
        agent = (await carl.made())["name"]
        async with carl.http.stream("GET", f"/agents/{agent}/events") as stream:
            parts = stream.aiter_bytes()
            assert b"ping" in await anext(parts)
            ended = await admin.ask(method, path.format(name=name), body)
            assert ended.status_code == 200, ended.text
            error_of(await carl.get("/auth"), 401, "UNAUTHORIZED")
            async with asyncio.timeout(60):
                async for _ in parts:
                    pass
