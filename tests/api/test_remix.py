"""Remix over HTTP: the answer, the body's rules, and that a refusal makes nothing."""

from typing import Any

import pytest

from asking import Api, error_of
from works import Works

pytestmark = pytest.mark.anyio


async def remixed(api: Api, parent: str, body: object) -> Any:
    return await api.ask("POST", f"/agents/{parent}/remix", body)


async def test_a_remix_answers_the_new_agent(other: Api):
    parent = await other.made(description="d", metadata={"a": 1}, tags=["x"], secrets={"A": "b"})
    name = f"{parent['name']}-b"

    answer = await remixed(other, parent["name"].upper(), {"name": name, "content": False, "else": 1})

    assert answer.status_code == 200
    differs = {"name": name, "parent_agent_name": parent["name"], "created_at": answer.json()["created_at"]}
    assert answer.json() == parent | differs
    assert (await other.get(f"/agents/{name}")).json() == answer.json()
    error_of(await remixed(other, parent["name"], {"name": name.upper()}), 409, "CONFLICT")


async def test_what_is_given_is_used(other: Api, works: Works):
    parent = await other.made(metadata={"a": 1}, instructions="secret recipe", tools=["bash"])
    name = f"{parent['name']}-c"
    body = {"name": name, "metadata": {"b": 2}, "code": False, "secrets": False, "prompt": "go"}

    made = (await remixed(other, parent["name"], body)).json()

    assert (made["metadata"], made["instructions"]) == ({"b": 2}, None)
    (response,) = (await other.get(f"/agents/{name}/responses")).json()
    assert response["input_content"] == [{"type": "text", "content": "go"}]


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({}, "name"),
    ({"name": None}, "name"),
    ({"name": 7}, "name"),
    ({"name": "not_a_name"}, "name"),
    ({"name": "fine", "metadata": []}, "metadata"),
    ({"name": "fine", "code": None}, "code"),
    ({"name": "fine", "secrets": "yes"}, "secrets"),
    ({"name": "fine", "content": 0}, "content"),
    ({"name": "fine", "prompt": {}}, "prompt"),
]


@pytest.mark.parametrize(("body", "field"), REFUSED)
async def test_a_refused_field_is_named_and_nothing_is_made(other: Api, body: dict[str, Any], field: str):
    parent = (await other.made())["name"]
    before = (await other.get("/agents")).json()["total"]

    error = error_of(await remixed(other, parent, body), 400, "BAD_REQUEST")

    assert error["error"]["details"][0]["field"] == field
    assert (await other.get("/agents")).json()["total"] == before


async def test_who_may_not_and_what_is_not_there(other: Api, admin: Api, nobody: Api):
    theirs = (await admin.made())["name"]

    error_of(await remixed(other, theirs, {"name": "stolen"}), 403, "FORBIDDEN")
    error_of(await remixed(other, "nothing-there", {"name": "stolen"}), 404, "NOT_FOUND")
    error_of(await remixed(nobody, theirs, {"name": "stolen"}), 401, "UNAUTHORIZED")
    await admin.ask("POST", f"/agents/{theirs}/publish", {"secrets": False})
    told = error_of(await remixed(other, theirs, {"name": "stolen"}), 403, "FORBIDDEN")
    assert "'secrets': false" in told["message"]
    error_of(await other.get("/agents/stolen"), 404, "NOT_FOUND")
    assert (await remixed(other, theirs, {"name": "taken", "secrets": False})).json()["created_by"] == "olive"
