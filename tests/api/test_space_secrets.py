"""Secrets of spaces: metadata for some, values for fewer, every reveal kept."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import select, update

from asking import PASSWORD, Api, client_of, error_of
from raworc.keys import MasterKeys
from raworc.services.secrets import Secrets
from raworc.settings import Settings
from raworc.store.database import Database
from raworc.store.schema import audit
from raworc.store.tenants import space_secrets

pytestmark = pytest.mark.anyio

CANARY = "canary-5f1c9e-value"
STAMPS = {"created_at", "updated_at"}


def fresh() -> str:
    return f"KEY_{uuid.uuid4().hex[:12]}"


@pytest.fixture
async def spaces(admin: Api) -> AsyncIterator[Api]:
    token = admin.http.headers["authorization"].removeprefix("Bearer ")
    async with client_of(admin.served, token, "spaces") as api:
        yield api


@pytest.fixture
async def place(spaces: Api) -> str:
    """The path of the secrets of a new space."""
    name = f"space-{uuid.uuid4().hex[:12]}"
    assert (await spaces.ask("POST", "/spaces", {"name": name})).status_code == 200
    return f"/spaces/{name}/secrets"


async def put(api: Api, place: str, **fields: Any) -> dict[str, Any]:
    answer = await api.ask("POST", place, {"key_name": fresh(), "value": CANARY, **fields})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def member(spaces: Api, place: str, role: str) -> Any:
    name = f"user-{uuid.uuid4().hex[:12]}"
    await spaces.ask("POST", "/service-accounts", {"user": name, "pass": PASSWORD})
    await spaces.ask("POST", "/role-bindings", {"subject": name, "role_ref": role, "space": place.split("/")[2]})
    login = {"user": name, "pass": PASSWORD}
    token = (await spaces.http.post(f"{spaces.served.url}/api/v0/auth/login", json=login)).json()["token"]
    return client_of(spaces.served, token, "spaces")


async def test_a_secret_is_put_shown_changed_revealed_and_removed(spaces: Api, place: str):
    made = await put(spaces, place, description="d")
    assert set(made) == {"space", "key_name", "description", "created_by"} | STAMPS
    key, path = made["key_name"], f"{place}/{made['key_name']}"
    shown = (await spaces.get(path)).json()
    assert set(shown) == {"key_name", "description"} | STAMPS
    assert (await spaces.get(place)).json() == [shown]
    assert (await spaces.get(path, show_values="true")).json() == {**shown, "value": CANARY}
    assert (await spaces.get(place, show_values="")).json() == [{**shown, "value": CANARY}]

    changed = (await spaces.ask("PUT", path, {"value": "another"})).json()
    assert (changed["key_name"], changed["description"], changed["created_by"]) == (key, "d", "admin")
    assert (await spaces.get(path, show_values="1")).json()["value"] == "another"
    await spaces.ask("PUT", path, {"description": "e"})
    assert (await spaces.get(path, show_values="1")).json()["value"] == "another"
    assert (await spaces.ask("DELETE", path)).status_code == 200
    error_of(await spaces.get(path), 404, "NOT_FOUND")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"value": "v"}, "key_name"),
        ({"key_name": "fine"}, "value"),
        ({"key_name": "1A", "value": "v"}, "key_name"),
        ({"key_name": "A-B", "value": "v"}, "key_name"),
        ({"key_name": "A" * 256, "value": "v"}, "key_name"),
        ({"key_name": "fine", "value": "x" * 65_537}, "secrets.fine"),
        ({"key_name": "fine", "value": 5}, "value"),
    ],
)
async def test_a_secret_outside_the_rules_is_400_and_its_value_is_not_repeated(
    spaces: Api, place: str, body: dict[str, Any], field: str
):
    answer = await spaces.ask("POST", place, body)
    assert error_of(answer, 400, "BAD_REQUEST")["error"]["details"][0]["field"] == field
    assert "xxxx" not in answer.text


async def test_a_name_is_taken_once_also_by_many_at_once(spaces: Api, place: str):
    body = {"key_name": fresh(), "value": CANARY}
    answers = await asyncio.gather(*(spaces.ask("POST", place, body) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409, 409]
    assert not any(CANARY in answer.text for answer in answers)


async def test_nothing_to_change_and_odd_switches_are_400(spaces: Api, place: str):
    key = (await put(spaces, place))["key_name"]
    error_of(await spaces.ask("PUT", f"{place}/{key}", {}), 400, "BAD_REQUEST")
    error_of(await spaces.get(place, show_values="maybe"), 400, "BAD_REQUEST")


async def test_values_take_a_right_of_their_own_and_each_reveal_is_kept(spaces: Api, place: str, db: Database):
    key = (await put(spaces, place))["key_name"]
    for role, status in (("developer", 403), ("operator", 200)):
        async with await member(spaces, place, role) as api:
            for path in (place, f"{place}/{key}"):
                assert (await api.get(path)).status_code == 200
                answer = await api.get(path, show_values="true")
                assert answer.status_code == status
                assert (CANARY in answer.text) == (status == 200)
                assert answer.headers.get("cache-control") == ("no-store" if status == 200 else None)
    async with db.reading() as conn:
        wanted = select(audit).where(audit.c.verb == "read-values", audit.c.space == place.split("/")[2])
        rows = (await conn.execute(wanted.order_by(audit.c.number))).all()
    assert [(row.allowed, row.details) for row in rows] == [
        (False, {"keys": [key]}),  # twice, of which the second is counted
        (True, {"keys": [key]}),
        (True, {"keys": [key]}),
    ]


async def test_a_value_is_nowhere_in_plain_and_opens_in_its_own_place_only(
    spaces: Api, place: str, db: Database, settings: Settings
):
    first, second = [(await put(spaces, place, value=value))["key_name"] for value in (CANARY, "other")]
    async with db.reading() as conn:
        rows = {row.key: row for row in await conn.execute(select(space_secrets))}
    assert CANARY.encode() not in rows[first].ciphertext
    async with db.transaction() as conn:
        stolen = {"nonce": rows[first].nonce, "ciphertext": rows[first].ciphertext}
        await conn.execute(update(space_secrets).where(space_secrets.c.key == second).values(stolen))
    answer = await spaces.get(f"{place}/{second}", show_values="true")
    assert answer.status_code == 503
    assert CANARY not in answer.text

    masters = MasterKeys.of(settings)
    async with db.transaction() as conn:
        await Secrets(masters).rewrap(conn, masters.newest())
    assert (await spaces.get(f"{place}/{first}", show_values="true")).json()["value"] == CANARY


async def test_a_space_has_at_most_256_secrets(spaces: Api, place: str, db: Database):
    name = place.split("/")[2]
    sealed = {"key_version": 1, "nonce": b"n", "ciphertext": b"c", "created_by": "x", "space": name}
    async with db.transaction() as conn:
        await conn.execute(space_secrets.insert(), [{**sealed, "key": f"K{number}"} for number in range(256)])
    error_of(await spaces.ask("POST", place, {"key_name": "ONE_MORE", "value": "v"}), 400, "BAD_REQUEST")


async def test_secrets_go_with_their_space_and_their_answers_are_kept_once(spaces: Api, place: str, db: Database):
    body, headers = {"key_name": fresh(), "value": CANARY}, {"idempotency-key": fresh()}
    answers = [await spaces.ask("POST", place, body, headers=headers) for _ in range(2)]
    assert answers[0].json() == answers[1].json()
    await spaces.ask("DELETE", place.removesuffix("/secrets"))
    async with db.reading() as conn:
        left = select(space_secrets).where(space_secrets.c.space == place.split("/")[2])
        assert (await conn.execute(left)).all() == []
        kept = json.dumps([str(row) for row in await conn.execute(select(audit))])
    assert CANARY not in kept


async def test_a_value_that_no_variable_can_hold_is_refused_and_not_changed(spaces: Api, place: str):
    made = await put(spaces, place)
    path = f"{place}/{made['key_name']}"

    for method, where, body in (("POST", place, {"key_name": fresh()}), ("PUT", path, {})):
        error_of(await spaces.ask(method, where, body | {"value": "a\0b"}), 400, "BAD_REQUEST")

    assert (await spaces.get(path, show_values="true")).json()["value"] == CANARY
