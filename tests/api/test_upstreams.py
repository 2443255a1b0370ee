"""Upstreams: set up by administrators, called within a second, their credentials never told."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from asking import Api, error_of, somebody
from rows import add_role, bind
from served import Served
from standin import Standin, answers, json_answer, standin
from waiting import until

pytestmark = pytest.mark.anyio

SECRET = "sk-provider-0123456789abcdef"
CALL = {"model": "their-model", "max_tokens": 9, "messages": [{"role": "user", "content": "hello"}]}


async def upstreams(api: Api, method: str = "GET", path: str = "", body: object = None) -> Any:
    more = {} if body is None else {"json": body}
    return await api.http.request(method, f"{api.served.url}/api/upstreams{path}", **more)


async def made(api: Api, name: str, **fields: Any) -> dict[str, Any]:
    wanted = {"name": name, "provider": "custom", "base_url": "http://127.0.0.1:1", "models": ["none"], **fields}
    answer = await upstreams(api, "POST", body=wanted)
    assert answer.status_code == 201, answer.text
    return answer.json()


@pytest.fixture(autouse=True)
async def none_left(admin: Api) -> AsyncIterator[None]:
    yield
    for item in (await upstreams(admin)).json():
        await upstreams(admin, "DELETE", f"/{item['id']}")


async def test_an_upstream_is_called_and_its_credential_told_nowhere(admin: Api, db: Any):
    async with standin(answers(json_answer(b'{"id":"theirs"}'))) as provider:
        item = await made(admin, "pool-1", base_url=provider.url, credential=SECRET, models=["their-*"])

        async def calls() -> Any:
            return await admin.http.post(f"{admin.served.url}/v1/messages", json=CALL)

        async def arrives() -> bool:
            return (await calls()).json() == {"id": "theirs"}

        await until(arrives, limit_s=60)
        assert provider.seen[0].header(b"x-api-key") == [SECRET.encode()]
        assert (await upstreams(admin, "DELETE", f"/{item['id']}")).json() == {"deleted": True}

        async def is_gone() -> bool:
            return "x-raworc-provider" in (await calls()).headers

        await until(is_gone, limit_s=60)
    assert (item["credential"], item["spaces"], item["source"], item["default"]) == ("key", None, "stored", False)
    async with db.reading() as conn:
        audited = str((await conn.execute(text("SELECT a::text FROM audit a"))).all())
    assert "pool-1" in audited
    assert SECRET not in audited + json.dumps(item)


async def test_listed_shown_by_id_or_name_and_changed_in_part(admin: Api):
    item = await made(admin, "one", credential=SECRET, spaces=["default"])
    assert (await upstreams(admin, "GET", "/one")).json() == item
    assert (await upstreams(admin, "GET", f"/{item['id']}")).json() == item
    changed = (await upstreams(admin, "PUT", "/one", {"name": "two", "default": True, "spaces": None})).json()
    assert changed == {**item, "name": "two", "default": True, "spaces": None, "updated_at": changed["updated_at"]}
    assert [found["name"] for found in (await upstreams(admin)).json()] == ["two"]
    error_of(await upstreams(admin, "GET", "/one"), 404, "NOT_FOUND")
    error_of(await upstreams(admin, "POST", body={"name": "two", "provider": "openai"}), 409, "CONFLICT")
    assert (await upstreams(admin, "PUT", "/two", {"credential": None})).json()["credential"] is None


async def test_a_credential_goes_to_no_other_host(admin: Api):
    await made(admin, "one", credential=SECRET)
    moved = {"base_url": "http://elsewhere.example"}
    answer = await upstreams(admin, "PUT", "/one", moved)
    assert error_of(answer, 400, "BAD_REQUEST")["error"]["details"][0]["field"] == "credential"
    assert (await upstreams(admin, "PUT", "/one", {"base_url": "http://127.0.0.1:1/path"})).status_code == 200
    assert (await upstreams(admin, "PUT", "/one", {**moved, "credential": "another-key"})).status_code == 200


async def test_a_provider_has_an_address_of_its_own(admin: Api):
    assert (await made(admin, "o", provider="openai", base_url=None))["base_url"] == "https://api.openai.com/v1"
    assert (await made(admin, "a", provider="anthropic", base_url=None))["base_url"] == "https://api.anthropic.com"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "a b"),
        ("name", "scripted"),
        ("name", "passthrough"),
        ("provider", "other"),
        ("base_url", None),
        ("base_url", "ftp://x"),
        ("base_url", "unix:/run/docker.sock"),
        ("base_url", "http://user:secret@host"),
        ("base_url", "http://host/a b"),
        ("base_url", "http://host\r\nx: y"),
        ("base_url", "http://a..b"),
        ("base_url", "http://host:99999"),
        ("credential", ""),
        ("credential", "two words"),
        ("credential", "line\nbreak"),
        ("credential", {"token_url": "https://x/y"}),
        ("credential", {"token_url": "http://far.example/t", "refresh_token": "r", "client_id": "c"}),
        ("models", ["a b"]),
        ("spaces", ["nowhere"]),
        ("default", "yes"),
    ],
)
async def test_what_cannot_be_is_refused_by_its_field(admin: Api, field: str, value: Any):
    body = {"name": "x", "provider": "custom", "base_url": "http://h", field: value}
    answer = await upstreams(admin, "POST", body=body)
    named = error_of(answer, 400, "BAD_REQUEST")["error"]["details"][0]["field"]
    assert named.partition(".")[0] == field
    assert (await upstreams(admin)).json() == []


async def test_who_may_list_in_a_space_sees_what_serves_it(admin: Api, served: Served, db: Any):
    await made(admin, "for-all")
    await made(admin, "for-default", spaces=["default"])
    await made(admin, "for-none", spaces=[])
    async with somebody(served, db, "looker") as looker:
        error_of(await upstreams(looker), 403, "FORBIDDEN")
        async with db.transaction() as conn:
            looks = {"resources": ["upstreams"], "verbs": ["list", "get", "delete"], "scope": "space"}
            account_id = await conn.scalar(text("SELECT id FROM accounts WHERE name = 'looker'"))
            await bind(conn, await add_role(conn, "looks", looks), account_id, "default")
        assert [item["name"] for item in (await upstreams(looker)).json()] == ["for-all", "for-default"]
        error_of(await upstreams(looker, "GET", "/for-none"), 404, "NOT_FOUND")
        error_of(await upstreams(looker, "DELETE", "/for-all"), 403, "FORBIDDEN")


def token_answer(number: int) -> bytes:
    tokens = {"access_token": f"access-{number}", "refresh_token": f"refresh-{number}", "expires_in": 3600}
    return json_answer(json.dumps(tokens).encode())


def oauth(endpoint: Standin, **more: Any) -> dict[str, Any]:
    ends = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    given = {"refresh_token": "refresh-0", "access_token": "access-0", "expires_at": ends, "client_id": "it"}
    return {**given, "token_url": f"{endpoint.url}/token", **more}


async def test_tokens_are_renewed_at_wish_and_before_they_end(admin: Api, db: Any):
    numbers = iter(range(1, 100))

    async def play(writer: asyncio.StreamWriter) -> None:
        writer.write(token_answer(next(numbers)))

    async with standin(play) as endpoint:
        item = await made(admin, "o", credential=oauth(endpoint, client_secret="shh"))
        assert (item["credential"], item["expires_at"] is not None) == ("oauth", True)
        shown = await upstreams(admin, "POST", "/o/refresh")
        assert shown.status_code == 200, shown.text
        assert shown.json()["expires_at"] > item["expires_at"]
        sent = endpoint.seen[0]
        assert sent.line == b"POST /token HTTP/1.1"
        assert sent.body == b"grant_type=refresh_token&refresh_token=refresh-0&client_id=it&client_secret=shh"
        soon = (datetime.now(UTC) + timedelta(seconds=55)).isoformat()
        again = oauth(endpoint, expires_at=soon, refresh_token="refresh-x")
        await upstreams(admin, "PUT", "/o", {"credential": again})

        async def is_renewed() -> bool:
            return (await upstreams(admin, "GET", "/o")).json()["expires_at"] > item["expires_at"]

        await until(is_renewed)
        assert b"refresh_token=refresh-x&" in endpoint.seen[1].body
    async with db.reading() as conn:
        assert "access-" not in str((await conn.execute(text("SELECT u::text FROM upstreams u"))).all())
    assert "refresh-" not in shown.text


async def test_what_the_token_endpoint_refuses_is_told_in_its_words(admin: Api):
    body = b'{"error":"invalid_grant","error_description":"The refresh token was revoked"}'
    async with standin(answers(json_answer(body, "400 Bad Request"))) as endpoint:
        await made(admin, "o", credential=oauth(endpoint))
        answer = await upstreams(admin, "POST", "/o/refresh")
    assert (answer.status_code, answer.json()) == (400, json.loads(body))
    answer = await upstreams(admin, "POST", "/o/refresh")
    assert (answer.status_code, answer.json()["error"]) == (503, "temporarily_unavailable")
    await made(admin, "k", credential=SECRET)
    answer = await upstreams(admin, "POST", "/k/refresh")
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


async def test_another_master_key_is_said_to_callers(admin: Api, db: Any):
    await made(admin, "sealed", credential=SECRET, models=["their-model"])
    async with db.transaction() as conn:
        await conn.execute(text("UPDATE upstreams SET ciphertext = 'x', version = version + 1"))

    async def is_told() -> bool:
        answer = await admin.http.post(f"{admin.served.url}/v1/messages", json=CALL)
        return answer.status_code == 503 and "store it again" in answer.text

    await until(is_told)
