"""A space's `ANTHROPIC_API_KEY` and `OPENAI_API_KEY`: what its model calls are made with, and nobody else's."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text

from asking import Api
from raworc.api.edge import EdgeOptions
from raworc.settings import Settings
from raworc.store.database import Database
from raworc.wiring.server import server_parts
from served import Served, serve
from standin import Seen, Standin, json_answer, standin
from waiting import until

pytestmark = pytest.mark.anyio

KEY, OTHER_KEY, SHARED = "key-of-the-space", "key-of-another", "sk-shared-0123456789abcdef"
ASKED = {"model": "claude-x", "max_tokens": 9, "messages": [{"role": "user", "content": "hello"}]}
WRONG = b'{"type":"error","error":{"type":"authentication_error","message":"their own words"}}'


@pytest.fixture(scope="module")
async def provider() -> AsyncIterator[Standin]:
    """Both providers. A key with `wrong` in it is refused, one with `busy` has had enough."""

    async def play(writer: asyncio.StreamWriter) -> None:
        key = key_of(upstream.seen[-1])
        if "wrong" in key:
            writer.write(json_answer(WRONG, "401 Unauthorized"))
        elif "busy" in key:
            writer.write(json_answer(b'{"type":"error"}', "429 Too Many", b"retry-after: 60"))
        else:
            writer.write(json_answer(b'{"id":"theirs"}'))

    async with standin(play) as upstream:
        yield upstream


@pytest.fixture(scope="module")
async def served(settings: Settings, provider: Standin) -> AsyncIterator[Served]:
    chosen = replace(settings, anthropic_base_url=provider.url, openai_base_url=f"{provider.url}/v1")
    options = EdgeOptions(
        door_socket=str(settings.gateway_socket), model_socket=str(settings.model_socket), door_key=b"k" * 32
    )
    async with server_parts(chosen) as parts, serve(parts.app, options) as running:
        yield running


def key_of(seen: Seen) -> str:
    found = seen.header(b"x-api-key") or seen.header(b"authorization")
    return found[0].decode().removeprefix("Bearer ")


async def space_of(admin: Api, **secrets: str) -> tuple[str, str]:
    """A new space with secrets; its name, and a client key whose calls are the space's."""
    name = f"space-{uuid.uuid4().hex[:8]}"
    root = admin.served.url
    assert (await admin.http.post(f"{root}/spaces/api/v0/spaces", json={"name": name})).status_code == 200
    for key, value in secrets.items():
        await put(admin, name, key, value)
    made = await admin.http.post(f"{root}/api/keys", json={"name": name, "space": name})
    assert made.status_code == 201, made.text
    return name, made.json()["key"]


async def put(admin: Api, space: str, key: str, value: str) -> None:
    path = f"{admin.served.url}/spaces/api/v0/spaces/{space}/secrets"
    answer = await admin.http.post(path, json={"key_name": key, "value": value})
    if answer.status_code == 409:
        answer = await admin.http.put(f"{path}/{key}", json={"value": value})
    assert answer.status_code == 200, answer.text


async def call(nobody: Api, key: str, path: str = "/v1/messages", **more: Any) -> Any:
    asked = {**ASKED, **more.pop("body", {})}
    headers = {"x-api-key": key} if path == "/v1/messages" else {"authorization": f"Bearer {key}"}
    return await nobody.http.post(f"{nobody.served.url}{path}", json=asked, headers={**headers, **more})


async def until_asked(nobody: Api, provider: Standin, key: str, expected: str) -> None:
    """Calls with ``key`` come to arrive with ``expected``."""

    async def arrives() -> bool:
        await call(nobody, key)
        return bool(provider.seen) and key_of(provider.seen[-1]) == expected

    await until(arrives, limit_s=60)


async def is_scripted(nobody: Api, key: str) -> bool:
    return "x-raworc-provider" in (await call(nobody, key)).headers


