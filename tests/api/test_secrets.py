"""An agent's secrets after its creation: names are shown, values never."""

import json
from typing import Any

import pytest
from sqlalchemy import select

from asking import Api, error_of
from raworc.keys import MasterKeys
from raworc.services.secrets import MAX_COUNT, MAX_VALUE_BYTES, Secrets
from raworc.settings import Settings
from raworc.store import agents as agent_rows
from raworc.store.database import Database
from raworc.store.schema import audit

pytestmark = pytest.mark.anyio

VALUE = "the-value-itself"


async def opened(db: Database, settings: Settings, name: str) -> dict[str, str]:
    """What the agent's next sandbox gets."""
    async with db.reading() as conn:
        row = await agent_rows.find(conn, name)
        assert row is not None
        return await Secrets(MasterKeys.of(settings)).values(conn, row.id, row.space)


async def put(api: Api, name: str, key: str, value: object) -> Any:
    return await api.ask("PUT", f"/agents/{name}/secrets/{key}", {"value": value})


async def test_secrets_are_added_changed_listed_and_taken_away(other: Api, db: Database, settings: Settings):
    name = (await other.made(secrets={"B": "first"}))["name"]

    added = await put(other, name.upper(), "A", VALUE)
    changed = await put(other, name, "B", VALUE + "\nsecond line \u20ac")
    listed = await other.get(f"/agents/{name}/secrets")

    assert set(added.json()) == {"key", "created_at", "updated_at"}
    assert listed.json() == [added.json(), changed.json()]
    assert changed.json()["updated_at"] > changed.json()["created_at"]
    assert await opened(db, settings, name) == {"A": VALUE, "B": VALUE + "\nsecond line \u20ac"}
    assert VALUE not in added.text + changed.text + listed.text

    deleted = await other.ask("DELETE", f"/agents/{name}/secrets/A")
    assert deleted.json() == {"deleted": True}
    error_of(await other.ask("DELETE", f"/agents/{name}/secrets/A"), 404, "NOT_FOUND")
    assert await opened(db, settings, name) == {"B": VALUE + "\nsecond line \u20ac"}


async def test_a_change_is_written_down_by_name_only(other: Api, db: Database):
    name = (await other.made())["name"]
    await put(other, name, "A", VALUE)
    await other.ask("DELETE", f"/agents/{name}/secrets/A")

    async with db.reading() as conn:
        told = (
            await conn.execute(
                select(audit).where(audit.c.name == name, audit.c.verb != "create").order_by(audit.c.number)
            )
        ).all()
    assert [(row.actor, row.verb, row.resource, row.details) for row in told] == [
        ("olive", "update", "secrets", {"key": "A"}),
        ("olive", "delete", "secrets", {"key": "A"}),
    ]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("A-B", VALUE),
        ("1A", VALUE),
        ("A" * 256, VALUE),
        ("%20", VALUE),
        ("A", None),
        ("A", 7),
        ("A", [VALUE]),
        ("A", "x" * (MAX_VALUE_BYTES + 1)),
    ],
)
async def test_what_cannot_be_a_secret_is_refused_and_not_repeated(other: Api, key: str, value: object):
    name = (await other.made())["name"]

    answer = await put(other, name, key, value)

    assert error_of(answer, 400, "BAD_REQUEST")["error"]["details"][0]["field"]
    assert VALUE not in answer.text
    assert "xxxx" not in answer.text
    assert (await other.get(f"/agents/{name}/secrets")).json() == []


async def test_a_body_without_a_value_names_it(other: Api):
    name = (await other.made())["name"]
    for body in (None, {}, {"key": VALUE}):
        answer = await other.ask("PUT", f"/agents/{name}/secrets/A", body)
        assert error_of(answer, 400, "BAD_REQUEST")["error"]["details"][0]["field"] == "value"
        assert VALUE not in answer.text


async def test_all_of_them_have_to_fit_into_an_environment(other: Api):
    name = (await other.made())["name"]
    value = "x" * MAX_VALUE_BYTES
    for number in range(15):
        assert (await put(other, name, f"K{number}", value)).status_code == 200

    error = error_of(await put(other, name, "K15", value), 400, "BAD_REQUEST")

    assert "together" in error["message"]
    assert len((await other.get(f"/agents/{name}/secrets")).json()) == 15
    assert (await put(other, name, "K14", "small")).status_code == 200


async def test_there_are_only_so_many(other: Api):
    many = {f"K{number}": VALUE for number in range(MAX_COUNT)}
    error_of(
        await other.ask("POST", "/agents", {"name": "too-many", "secrets": {**many, "X": VALUE}}), 400, "BAD_REQUEST"
    )
    name = (await other.made(secrets=many))["name"]

    error = error_of(await put(other, name, "X", VALUE), 400, "BAD_REQUEST")

    assert "at most 256 secrets" in error["message"]
    assert (await put(other, name, "K0", "changed")).status_code == 200


async def test_anothers_secrets_are_not_even_named(other: Api, admin: Api, nobody: Api):
    name = (await admin.made(secrets={"A": VALUE}))["name"]
    await admin.ask("POST", f"/agents/{name}/publish", {"secrets": True})

    for answer in (
        await other.get(f"/agents/{name}/secrets"),
        await put(other, name, "A", VALUE),
        await other.ask("DELETE", f"/agents/{name}/secrets/A"),
    ):
        error_of(answer, 403, "FORBIDDEN")
    error_of(await nobody.get(f"/agents/{name}/secrets"), 401, "UNAUTHORIZED")
    error_of(await other.get("/agents/nothing-there/secrets"), 404, "NOT_FOUND")


UNSTORABLE = {"nul": "a\0b", "half": "a\ud83d"}


@pytest.mark.parametrize("value", UNSTORABLE.values(), ids=UNSTORABLE)
async def test_a_value_that_no_variable_can_hold_is_refused_and_not_changed(
    other: Api, db: Database, settings: Settings, value: str
):
    name = (await other.made(secrets={"A": VALUE}))["name"]

    for method, path, body in (
        ("PUT", f"/agents/{name}/secrets/A", {"value": value}),
        ("POST", "/agents", {"name": "never-made", "secrets": {"A": value}}),
        ("POST", "/agents", {"name": "never-made", "secrets": {value: VALUE}}),
    ):
        answer = await other.ask(method, path, content=json.dumps(body))
        error = error_of(answer, 400, "BAD_REQUEST")["error"]
        assert error["details"][0]["field"].split(".")[0] in {"secrets", "value"}
    assert await opened(db, settings, name) == {"A": VALUE}


async def test_escapes_in_a_value_are_its_text(other: Api, db: Database, settings: Settings):
    name = (await other.made(secrets={"A": "\u20ac \ufffd"}, description="\0"))["name"]

    assert await opened(db, settings, name) == {"A": "\u20ac \ufffd"}
    assert (await other.get(f"/agents/{name}")).json()["description"] == "\ufffd"
