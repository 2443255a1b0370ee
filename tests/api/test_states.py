"""State, holds, sleep, wake and cancel: the answers, and every refusal."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from asking import Api, error_of
from raworc.services.progress import ResponseChanged, StateChanged
from raworc.store.database import Database
from raworc.store.schema import agents, sessions
from works import Works

pytestmark = pytest.mark.anyio


async def in_state(admin: Api, works: Works, state: str) -> str:
    name = (await admin.made())["name"]
    await works(name, StateChanged(state), desired=None)
    return name


async def shown(admin: Api, name: str) -> dict[str, Any]:
    return (await admin.get(f"/agents/{name}")).json()


async def session_of(db: Database, name: str) -> Any:
    async with db.reading() as conn:
        query = select(sessions).join(agents, agents.c.session_id == sessions.c.id).where(agents.c.name == name)
        return (await conn.execute(query)).one()


async def processing(admin: Api, works: Works) -> tuple[str, str]:
    """An agent with a response in work: its name and the response's id."""
    name = await in_state(admin, works, "idle")
    answer = await admin.ask("POST", f"/agents/{name}/responses", {"input": {"text": "hi"}})
    await works(name, ResponseChanged(answer.json()["id"], "processing"), StateChanged("busy"))
    return name, answer.json()["id"]


async def test_busy_and_idle_answer_the_documented_body(admin: Api, works: Works):
    name = await in_state(admin, works, "idle")

    busy = await admin.ask("POST", f"/agents/{name}/busy")
    held = await shown(admin, name)
    idle = await admin.ask("POST", f"/agents/{name}/idle")
    released = await shown(admin, name)

    assert busy.json() == {"success": True, "state": "busy", "timeout_status": "paused"}
    assert (held["state"], held["idle_from"]) == ("busy", None)
    assert held["busy_from"] is not None
    assert idle.json() == {"success": True, "state": "idle", "timeout_status": "active"}
    assert (released["state"], released["busy_from"]) == ("idle", None)
    assert released["idle_from"] is not None


@pytest.mark.parametrize("body", [None, {}, {"ignored": 1}])
async def test_busy_twice_and_with_any_body_is_200(admin: Api, works: Works, body: Any):
    name = await in_state(admin, works, "idle")

    for _ in range(2):
        assert (await admin.ask("POST", f"/agents/{name}/busy", body)).status_code == 200


async def test_busy_on_a_sleeping_agent_is_409(admin: Api, works: Works):
    name = await in_state(admin, works, "slept")

    error_of(await admin.ask("POST", f"/agents/{name}/busy"), 409, "CONFLICT")


async def test_idle_while_a_response_is_processed_is_409(admin: Api, works: Works):
    name, _ = await processing(admin, works)

    error_of(await admin.ask("POST", f"/agents/{name}/idle"), 409, "CONFLICT")
    error_of(await admin.ask("PUT", f"/agents/{name}/state", {"state": "idle"}), 409, "CONFLICT")
    error_of(await admin.ask("PUT", f"/agents/{name}/state", {"state": "init"}), 409, "CONFLICT")


@pytest.mark.parametrize("state", ["init", "idle", "busy", "slept"])
async def test_the_present_state_changes_nothing(admin: Api, works: Works, state: str):
    name = await in_state(admin, works, state)
    before = await shown(admin, name)

    answer = await admin.ask("PUT", f"/agents/{name}/state", {"state": state})

    assert answer.json() == {"success": True, "state": state}
    assert await shown(admin, name) == before


MOVES = [
    ("idle", "busy", 200, "busy"),
    ("idle", "slept", 200, None),
    ("busy", "slept", 200, None),
    ("init", "slept", 200, None),
    ("slept", "idle", 200, "init"),
    ("slept", "busy", 409, "slept"),
    ("idle", "init", 400, "idle"),
    ("slept", "init", 400, "slept"),
]


@pytest.mark.parametrize(("before", "wanted", "status", "after"), MOVES)
async def test_asking_for_a_state(admin: Api, works: Works, before: str, wanted: str, status: int, after: str | None):
    name = await in_state(admin, works, before)

    answer = await admin.ask("PUT", f"/agents/{name}/state", {"state": wanted})

    assert answer.status_code == status, answer.text
    if status == 200:
        assert answer.json() == {"success": True, "state": wanted}
    if after is not None:
        assert (await shown(admin, name))["state"] == after


@pytest.mark.parametrize("body", [None, {}, {"state": None}, {"state": "asleep"}, {"state": "IDLE"}, {"state": 1}])
async def test_a_state_that_is_none_is_400_and_named(admin: Api, works: Works, body: Any):
    name = await in_state(admin, works, "idle")

    answer = await admin.ask("PUT", f"/agents/{name}/state", body)

    assert error_of(answer, 400, "BAD_REQUEST")["error"]["details"][0]["field"] == "state"


