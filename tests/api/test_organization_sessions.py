"""Sessions of the contract organizations and their messages, with all their constraints; operators do not run here."""

import asyncio
import json
import uuid
from typing import Any

import pytest
from sqlalchemy import update

from asking import Api, error_of
from raworc.services import progress
from raworc.services.progress import ResponseChanged, SegmentAdded, StateChanged
from raworc.store import steps
from raworc.store.database import Database
from raworc.store.schema import sessions, shared_sessions, spaces, turns

pytestmark = pytest.mark.anyio

FIELDS = {"id", "name", "namespace", "starting_prompt", "state", "waiting_timeout_seconds", "container_id"}
FIELDS |= {"persistent_volume_id", "created_by", "parent_session_id", "agents", "created_at", "started_at"}
FIELDS |= {"last_activity_at", "terminated_at", "termination_reason", "metadata"}
MESSAGE_FIELDS = {"id", "session_id", "role", "content", "agent_id", "agent_name", "metadata", "created_at"}
GOOD: dict[str, Any] = {"name": "work", "starting_prompt": "Begin"}


@pytest.fixture
async def namespace(db: Database) -> str:
    name = f"space-{uuid.uuid4().hex[:12]}"
    async with db.transaction() as conn:
        await conn.execute(spaces.insert().values(name=name))
    return name


async def made(api: Api, **fields: Any) -> dict[str, Any]:
    answer = await api.ask("POST", "/sessions", {**GOOD, **fields})
    assert answer.status_code == 201, answer.text
    return answer.json()


async def agent(api: Api, namespace: str) -> dict[str, Any]:
    given = {"name": f"a{uuid.uuid4().hex[:12]}", "instructions": "i", "model": "scripted", "namespace": namespace}
    return (await api.ask("POST", "/agents", given)).json()


async def stand(db: Database, session: dict[str, Any], **columns: Any) -> None:
    """Where an operator would have brought it, its first message answered."""
    session_id = uuid.UUID(session["id"])
    async with db.transaction() as conn:
        await conn.execute(update(turns).where(turns.c.session_id == session_id).values(status="completed"))
        await conn.execute(update(sessions).where(sessions.c.id == session_id).values(**columns))


async def listed(api: Api, **query: Any) -> list[str]:
    return [session["id"] for session in (await api.get("/sessions", **query)).json()]


async def test_a_session_is_made_shown_changed_and_removed(organizations: Api, namespace: str):
    first, second = await agent(organizations, namespace), await agent(organizations, namespace)
    ids = [second["id"], first["id"]]
    session = await made(organizations, namespace=namespace, agent_ids=ids, metadata={"a": [1]})
    assert set(session) == FIELDS
    assert session["agents"] == [{"id": a["id"], "name": a["name"], "model": "scripted"} for a in (second, first)]
    shown = {name: session[name] for name in ("name", "namespace", "starting_prompt", "state", "metadata")}
    assert shown == {**GOOD, "namespace": namespace, "state": "INIT", "metadata": {"a": [1]}}
    assert (session["waiting_timeout_seconds"], session["created_by"]) == (300, "admin")
    assert all(session[name] is None for name in ("container_id", "started_at", "terminated_at", "parent_session_id"))
    assert (await organizations.get(f"/sessions/{session['id']}")).json() == session

    change = {"name": "other", "waiting_timeout_seconds": 0, "metadata": {}}
    changed = await organizations.ask("PUT", f"/sessions/{session['id']}", change)
    assert changed.json() == {**session, **change}
    nothing = await organizations.ask("PUT", f"/sessions/{session['id']}", {"name": None})
    error_of(nothing, 400, "BAD_REQUEST")

    gone = await organizations.ask("DELETE", f"/sessions/{session['id']}")
    assert (gone.status_code, gone.content) == (204, b"")
    for method, path, body in (
        ("GET", "", None),
        ("PUT", "", change),
        ("DELETE", "", None),
        ("PUT", "/state", {"state": "READY"}),
        ("POST", "/remix", {"name": "x"}),
        ("GET", "/messages", None),
        ("POST", "/messages", {"content": "x"}),
        ("GET", "/messages/count", None),
        ("DELETE", "/messages", None),
    ):
        error_of(await organizations.ask(method, f"/sessions/{session['id']}{path}", body), 404, "NOT_FOUND")
    assert await listed(organizations, namespace=namespace) == []


