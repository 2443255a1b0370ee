"""Client keys: shown once, bound to what they were made for, and no good any more a second after they are revoked."""

import time
import uuid
from typing import Any

import pytest
from sqlalchemy import text

from asking import Api, error_of, somebody
from rows import add_role, bind
from served import Served

pytestmark = pytest.mark.anyio

MORE = {"train_id", "models", "budget", "expires_at", "created_by"}
ASKED = {"model": "scripted", "max_tokens": 9, "messages": [{"role": "user", "content": "hello"}]}


async def keys(api: Api, method: str = "GET", path: str = "", body: object = None) -> Any:
    more = {} if body is None else {"json": body}
    return await api.http.request(method, f"{api.served.url}/api/keys{path}", **more)


async def made(api: Api, **fields: Any) -> dict[str, Any]:
    answer = await keys(api, "POST", body={"name": "a key", **fields})
    assert answer.status_code == 201, answer.text
    return answer.json()


async def call(nobody: Api, key: str, *, model: str = "scripted", bearer: bool = True, **headers: str) -> Any:
    credential = {"authorization": f"Bearer {key}"} if bearer else {"x-api-key": key}
    address = f"{nobody.served.url}/v1/messages"
    return await nobody.http.post(address, json={**ASKED, "model": model}, headers={**credential, **headers})


async def refused_by(nobody: Api, key: str, within_s: float = 30.0) -> Any:
    """The first refusal."""
    ends = time.monotonic() + within_s
    while (answer := await call(nobody, key)).status_code == 200:
        assert time.monotonic() < ends, "still let in"
    return answer


async def test_a_key_is_shown_once_and_calls_models(other: Api, nobody: Api, db: Any):
    key = await made(other, train_id="my.train", models=["scripted*"], expires_at="2099-01-01T01:00:00+01:00")

    assert key["key"].startswith(key["prefix"])
    assert len(key["key"]) == 50
    assert (key["space"], key["created_by"], key["expires_at"]) == ("default", "olive", "2099-01-01T00:00:00.000000Z")
    assert key.keys() == {"id", "name", "space", "prefix", "key", "created_at"} | MORE
    (listed,) = [item for item in (await keys(other)).json() if item["id"] == key["id"]]
    assert listed == {name: value for name, value in key.items() if name != "key"}
    async with db.reading() as conn:
        assert key["key"] not in str((await conn.execute(text("SELECT k::text FROM client_keys k"))).all())
    for bearer in (True, False):
        assert (await call(nobody, key["key"], bearer=bearer)).status_code == 200
    assert (await keys(other)).headers["raworc-contract"] == "train"


async def test_a_revoked_key_is_refused_in_the_wires_shape(other: Api, nobody: Api):
    key = await made(other)
    assert (await call(nobody, key["key"])).status_code == 200
    assert (await keys(other, "DELETE", f"/{key['id']}")).json() == {"deleted": True}

    refusal = (await refused_by(nobody, key["key"])).json()
    assert (refusal["type"], refusal["error"]["type"]) == ("error", "authentication_error")
    error_of(await keys(other, "DELETE", f"/{key['id']}"), 404, "NOT_FOUND")
    error_of(await keys(other, "DELETE", "/nonsense"), 404, "NOT_FOUND")


async def test_keys_that_are_none_are_refused(nobody: Api, other: Api):
    key = (await made(other))["key"]
    for wrong in (key[:-1], key + "0", key[:-1] + ("0" if key[-1] != "0" else "1"), "rwk_", "rwk_" + "a" * 46):
        answer = await call(nobody, wrong)
        assert (answer.status_code, answer.json()["error"]["type"]) == (401, "authentication_error")


async def test_a_key_is_good_for_its_models_only(other: Api, nobody: Api):
    key = (await made(other, models=["scripted-a*"]))["key"]
    assert (await call(nobody, key, model="scripted-a1")).status_code == 200
    refusal = await call(nobody, key, model="scripted-b")
    assert (refusal.status_code, refusal.json()["error"]["type"]) == (403, "permission_error")


async def test_a_key_ends_with_its_account(admin: Api, nobody: Api, served: Served, db: Any):
    name = f"leaver-{uuid.uuid4().hex[:8]}"
    async with somebody(served, db, name) as leaver:
        key = (await made(leaver))["key"]
        assert (await call(nobody, key)).status_code == 200
        await admin.ask("POST", "/blocklist/block", {"principal": name})
        assert (await refused_by(nobody, key)).status_code == 401


async def test_a_key_ends_at_its_time(other: Api, nobody: Api, db: Any):
    key = await made(other, expires_at="2099-01-01T00:00:00Z")
    assert (await call(nobody, key["key"])).status_code == 200
    async with db.transaction() as conn:
        await conn.execute(text("UPDATE client_keys SET expires_at = now() WHERE id = :id"), {"id": key["id"]})
    assert (await refused_by(nobody, key["key"])).status_code == 401


async def test_a_key_ends_with_its_makers_right_to_it(admin: Api, nobody: Api, served: Served, db: Any):
    async with db.transaction() as conn:
        await conn.execute(text("INSERT INTO spaces (name) VALUES ('keyed')"))
        role_id = await add_role(conn, "keymaker", {"resources": ["keys"], "verbs": ["create"], "scope": "space"})
    async with somebody(served, db, "maker") as maker:
        async with db.transaction() as conn:
            maker_id = (await conn.execute(text("SELECT id FROM accounts WHERE name = 'maker'"))).scalar_one()
            await bind(conn, role_id, maker_id, "keyed")
        key = (await made(maker, space="keyed"))["key"]
        assert (await call(nobody, key)).status_code == 200
        async with db.transaction() as conn:
            await conn.execute(text("DELETE FROM bindings WHERE role_id = :id"), {"id": role_id})
        assert (await refused_by(nobody, key)).status_code == 401


async def test_others_keys_are_neither_seen_nor_revoked(other: Api, admin: Api, served: Served, db: Any):
    key = await made(other)
    async with somebody(served, db) as stranger:
        assert (await keys(stranger)).json() == []
        error_of(await keys(stranger, "DELETE", f"/{key['id']}"), 404, "NOT_FOUND")
    assert key["id"] in {item["id"] for item in (await keys(admin)).json()}
    assert (await keys(admin, "DELETE", f"/{key['id']}")).status_code == 200


async def test_a_space_needs_a_right_of_its_own(other: Api, admin: Api):
    error_of(await keys(other, "POST", body={"name": "x", "space": "elsewhere"}), 403, "FORBIDDEN")
    answer = await keys(admin, "POST", body={"name": "x", "space": "elsewhere"})
    assert error_of(answer, 400, "BAD_REQUEST")["error"]["details"][0]["field"] == "space"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", " "),
        ("name", "x" * 101),
        ("space", 7),
        ("train_id", "a b"),
        ("train_id", "x" * 256),
        ("models.0", "no space"),
        ("models", ["m"] * 65),
        ("budget.usd", -1),
        ("expires_at", "2001-01-01T00:00:00Z"),
        ("expires_at", "soon"),
        ("expires_at", "0001-01-01T00:00:00+14:00"),
    ],
)
async def test_what_cannot_be_is_refused_by_its_field(other: Api, field: str, value: Any):
    outer, _, inner = field.partition(".")
    given = {"": value, "0": [value]}.get(inner, {inner: value})
    answer = await keys(other, "POST", body={"name": "x", outer: given})
    assert error_of(answer, 400, "BAD_REQUEST")["error"]["details"][0]["field"] == field