@pytest.mark.parametrize(
    ("body", "delay_s"),
    [
        (None, 5),
        ({}, 5),
        ({"delay_seconds": None}, 5),
        ({"delay_seconds": 0}, 5),
        ({"delay_seconds": -100}, 5),
        ({"delay_seconds": 10, "note": "User requested sleep"}, 10),
        ({"delay_seconds": 60.0}, 60),
    ],
)
async def test_sleep_is_scheduled_and_answers_the_agent(
    admin: Api, works: Works, db: Database, body: Any, delay_s: int
):
    name = await in_state(admin, works, "idle")
    answer = await admin.ask("POST", f"/agents/{name}/sleep", body)

    assert answer.json() == await shown(admin, name)
    assert answer.json()["state"] == "idle"
    row = await session_of(db, name)
    assert abs(row.sleep_at - datetime.now(UTC) - timedelta(seconds=delay_s)) < timedelta(seconds=3)
    assert row.sleep_note == (body or {}).get("note")


@pytest.mark.parametrize(
    ("field", "value"), [("delay_seconds", "5"), ("delay_seconds", 5.5), ("delay_seconds", 10**9), ("note", 5)]
)
async def test_a_sleep_outside_its_rules_is_400_and_named(admin: Api, works: Works, field: str, value: Any):
    name = await in_state(admin, works, "idle")

    answer = await admin.ask("POST", f"/agents/{name}/sleep", {field: value})

    assert error_of(answer, 400, "BAD_REQUEST")["error"]["details"][0]["field"] == field


async def test_sleeping_twice_is_400(admin: Api, works: Works):
    name = await in_state(admin, works, "slept")

    error_of(await admin.ask("POST", f"/agents/{name}/sleep"), 400, "BAD_REQUEST")


async def test_wake_answers_the_agent_in_init_with_a_marker(admin: Api, works: Works):
    name = await in_state(admin, works, "slept")

    answer = await admin.ask("POST", f"/agents/{name}/wake")

    assert answer.json()["state"] == "init"
    marker = (await admin.get(f"/agents/{name}/responses")).json()[-1]
    assert (marker["status"], marker["input_content"]) == ("completed", [])
    assert marker["segments"][0]["type"] == "woke"
    assert marker["segments"][0]["by"] == "admin"


async def test_wake_with_a_prompt_queues_it(admin: Api, works: Works):
    name = await in_state(admin, works, "slept")

    assert (await admin.ask("POST", f"/agents/{name}/wake", {"prompt": "go on"})).status_code == 200

    queued = (await admin.get(f"/agents/{name}/responses")).json()[-1]
    assert (queued["status"], queued["input_content"]) == ("pending", [{"type": "text", "content": "go on"}])


@pytest.mark.parametrize("state", ["init", "idle", "busy"])
async def test_waking_the_awake_is_400(admin: Api, works: Works, state: str):
    name = await in_state(admin, works, state)

    error_of(await admin.ask("POST", f"/agents/{name}/wake"), 400, "BAD_REQUEST")


@pytest.mark.parametrize("prompt", [5, "", "   ", ["x"]])
async def test_a_wake_with_a_bad_prompt_is_400_and_named(admin: Api, works: Works, prompt: Any):
    name = await in_state(admin, works, "slept")

    answer = await admin.ask("POST", f"/agents/{name}/wake", {"prompt": prompt})

    assert error_of(answer, 400, "BAD_REQUEST")["error"]["details"][0]["field"] == "prompt"
    assert (await shown(admin, name))["state"] == "slept"


async def test_cancel_with_nothing_to_cancel(admin: Api, works: Works):
    name = await in_state(admin, works, "idle")

    answer = await admin.ask("POST", f"/agents/{name}/cancel")

    assert answer.json() == {"status": "ok", "agent": name, "cancelled": False}


async def test_cancel_settles_the_response_in_work(admin: Api, works: Works):
    name, response_id = await processing(admin, works)

    answer = await admin.ask("POST", f"/agents/{name}/cancel")

    assert answer.json() == {"status": "ok", "agent": name, "cancelled": True}
    settled = (await admin.get(f"/agents/{name}/responses/{response_id}")).json()
    assert settled["status"] == "cancelled"
    assert [segment["type"] for segment in settled["segments"]] == ["cancelled"]
    assert (await shown(admin, name))["state"] == "idle"


async def test_cancel_takes_the_newest_that_waits_when_none_is_in_work(admin: Api, works: Works):
    name = await in_state(admin, works, "idle")
    ids = [
        (await admin.ask("POST", f"/agents/{name}/responses", {"input": {"text": text}})).json()["id"]
        for text in ("one", "two")
    ]

    await admin.ask("POST", f"/agents/{name}/cancel")

    found = {turn["id"]: turn["status"] for turn in (await admin.get(f"/agents/{name}/responses")).json()}
    assert [found[response_id] for response_id in ids] == ["pending", "cancelled"]


async def test_delete_while_a_response_is_in_work(admin: Api, works: Works):
    name, _ = await processing(admin, works)

    assert (await admin.ask("DELETE", f"/agents/{name}")).status_code == 200
    error_of(await admin.get(f"/agents/{name}"), 404, "NOT_FOUND")
    assert (await admin.made(name=name))["state"] == "init"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "/state", {"state": "idle"}),
        ("POST", "/busy", None),
        ("POST", "/idle", None),
        ("POST", "/sleep", None),
        ("POST", "/wake", None),
        ("POST", "/cancel", None),
        ("PUT", "", {"setup": "x"}),
        ("DELETE", "", None),
    ],
)
async def test_an_agent_that_is_not_there_is_404(admin: Api, method: str, path: str, body: Any):
    error_of(await admin.ask(method, f"/agents/nosuch{path}", body), 404, "NOT_FOUND")