NOBODY = "6b1f3c52-8d1e-4b0a-9c39-0d5a7a3f6e11"
METADATA_BYTES = 66_560
LONGEST = {"m": "x" * (METADATA_BYTES - len('{"m":""}'))}
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"name": None}, "name"),
    ({"name": ""}, "name"),
    ({"name": "x" * 256}, "name"),
    ({"name": 5}, "name"),
    ({"starting_prompt": None}, "starting_prompt"),
    ({"starting_prompt": ""}, "starting_prompt"),
    ({"starting_prompt": "x" * 65_536}, "starting_prompt"),
    ({"waiting_timeout_seconds": -1}, "waiting_timeout_seconds"),
    ({"waiting_timeout_seconds": 86_401}, "waiting_timeout_seconds"),
    ({"waiting_timeout_seconds": 1.5}, "waiting_timeout_seconds"),
    ({"metadata": []}, "metadata"),
    ({"metadata": {"m": LONGEST["m"] + "x"}}, "metadata"),
    ({"agent_ids": "x"}, "agent_ids"),
    ({"agent_ids": ["x"]}, "agent_ids"),
    ({"agent_ids": [NOBODY]}, "agent_ids"),
    ({"agent_ids": [NOBODY] * 65}, "agent_ids"),
]


def short(given: object) -> str:
    return json.dumps(given)[:60]


@pytest.mark.parametrize(("wrong", "field"), WRONG, ids=short)
async def test_a_field_outside_its_rules_is_400_and_named(organizations: Api, wrong: dict[str, Any], field: str):
    path = f"/sessions/{(await made(organizations))['id']}"
    asked = [("POST", "/sessions", {**GOOD, **wrong}), ("POST", f"{path}/remix", {"name": "n", **wrong})]
    if field not in {"starting_prompt", "agent_ids"}:
        asked.append(("PUT", path, {"name": "n", **wrong}))
    for method, where, body in asked:
        if wrong[field] is None and not (method == "POST" and (field == "name" or where == "/sessions")):
            continue  # null keeps, or inherits
        answer = await organizations.ask(method, where, body)
        assert error_of(answer, 400, "BAD_REQUEST")["error"]["details"][0]["field"].startswith(field), (method, where)


async def test_the_limits_themselves_are_allowed(organizations: Api):
    fields = {"name": "x" * 255, "starting_prompt": "x" * 65_535, "waiting_timeout_seconds": 86_400}
    session = await made(organizations, **fields, metadata=LONGEST)
    assert {name: session[name] for name in fields} == fields
    assert (await made(organizations, name="ä", starting_prompt="x", waiting_timeout_seconds=0))["name"] == "ä"


async def test_agents_are_active_ones_of_the_session_s_namespace(organizations: Api, namespace: str):
    here, elsewhere = await agent(organizations, namespace), await agent(organizations, "default")
    await organizations.ask("PUT", f"/agents/{here['id']}", {"active": False})
    for agent_id in (here["id"], elsewhere["id"]):
        body = {**GOOD, "namespace": namespace, "agent_ids": [agent_id]}
        error_of(await organizations.ask("POST", "/sessions", body), 400, "BAD_REQUEST")
    error_of(await organizations.ask("POST", "/sessions", {**GOOD, "namespace": "nosuch"}), 404, "NOT_FOUND")


async def test_lists_are_bare_or_paged_and_filtered(organizations: Api, namespace: str, db: Database):
    made_here = [await made(organizations, namespace=namespace) for _ in range(3)]
    ids = [session["id"] for session in reversed(made_here)]
    assert await listed(organizations, namespace=namespace) == ids
    paged = (await organizations.get("/sessions", namespace=namespace, page="2", limit="2")).json()
    assert [session["id"] for session in paged.pop("items")] == ids[2:]
    assert paged == {"total": 3, "page": 2, "per_page": 2, "has_more": False}
    paged = (await organizations.get("/sessions", namespace=namespace, limit="2")).json()
    assert (len(paged["items"]), paged["page"], paged["has_more"]) == (2, 1, True)
    assert await listed(organizations, namespace=namespace, created_by="admin") == ids
    assert await listed(organizations, namespace=namespace, created_by="nobody") == []
    for state, shown in (("slept", "IDLE"), ("paused", "IDLE"), ("idle", "READY"), ("error", "ERROR")):
        await stand(db, made_here[0], state=state)
        assert await listed(organizations, namespace=namespace, state=shown) == [ids[2]]
        assert await listed(organizations, namespace=namespace, state="INIT") == ids[:2]
    error_of(await organizations.get("/sessions", state="STARTED"), 400, "BAD_REQUEST")
    error_of(await organizations.get("/sessions", namespace="nosuch"), 404, "NOT_FOUND")
    error_of(await organizations.get("/sessions", page="0"), 400, "BAD_REQUEST")