async def test_only_the_calls_of_the_space_are_made_with_it(admin: Api, nobody: Api, provider: Standin, db: Database):
    (first, key), (_, other_key), (_, bare_key) = [
        await space_of(admin, ANTHROPIC_API_KEY=f" {KEY}\n"),
        await space_of(admin, ANTHROPIC_API_KEY=OTHER_KEY),
        await space_of(admin, SOMETHING_ELSE="secret"),
    ]
    await until_asked(nobody, provider, key, KEY)
    await until_asked(nobody, provider, other_key, OTHER_KEY)
    assert await is_scripted(nobody, bare_key)  # what others have set up changes nothing for who has nothing
    stolen = await call(nobody, other_key, **{"msl-account": f"anthropic@{first}"})
    assert (stolen.status_code, KEY in stolen.text) == (403, False)
    assert (await call(nobody, key, **{"msl-account": f"anthropic@{first}"})).json() == {"id": "theirs"}

    path = f"{admin.served.url}/spaces/api/v0/spaces/{first}"
    await put(admin, first, "ANTHROPIC_API_KEY", "another-key")
    await until_asked(nobody, provider, key, "another-key")
    await admin.http.put(path, json={"settings": {"gateway": "off"}})
    await until(lambda: is_scripted(nobody, key), limit_s=60)
    await admin.http.put(path, json={"settings": {}})
    await until_asked(nobody, provider, key, "another-key")
    await admin.http.delete(f"{path}/secrets/ANTHROPIC_API_KEY")
    await until(lambda: is_scripted(nobody, key), limit_s=60)
    async with db.reading() as conn:
        tables = ("audit", "space_secrets", "upstreams")
        kept = [(await conn.execute(text(f"SELECT t::text FROM {name} t"))).all() for name in tables]  # noqa: S608  written here
    assert not any(word in str(kept) for word in (KEY, OTHER_KEY, "another-key"))


async def test_it_wins_over_the_shared_account_of_its_provider_on_its_wire_only(
    admin: Api, nobody: Api, provider: Standin
):
    _, key = await space_of(admin, OPENAI_API_KEY=KEY)
    _, plain = await space_of(admin)
    root = f"{admin.served.url}/api/upstreams"
    for name in ("anthropic", "openai"):
        body = {"name": name, "provider": name, "base_url": provider.url, "credential": SHARED, "default": True}
        assert (await admin.http.post(root, json=body)).status_code == 201
    try:
        await until_asked(nobody, provider, key, SHARED)
        asked = {"path": "/v1/chat/completions", "body": {"model": "gpt-5"}}
        await call(nobody, key, **asked)
        assert key_of(provider.seen[-1]) == KEY
        await call(nobody, plain, **asked)
        assert key_of(provider.seen[-1]) == SHARED
    finally:
        for name in ("anthropic", "openai"):
            await admin.http.delete(f"{root}/{name}")


async def test_what_the_provider_says_of_it_is_the_answer_and_spares_nobody_else(
    admin: Api, nobody: Api, provider: Standin
):
    """Never another's account instead: that one would pay for what it was not asked."""
    (_, wrong), (_, busy), (_, odd) = [
        await space_of(admin, ANTHROPIC_API_KEY="wrong-key"),
        await space_of(admin, ANTHROPIC_API_KEY="busy-key"),
        await space_of(admin, ANTHROPIC_API_KEY="two words"),
    ]
    body = {"name": "anthropic", "provider": "anthropic", "base_url": provider.url, "credential": SHARED}
    assert (await admin.http.post(f"{admin.served.url}/api/upstreams", json=body)).status_code == 201
    try:
        _, plain = await space_of(admin)
        await until_asked(nobody, provider, busy, "busy-key")
        await until_asked(nobody, provider, wrong, "wrong-key")
        await until_asked(nobody, provider, plain, SHARED)
        refused = await call(nobody, wrong)
        assert (refused.status_code, refused.content) == (401, WRONG)
        for _ in range(2):
            assert (await call(nobody, busy)).status_code == 429
            assert (await call(nobody, plain)).json() == {"id": "theirs"}
        lost = await call(nobody, odd)
        assert (lost.status_code, "store it again" in lost.text) == (503, True)
    finally:
        await admin.http.delete(f"{admin.served.url}/api/upstreams/anthropic")
