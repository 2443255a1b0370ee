"""Responses: created, awaited, listed, read, counted, and changed from outside."""

import asyncio
import os
import re
import uuid
from typing import Any

import pytest
from structlog.testing import capture_logs

from asking import Api, error_of
from raworc.services.progress import ResponseChanged, SegmentAdded, StateChanged
from waiting import until
from works import Works

pytestmark = pytest.mark.anyio

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
HI = {"input": {"content": [{"type": "text", "content": "hi"}]}}


async def awake(admin: Api, works: Works) -> str:
    name = (await admin.made())["name"]
    await works(name, StateChanged("idle"), desired=None)
    return name


async def asked(admin: Api, name: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    answer = await admin.ask("POST", f"/agents/{name}/responses", body or HI)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def answered(works: Works, name: str, response_id: str, text: str = "hello") -> None:
    """What an operator does to a response from its start to its end."""
    turn_id = uuid.UUID(response_id)
    await works(name, ResponseChanged(turn_id, "processing"), StateChanged("busy"))
    await works(
        name, SegmentAdded(turn_id, {"type": "tool_call", "id": "t", "tool": "bash", "args": {"command": "ls"}})
    )
    final = SegmentAdded(turn_id, {"type": "final", "channel": "final", "text": text})
    await works(name, final, ResponseChanged(turn_id, "completed"), StateChanged("idle"))


async def the_one(admin: Api, name: str) -> str:
    """The id of an agent's only response, as soon as there is one."""
    found: list[dict[str, Any]] = []

    async def there() -> bool:
        found.extend((await admin.get(f"/agents/{name}/responses")).json())
        return bool(found)

    await until(there)
    return str(found[0]["id"])


async def test_a_response_is_pending_at_once_with_every_documented_field(admin: Api, works: Works):
    name = await awake(admin, works)

    made = await asked(admin, name)

    assert uuid.UUID(made["id"]).version == 4
    assert TIME.fullmatch(made["created_at"])
    assert TIME.fullmatch(made["updated_at"])
    assert {key: value for key, value in made.items() if key not in {"id", "created_at", "updated_at"}} == {
        "agent_name": name,
        "status": "pending",
        "input_content": [{"type": "text", "content": "hi"}],
        "output_content": [],
        "segments": [],
    }
    assert (await admin.get(f"/agents/{name}/responses/{made['id']}")).json() == made


async def test_the_agent_is_busy_as_soon_as_work_waits(admin: Api, works: Works):
    name = await awake(admin, works)
    await asked(admin, name)

    assert (await admin.get(f"/agents/{name}")).json()["state"] == "busy"


async def test_a_completed_response_has_its_segments_and_its_output(admin: Api, works: Works):
    name = await awake(admin, works)
    made = await asked(admin, name)
    await answered(works, name, made["id"])

    done = (await admin.get(f"/agents/{name}/responses/{made['id']}")).json()

    assert done["status"] == "completed"
    assert done["output_content"] == [{"type": "text", "content": "hello"}]
    assert [segment["type"] for segment in done["segments"]] == ["tool_call", "final"]
    assert done["segments"][-1] == {"type": "final", "channel": "final", "text": "hello"}
    assert done["updated_at"] > made["updated_at"]
    assert (await admin.get(f"/agents/{name}/responses")).json() == [done]


async def test_the_older_input_is_one_text_item(admin: Api, works: Works):
    name = await awake(admin, works)

    made = await asked(admin, name, {"input": {"text": "hello"}, "background": True})

    assert made["input_content"] == [{"type": "text", "content": "hello"}]


BAD_INPUTS: list[dict[str, Any] | None] = [
    None,
    {},
    {"input": None},
    {"input": "hi"},
    {"input": []},
    {"input": {}},
    {"input": {"content": []}},
    {"input": {"content": "hi"}},
    {"input": {"content": [{}]}},
    {"input": {"content": ["hi"]}},
    {"input": {"content": [{"type": "image", "content": "x"}]}},
    {"input": {"content": [{"type": "text", "content": 5}]}},
    {"input": {"content": [{"type": "text", "content": "  "}]}},
    {"input": {"text": ""}},
    {"input": {"text": 5}},
    {**HI, "background": "false"},
    {**HI, "background": None},
    {**HI, "background": 0},
    {**HI, "when_busy": "wait"},
    {**HI, "when_busy": None},
]


@pytest.mark.parametrize("body", BAD_INPUTS, ids=lambda body: f"{body!r:.60}")
async def test_an_input_outside_the_rules_is_400_and_named(admin: Api, works: Works, body: Any):
    name = await awake(admin, works)

    answer = await admin.ask("POST", f"/agents/{name}/responses", body)

    field = error_of(answer, 400, "BAD_REQUEST")["error"]["details"][0]["field"]
    assert field.split(".")[0] in {"input", "background", "when_busy"}
    assert (await admin.get(f"/agents/{name}/responses/count")).json()["count"] == 0


async def test_a_blocking_response_answers_when_it_is_settled(admin: Api, works: Works):
    name = await awake(admin, works)
    asking = asyncio.create_task(asked(admin, name, {**HI, "background": False}))
    response_id = await the_one(admin, name)
    assert not asking.done()

    await answered(works, name, response_id, "done")

    done = await asyncio.wait_for(asking, 60)
    assert (done["id"], done["status"]) == (response_id, "completed")
    assert done["output_content"] == [{"type": "text", "content": "done"}]


@pytest.mark.parametrize(("method", "path"), [("POST", "/cancel"), ("DELETE", "")])
async def test_a_blocking_response_ends_with_a_cancel_and_with_its_agent(
    admin: Api, works: Works, method: str, path: str
):
    name = await awake(admin, works)
    asking = asyncio.create_task(asked(admin, name, {**HI, "background": False}))
    await the_one(admin, name)

    await admin.ask(method, f"/agents/{name}{path}")

    assert (await asyncio.wait_for(asking, 60))["status"] == "cancelled"


async def test_a_caller_who_hangs_up_is_not_waited_for_and_the_work_goes_on(admin: Api, works: Works):
    name = await awake(admin, works)
    with capture_logs() as logs:
        asking = asyncio.create_task(admin.ask("POST", f"/agents/{name}/responses", {**HI, "background": False}))
        response_id = await the_one(admin, name)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await until(lambda: ("POST", 400) in [(line["method"], line["status"]) for line in logs])

    await answered(works, name, response_id)

    assert (await admin.get(f"/agents/{name}/responses/{response_id}")).json()["status"] == "completed"


async def test_a_response_to_a_sleeping_agent_wakes_it(admin: Api, works: Works):
    name = await awake(admin, works)
    await works(name, StateChanged("slept"))

    made = await asked(admin, name)

    found = (await admin.get(f"/agents/{name}/responses")).json()
    assert found[0]["segments"][0]["reason"] == "implicit_wake"
    assert [turn["id"] for turn in found][-1] == made["id"]
    assert (await admin.get(f"/agents/{name}")).json()["state"] == "init"


async def test_what_comes_while_busy_queues_or_is_rejected_or_interrupts(admin: Api, works: Works):
    name = await awake(admin, works)
    first = await asked(admin, name)
    await works(name, ResponseChanged(uuid.UUID(first["id"]), "processing"), StateChanged("busy"))

    queued = await asked(admin, name)
    rejected = await admin.ask("POST", f"/agents/{name}/responses", {**HI, "when_busy": "reject"})
    interrupting = await asked(admin, name, {**HI, "when_busy": "interrupt"})

    error_of(rejected, 409, "CONFLICT")
    found = {turn["id"]: turn["status"] for turn in (await admin.get(f"/agents/{name}/responses")).json()}
    assert found == {first["id"]: "cancelled", queued["id"]: "pending", interrupting["id"]: "pending"}


async def test_64_may_wait_and_the_next_is_429(admin: Api, works: Works):
    name = await awake(admin, works)
    for _ in range(64):
        await asked(admin, name)

    answer = await admin.ask("POST", f"/agents/{name}/responses", HI)

    error_of(answer, 429, "RATE_LIMITED")
    assert int(answer.headers["retry-after"]) > 0


async def test_lists_are_bare_arrays_oldest_first_in_pages(admin: Api, works: Works):
    name = await awake(admin, works)
    ids = [(await asked(admin, name, {"input": {"text": str(n)}}))["id"] for n in range(5)]

    async def page(**query: Any) -> list[str]:
        return [turn["id"] for turn in (await admin.get(f"/agents/{name}/responses", **query)).json()]

    assert await page() == ids
    assert await page(limit=2) == ids[:2]
    assert await page(limit=2, offset=3) == ids[3:]
    assert await page(limit=0) == []
    assert await page(offset=5) == []
    assert await page(limit=10**9) == ids
    assert (await admin.get(f"/agents/{name}/responses/count")).json() == {"count": 5, "agent_name": name}


async def test_a_list_of_big_responses_comes_in_pieces_and_is_the_same(admin: Api, works: Works):
    name = await awake(admin, works)
    ids: list[str] = []
    for number in range(5):
        ids.append((await asked(admin, name, {"input": {"text": str(number)}}))["id"])
        if number % 2:
            text = os.urandom(450_000).hex()  # which cannot be packed to less than a half
            await put(admin, name, ids[-1], output={"items": [{"type": "note", "text": text}, {"type": "note"}]})

    listed = await admin.get(f"/agents/{name}/responses", limit=4, offset=1)
    whole = await admin.get(f"/agents/{name}/responses", limit=1, offset=1)

    assert ("content-length" in listed.headers, "content-length" in whole.headers) == (False, True)
    assert listed.headers["content-type"] == "application/json"
    assert listed.json() == [(await admin.get(f"/agents/{name}/responses/{one}")).json() for one in ids[1:]]
    assert [one["id"] for one in whole.json()] == ids[1:2]


@pytest.mark.parametrize(("field", "value"), [("limit", "-1"), ("limit", "x"), ("offset", "-1"), ("offset", "1.5")])
async def test_a_list_parameter_outside_its_rules_is_400(admin: Api, works: Works, field: str, value: str):
    name = await awake(admin, works)

    answer = await admin.get(f"/agents/{name}/responses", **{field: value})

    assert error_of(answer, 400, "BAD_REQUEST")["error"]["details"][0]["field"] == field


@pytest.mark.parametrize("response_id", ["0b9a3a46-9f5c-4d52-8d26-3f9f3e7f0d11", "1", "nothing", "x" * 300, "COUNT"])
async def test_a_response_that_is_not_there_is_404(admin: Api, works: Works, response_id: str):
    name = await awake(admin, works)
    path = f"/agents/{name}/responses/{response_id}"

    error_of(await admin.get(path), 404, "NOT_FOUND")
    error_of(await admin.ask("PUT", path, {"status": "failed"}), 404, "NOT_FOUND")


async def test_another_agents_response_is_404(admin: Api, works: Works):
    mine, yours = await awake(admin, works), await awake(admin, works)
    made = await asked(admin, mine)

    error_of(await admin.get(f"/agents/{yours}/responses/{made['id']}"), 404, "NOT_FOUND")
    error_of(await admin.ask("PUT", f"/agents/{yours}/responses/{made['id']}", {"status": "failed"}), 404, "NOT_FOUND")


async def put(admin: Api, name: str, response_id: str, **body: Any) -> Any:
    return await admin.ask("PUT", f"/agents/{name}/responses/{response_id}", body)


async def test_items_append_text_replaces_and_other_keys_are_kept(admin: Api, works: Works):
    name = await awake(admin, works)
    made = await asked(admin, name)

    one = {"type": "commentary", "channel": "analysis", "text": "one"}
    two = {"type": "note", "level": "info", "text": "two"}
    await put(admin, name, made["id"], output={"items": [one], "text": "draft", "extra": 1})
    changed = (await put(admin, name, made["id"], output={"items": [two], "text": "final"})).json()

    assert changed["segments"] == [one, two]
    assert changed["output_content"] == [{"type": "text", "content": "final"}]
    assert changed["status"] == "pending"
    assert (await admin.get(f"/agents/{name}/responses/{made['id']}")).json() == changed


async def test_items_are_whatever_objects_the_writer_puts(admin: Api, works: Works):
    """The document shows ``items?: []`` and asks for nothing in them."""
    name = await awake(admin, works)
    made = await asked(admin, name)
    items = [{"text": "no type"}, {}, {"type": ""}, {"type": 7, "of": [None]}, {"type": None}, {"content": "x"}]

    changed = (await put(admin, name, made["id"], output={"items": items})).json()

    assert changed["segments"] == items
    assert (changed["status"], changed["output_content"]) == ("pending", [])


async def test_a_pending_response_is_settled_without_running(admin: Api, works: Works):
    name = await awake(admin, works)
    made = await asked(admin, name)

    answer = await put(admin, name, made["id"], status="completed", output={"text": "by hand"})

    assert answer.json()["status"] == "completed"
    assert answer.json()["output_content"] == [{"type": "text", "content": "by hand"}]
    assert (await admin.get(f"/agents/{name}")).json()["state"] == "idle"
    error_of(await put(admin, name, made["id"], status="failed"), 409, "CONFLICT")
    error_of(await put(admin, name, made["id"], status="completed"), 409, "CONFLICT")
    assert (await put(admin, name, made["id"], output={"items": [{"type": "note"}]})).status_code == 200


async def test_a_processing_response_is_stopped_by_a_terminal_status(admin: Api, works: Works):
    name = await awake(admin, works)
    made = await asked(admin, name)
    await works(name, ResponseChanged(uuid.UUID(made["id"]), "processing"), StateChanged("busy"))

    assert (await put(admin, name, made["id"], status="processing")).json()["status"] == "processing"
    error_of(await put(admin, name, made["id"], status="pending"), 409, "CONFLICT")
    error_of(await put(admin, name, made["id"], input={"text": "other"}), 409, "CONFLICT")
    assert (await put(admin, name, made["id"], status="failed")).json()["status"] == "failed"
    assert (await admin.get(f"/agents/{name}")).json()["state"] == "idle"


async def test_the_input_may_change_while_it_waits(admin: Api, works: Works):
    name = await awake(admin, works)
    made = await asked(admin, name)

    changed = await put(admin, name, made["id"], input={"text": "other"}, status="pending")

    assert changed.json()["input_content"] == [{"type": "text", "content": "other"}]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, None),
        ({"nonsense": 1}, None),
        ({"status": "cancelled"}, "status"),
        ({"status": "done"}, "status"),
        ({"status": 5}, "status"),
        ({"input": "x"}, "input"),
        ({"input": {}}, "input"),
        ({"output": []}, "output"),
        ({"output": {"text": 5}}, "output.text"),
        ({"output": {"items": {}}}, "output.items"),
        ({"output": {"items": ["x"]}}, "output.items.0"),
    ],
)
async def test_a_change_outside_the_rules_is_400(admin: Api, works: Works, body: dict[str, Any], field: str | None):
    name = await awake(admin, works)
    made = await asked(admin, name)

    found = error_of(await put(admin, name, made["id"], **body), 400, "BAD_REQUEST")["error"].get("details", [])

    assert field is None or field in [detail["field"] for detail in found]
    assert (await admin.get(f"/agents/{name}/responses/{made['id']}")).json() == made