LEGAL = {
    "INIT": {"READY", "ERROR"},
    "READY": {"IDLE", "BUSY", "ERROR"},
    "IDLE": {"READY", "ERROR"},
    "BUSY": {"READY", "ERROR"},
    "ERROR": {"INIT", "READY"},
}
STORED = {"INIT": "init", "READY": "idle", "IDLE": "slept", "BUSY": "busy", "ERROR": "error"}


@pytest.mark.parametrize("state", LEGAL)
async def test_only_legal_moves_are_made(organizations: Api, db: Database, state: str):
    for wanted in LEGAL:
        session = await made(organizations)
        await stand(db, session, state=STORED[state])
        body = {"state": wanted, "container_id": "mine", "termination_reason": "why"}
        answer = await organizations.ask("PUT", f"/sessions/{session['id']}/state", body)
        if wanted not in LEGAL[state]:
            error_of(answer, 409, "CONFLICT")
            continue
        assert answer.status_code == 200, answer.text
        now = answer.json()
        waits = state == "ERROR" or (state, wanted) in {("INIT", "READY"), ("IDLE", "READY")}  # for its sandbox
        assert now["state"] == ("INIT" if waits else wanted)
        assert now["container_id"] != "mine"
        failed = wanted == "ERROR"
        assert (now["termination_reason"], now["terminated_at"] is not None) == ("why" if failed else None, failed)


async def test_a_terminated_session_stays_so(organizations: Api, db: Database):
    session = await made(organizations)
    await stand(db, session, state="terminated")
    shown = (await organizations.get(f"/sessions/{session['id']}")).json()
    assert shown["state"] == "ERROR"
    answer = await organizations.ask("PUT", f"/sessions/{session['id']}/state", {"state": "READY"})
    error_of(answer, 409, "CONFLICT")
    error_of(await organizations.ask("POST", f"/sessions/{session['id']}/messages", {"content": "x"}), 409, "CONFLICT")


@pytest.mark.parametrize("body", [{}, {"state": None}, {"state": "STARTED"}, {"state": "ready"}])
async def test_a_state_that_there_is_not_is_400(organizations: Api, body: dict[str, Any]):
    path = f"/sessions/{(await made(organizations))['id']}/state"
    error_of(await organizations.ask("PUT", path, body), 400, "BAD_REQUEST")
    long = {"state": "ERROR", "termination_reason": "x" * 1001}
    error_of(await organizations.ask("PUT", path, long), 400, "BAD_REQUEST")


async def test_a_remix_inherits_what_is_not_given(organizations: Api, namespace: str):
    agents = [(await agent(organizations, namespace))["id"] for _ in range(2)]
    given = {"agent_ids": agents, "waiting_timeout_seconds": 7, "metadata": {"k": 1}}
    parent = await made(organizations, namespace=namespace, **given)
    path = f"/sessions/{parent['id']}/remix"
    error_of(await organizations.ask("POST", path, {}), 400, "BAD_REQUEST")
    answer = await organizations.ask("POST", path, {"name": "child"})
    assert answer.status_code == 201, answer.text
    child = answer.json()
    inherited = ("namespace", "starting_prompt", "agents", "waiting_timeout_seconds", "metadata")
    assert {name: child[name] for name in inherited} == {name: parent[name] for name in inherited}
    assert (child["name"], child["state"], child["parent_session_id"]) == ("child", "INIT", parent["id"])
    own = {"name": "c", "starting_prompt": "q", "agent_ids": [], "waiting_timeout_seconds": 0, "metadata": {}}
    child = (await organizations.ask("POST", path, own)).json()
    assert {**{name: child[name] for name in own if name != "agent_ids"}, "agent_ids": child["agents"]} == own
    assert (await organizations.get(f"/sessions/{parent['id']}")).json()["agents"] == parent["agents"]


