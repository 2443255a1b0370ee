"""The audit log over the API: what is done and refused stands in it."""

import uuid

import pytest

from asking import Api, error_of
from raworc.settings import Settings
from raworc.store.database import Database
from workspaces import make, place

pytestmark = pytest.mark.anyio


async def entries(admin: Api, **query: object) -> list[dict]:
    answer = await admin.http.get(f"{admin.served.url}/api/audit", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()["entries"]


async def test_deeds_and_refusals_stand_in_it(admin: Api, other: Api):
    name = (await admin.made())["name"]
    error_of(await other.get(f"/agents/{name}"), 403, "FORBIDDEN")
    error_of(await other.ask("PUT", f"/agents/{name}", {"description": "x"}), 403, "FORBIDDEN")
    error_of(await other.ask("POST", f"/agents/{name}/responses", {"input": {"text": "x"}}), 403, "FORBIDDEN")
    await admin.ask("PUT", f"/agents/{name}", {"description": "x"})
    await admin.ask("DELETE", f"/agents/{name}")

    found = [(row["actor"], row["verb"], row["allowed"]) for row in await entries(admin, name=name)]
    assert found[::-1] == [
        ("admin", "create", True),
        ("olive", "get", False),
        ("olive", "update", False),  # and once more within the minute, which is counted
        ("admin", "update", True),
        ("admin", "delete", True),
    ]


async def test_what_is_hidden_is_kept_and_what_is_not_there_is_not(admin: Api, other: Api):
    absent = f"no-{uuid.uuid4().hex[:12]}"
    for space in ("default", absent):
        error_of(await other.http.get(f"{other.served.url}/spaces/api/v0/spaces/{space}"), 404, "NOT_FOUND")

    found = await entries(admin, resource="spaces", actor="olive")
    assert [(row["name"], row["verb"], row["allowed"]) for row in found] == [("default", "get", False)]


async def test_it_is_paged_and_read_by_administrators_alone(admin: Api, other: Api):
    await admin.made()
    answer = (await admin.http.get(f"{admin.served.url}/api/audit", params={"limit": 1})).json()
    assert set(answer) == {"entries", "next_before"}
    assert len(answer["entries"][0]["hash"]) == 64
    older = await entries(admin, before=answer["next_before"], limit=1)
    assert older[0]["number"] < answer["entries"][0]["number"]
    error_of(await other.http.get(f"{other.served.url}/api/audit"), 403, "FORBIDDEN")
    for wrong in ({"before": "x"}, {"allowed": "maybe"}, {"from": "then"}, {"limit": 0}):
        error_of(await admin.http.get(f"{admin.served.url}/api/audit", params=wrong), 400, "BAD_REQUEST")


async def test_an_agents_own_token_is_told_from_its_makers(admin: Api):
    name = (await admin.made())["name"]
    token = (await admin.ask("POST", f"/agents/{name}/token")).json()["token"]
    headers = {"authorization": f"Bearer {token}"}
    error_of(await admin.http.get("/operators", headers=headers), 403, "FORBIDDEN")
    error_of(await admin.http.delete(f"/agents/{name}", headers=headers), 403, "FORBIDDEN")
    assert (await admin.http.post(f"/agents/{name}/busy", headers=headers)).status_code in {200, 409}

    refused = await entries(admin, allowed="false", actor="admin", name=name)
    assert [(row["verb"], row["details"]) for row in refused] == [("delete", {"by": "an agent's own token"})]


async def test_files_that_people_change_stand_in_it(admin: Api, db: Database, settings: Settings):
    name = (await admin.made())["name"]
    make(await place(name, db, settings))
    assert (await admin.http.put(f"/agents/{name}/files/write/a/b.txt", content=b"x")).status_code == 200
    assert (await admin.ask("DELETE", f"/agents/{name}/files/delete/a/b.txt")).status_code == 200

    found = [(row["verb"], row["details"]) for row in await entries(admin, name=name)]
    assert found[:2] == [("delete-file", {"path": "a/b.txt"}), ("write-file", {"path": "a/b.txt"})]
