"""What waits for a person's decision, over the API: listed, decided once, by whoever may, and written down."""

import uuid
from typing import Any

import pytest
from sqlalchemy import select

from asking import Api, client_of, error_of
from raworc.ids import new_id
from raworc.services.progress import ResponseChanged, StateChanged
from raworc.store import approvals
from raworc.store.approvals import Question
from raworc.store.database import Database
from raworc.store.schema import audit
from works import Works

pytestmark = pytest.mark.anyio

QUESTION = Question(2, "toolu_1", "bash", {"command": "rm -r \u20ac"})


async def asked(api: Api, db: Database, works: Works) -> tuple[str, Any, str]:
    """An agent whose response waits for a decision: its name, the response, the question's id."""
    name = (await api.made())["name"]
    answer = await api.ask("POST", f"/agents/{name}/responses", {"input": {"text": "work"}})
    turn_id = uuid.UUID(answer.json()["id"])
    await works(name, ResponseChanged(turn_id, "processing"), StateChanged("busy"))
    async with db.transaction() as conn:
        first = await approvals.ask(conn, new_id(), turn_id, QUESTION)
        assert await approvals.ask(conn, new_id(), turn_id, QUESTION) == approvals.Asked(first.id, is_new=False)
    return name, turn_id, str(first.id)


async def test_it_is_listed_until_it_is_decided_and_the_decision_stands(other: Api, db: Database, works: Works):
    name, turn_id, approval_id = await asked(other, db, works)
    (shown,) = (await other.get(f"/agents/{name}/approvals")).json()
    assert shown.pop("asked_at").endswith("Z")
    assert shown == {
        "id": approval_id,
        "response_id": str(turn_id),
        "tool_call_id": "toolu_1",
        "tool": "bash",
        "args": QUESTION.args,
        "decision": None,
        "reason": None,
        "decided_by": None,
        "decided_at": None,
    }
    path = f"/agents/{name}/approvals/{approval_id}"

    denied = await other.ask("POST", path, {"decision": "deny", "reason": " no "})

    assert denied.status_code == 200
    assert (denied.json()["decision"], denied.json()["reason"], denied.json()["decided_by"]) == ("deny", "no", "olive")
    assert (await other.get(f"/agents/{name}/approvals")).json() == []
    assert (await other.ask("POST", path, {"decision": "deny"})).json() == denied.json()
    refused = error_of(await other.ask("POST", path, {"decision": "approve"}), 409, "CONFLICT")
    assert refused["message"] == "The call of 'bash' was denied by 'olive' already"
    told = (await other.get(f"/agents/{name}/responses/{turn_id}")).json()["segments"]
    assert [(s["type"], s["text"]) for s in told] == [("note", "The tool 'bash' was denied by 'olive': no")]
    async with db.reading() as conn:
        written = (await conn.execute(select(audit).where(audit.c.name == name, audit.c.resource == "approvals"))).all()
    assert [(row.actor, row.verb, row.resource, row.details["tool"]) for row in written] == [
        ("olive", "deny", "approvals", "bash")
    ]


async def test_nobody_waits_once_the_response_has_ended(other: Api, db: Database, works: Works):
    name, _, approval_id = await asked(other, db, works)
    await other.ask("POST", f"/agents/{name}/cancel")

    assert (await other.get(f"/agents/{name}/approvals")).json() == []
    answer = await other.ask("POST", f"/agents/{name}/approvals/{approval_id}", {"decision": "approve"})
    assert "has ended" in error_of(answer, 409, "CONFLICT")["message"]


async def test_only_who_may_change_the_agent_decides(other: Api, admin: Api, db: Database, works: Works):
    name, _, approval_id = await asked(admin, db, works)
    path, yes = f"/agents/{name}/approvals/{approval_id}", {"decision": "approve"}
    own = (await admin.ask("POST", f"/agents/{name}/token")).json()["token"]

    error_of(await other.ask("POST", path, yes), 403, "FORBIDDEN")
    error_of(await other.get(f"/agents/{name}/approvals"), 403, "FORBIDDEN")
    async with client_of(admin.served, own) as agent:
        error_of(await agent.ask("POST", path, yes), 403, "FORBIDDEN")
    elsewhere = (await other.made())["name"]
    error_of(await other.ask("POST", f"/agents/{elsewhere}/approvals/{approval_id}", yes), 404, "NOT_FOUND")
    assert (await admin.ask("POST", path, yes)).json()["decided_by"] == "admin"


@pytest.mark.parametrize("body", [None, {}, {"decision": "maybe"}, {"decision": None}, {"decision": ["approve"]}])
async def test_what_is_no_decision_is_refused(other: Api, db: Database, works: Works, body: object):
    name, _, approval_id = await asked(other, db, works)
    answer = await other.ask("POST", f"/agents/{name}/approvals/{approval_id}", body)
    assert error_of(answer, 400, "BAD_REQUEST")["error"]["details"][0]["field"] == "decision"


async def test_reasons_and_ids_have_their_bounds(other: Api, db: Database, works: Works):
    name, _, approval_id = await asked(other, db, works)
    path = f"/agents/{name}/approvals"
    for reason in ("x" * 2001, 7):
        answer = await other.ask("POST", f"{path}/{approval_id}", {"decision": "deny", "reason": reason})
        assert error_of(answer, 400, "BAD_REQUEST")["error"]["details"][0]["field"] == "reason"
    for unknown in ("none", str(uuid.uuid4())):
        error_of(await other.ask("POST", f"{path}/{unknown}", {"decision": "deny"}), 404, "NOT_FOUND")