async def test_messages_are_said_answered_counted_and_cleared(organizations: Api, namespace: str, db: Database):
    speaker = await agent(organizations, namespace)
    session = await made(organizations, namespace=namespace, agent_ids=[speaker["id"]])
    path = f"/sessions/{session['id']}/messages"
    (first,) = (await organizations.get(path)).json()
    assert set(first) == MESSAGE_FIELDS
    assert (first["role"], first["content"], first["session_id"]) == ("USER", "Begin", session["id"])
    turn_id = uuid.UUID(first["id"])
    final = SegmentAdded(turn_id, {"type": "final", "channel": "final", "text": "Begun"})
    async with db.transaction() as conn:
        await steps.route(conn, turn_id, uuid.UUID(speaker["id"]))
        entries = [final, ResponseChanged(turn_id, "completed"), StateChanged("idle")]
        await progress.write(conn, uuid.UUID(session["id"]), entries)
    for body in (
        {"role": "AGENT", "content": "I know", "agent_id": speaker["id"], "metadata": {"n": 1}},
        {"role": "SYSTEM", "content": "Mind it"},
        {"content": "Next"},
    ):
        answer = await organizations.ask("POST", path, body)
        assert (answer.status_code, answer.json()["content"]) == (201, body["content"])
    shown = (await organizations.get(path)).json()
    of_speaker = (speaker["id"], speaker["name"])
    assert [(m["role"], m["content"], m["agent_id"], m["agent_name"]) for m in shown] == [
        ("USER", "Begin", None, None),
        ("AGENT", "Begun", *of_speaker),
        ("AGENT", "I know", *of_speaker),
        ("SYSTEM", "Mind it", None, None),
        ("USER", "Next", None, None),
    ]
    assert shown[2]["metadata"] == {"n": 1}
    assert (await organizations.get(path, limit="2", offset="1")).json() == shown[1:3]
    assert (await organizations.get(path, limit="2")).json() == shown[3:]
    assert (await organizations.get(f"{path}/count")).json() == {"count": 5, "session_id": session["id"]}
    cleared = await organizations.ask("DELETE", path)
    assert (cleared.status_code, cleared.content) == (204, b"")
    assert (await organizations.get(f"{path}/count")).json()["count"] == 0
    assert (await organizations.get(path)).json() == []


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "content"),
        ({"content": ""}, "content"),
        ({"content": "x" * 65_536}, "content"),
        ({"content": "x", "role": "user"}, "role"),
        ({"content": "x", "role": "AGENT"}, "agent_id"),
        ({"content": "x", "role": "AGENT", "agent_id": NOBODY}, "agent_id"),
        ({"content": "x", "metadata": {"m": LONGEST["m"] + "x"}}, "metadata"),
    ],
    ids=short,
)
async def test_a_message_outside_its_rules_is_400_and_named(organizations: Api, body: dict[str, Any], field: str):
    path = f"/sessions/{(await made(organizations))['id']}/messages"
    answer = await organizations.ask("POST", path, body)
    assert error_of(answer, 400, "BAD_REQUEST")["error"]["details"][0]["field"] == field
    assert (await organizations.ask("POST", path, {"content": "x" * 65_535})).status_code == 201


async def test_what_is_made_twice_at_once_under_one_key_is_made_once(organizations: Api, namespace: str):
    body, key = {**GOOD, "namespace": namespace}, {"Idempotency-Key": uuid.uuid4().hex}
    answers = await asyncio.gather(*(organizations.ask("POST", "/sessions", body, headers=key) for _ in range(3)))
    assert {answer.json()["id"] for answer in answers} == set(await listed(organizations, namespace=namespace))


async def test_a_session_of_the_contract_spaces_is_shown_in_these_words(
    organizations: Api, namespace: str, db: Database
):
    session = await made(organizations, namespace=namespace)
    async with db.transaction() as conn:
        which = shared_sessions.c.session_id == uuid.UUID(session["id"])
        await conn.execute(update(shared_sessions).where(which).values(name=None, starting_prompt=None))
    shown = (await organizations.get(f"/sessions/{session['id']}")).json()
    assert (shown["name"], shown["starting_prompt"]) == (session["id"], "")
