"""What the document says of an agent that really works: against server, operator and recorder as processes."""

import re
import uuid
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from pydantic import TypeAdapter

from e2e.plain import ask, bash, recorded, responses, start, text, wait_state
from raworc.api.agents.request_schemas import RecordedCalls
from raworc.api.agents.schemas import AgentContextUsage, ListAgentsResult, ResponseObject
from stack import Stack

PATH = "/agents/api/v0/agents"


@pytest.fixture(scope="module")
def http(stack: Stack) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=stack.url, timeout=60, trust_env=False) as client:
        token = client.post("/api/v0/operators/admin/login", json={"pass": "admin"}).json()["token"]
        client.headers["authorization"] = f"Bearer {token}"
        yield client


@pytest.fixture
def agent(http: httpx2.Client) -> str:
    name = f"real-{uuid.uuid4().hex[:8]}"
    assert http.post(PATH, json={"name": name}).status_code == 200
    wait_state(http, name, "idle")
    return name


def test_idle_and_busy_say_since_when(http: httpx2.Client, agent: str):
    idle = http.get(f"{PATH}/{agent}").json()
    turn = start(http, agent, bash("sleep 1"))
    busy = wait_state(http, agent, "busy")
    again = wait_state(http, agent, "idle")

    assert (idle["idle_from"] is None, idle["busy_from"]) == (False, None)
    assert (busy["idle_from"], busy["busy_from"] is None) == (None, False)
    assert again["idle_from"] > busy["busy_from"] > idle["idle_from"]
    assert again["last_activity_at"] >= turn["created_at"]


def test_a_finished_response_is_the_documented_object(http: httpx2.Client, agent: str):
    turn = ask(http, agent, bash("echo hello"))

    TypeAdapter(ResponseObject).validate_python(turn)
    call, result, final = turn["segments"]
    assert (call["type"], call["tool"], call["args"]) == ("tool_call", "bash", {"command": "echo hello"})
    assert (result["type"], result["output"], result["is_error"]) == ("tool_result", "hello", False)
    assert final == {"type": "final", "channel": "final", "text": "hello"}
    assert turn["output_content"] == [{"type": "text", "content": "hello"}]
    assert http.get(f"{PATH}/{agent}/responses/{turn['id']}").json() == turn
    assert http.get(f"{PATH}/{agent}/responses").json() == [turn]


def test_model_calls_are_listed_with_every_documented_field(http: httpx2.Client, agent: str):
    first, second = ask(http, agent, bash("true")), ask(http, agent, "hello")
    recorded(http, f"{PATH}/{agent}/requests", at_least=3)

    page = http.get(f"{PATH}/{agent}/requests").json()
    one = http.get(f"{PATH}/{agent}/requests", params={"per_page": 1, "page": 2}).json()
    of_first = http.get(f"{PATH}/{agent}/responses/{first['id']}/requests").json()

    for shown in (page, one, of_first):
        TypeAdapter(RecordedCalls).validate_python(shown)
    assert page["pagination"] == {"total": 3, "page": 1, "per_page": 50, "total_pages": 1}
    assert one["pagination"] == {"total": 3, "page": 2, "per_page": 1, "total_pages": 3}
    assert one["requests"] == page["requests"][1:2]
    assert [call["turn_id"] for call in page["requests"]] == [second["id"], first["id"], first["id"]]
    assert of_first["requests"] == page["requests"][1:]
    for call in page["requests"]:
        assert (call["method"], call["path"], call["status_code"]) == ("POST", "/v1/messages", 200)
        assert call["trainId"] == f"default.{agent}"
        assert call["total_tokens"] == call["input_tokens"] + call["output_tokens"] > 0
        assert call["status"] == "recorded"
        assert not {"request_body", "response_body", "streaming_chunks"} & set(call)
    answer = http.get(f"{PATH}/{agent}/responses/{uuid.uuid4()}/requests")
    assert answer.status_code == 404


def test_what_the_agent_leaves_behind_cannot_lead_out_of_its_workspace(http: httpx2.Client, agent: str):
    ask(
        http,
        agent,
        bash("ln -s /etc/passwd out; ln -s .. up; ln -s /agent/in.txt inside; echo in > in.txt; mkfifo pipe"),
    )
    files = f"{PATH}/{agent}/files"

    assert http.get(f"{files}/read/inside").text == "in\n"
    for path in ("out", "up/x", "pipe"):
        assert http.get(f"{files}/read/{path}").status_code == 400, path
    assert http.get(f"{files}/list/up").status_code == 400
    assert http.get(f"{files}/metadata/out").json()["link_target"] == "/etc/passwd"
    kinds = {entry["name"]: entry["kind"] for entry in http.get(f"{files}/list").json()["entries"]}
    assert kinds == {"in.txt": "file", "inside": "symlink", "out": "symlink", "pipe": "other", "up": "symlink"}
    for name in kinds:
        assert http.delete(f"{files}/delete/{name}").json() == {"deleted": True}


def test_a_delayed_sleep_leaves_its_note_behind_and_wake_ends_it(http: httpx2.Client, agent: str):
    answer = http.post(f"{PATH}/{agent}/sleep", json={"delay_seconds": 5, "note": "good night"})
    assert answer.json()["state"] == "idle"

    asleep = wait_state(http, agent, "slept")
    woken = http.post(f"{PATH}/{agent}/wake")
    wait_state(http, agent, "idle")

    assert (asleep["idle_from"], asleep["busy_from"]) == (None, None)
    assert woken.json()["state"] == "init"
    slept, woke = (turn["segments"][0] for turn in responses(http, agent))
    assert (slept["type"], slept["reason"], slept["note"], slept["by"]) == ("slept", "user", "good night", "admin")
    assert (woke["type"], woke["reason"], woke["by"]) == ("woke", "user_wake", "admin")


def test_an_idle_timeout_puts_to_sleep_and_a_busy_hold_prevents_it(http: httpx2.Client):
    names = [f"real-{uuid.uuid4().hex[:8]}" for _ in range(2)]
    for name in names:
        assert http.post(PATH, json={"name": name, "idle_timeout_seconds": 1}).status_code == 200
        assert http.post(f"{PATH}/{name}/busy").json()["timeout_status"] == "paused"
    held, released = names
    assert http.post(f"{PATH}/{released}/idle").json()["timeout_status"] == "active"

    wait_state(http, released, "slept")
    assert http.get(f"{PATH}/{held}").json()["state"] == "busy"
    reasons = [turn["segments"][0]["reason"] for turn in responses(http, released)]
    assert reasons == ["idle_timeout"]


def test_every_state_is_found_by_its_filter(http: httpx2.Client, agent: str):
    page: dict[str, Any] = http.get(PATH, params={"state": "idle", "q": agent}).json()

    TypeAdapter(ListAgentsResult).validate_python(page)
    assert [item["name"] for item in page["items"]] == [agent]
    assert http.get(PATH, params={"state": "slept", "q": agent}).json()["items"] == []


def test_texts_of_every_kind_go_through_and_come_back(http: httpx2.Client, agent: str):
    odd = 'ü 😀 \\ " \u2028 </script> ' + "x" * 1000

    assert text(ask(http, agent, odd)) == f"You said: {odd}"
    assert re.fullmatch("You said: a\ufffdb", text(ask(http, agent, "a\x00b")))


def test_a_context_is_shown_cleared_compacted_and_brought_back(http: httpx2.Client, agent: str):
    shown = TypeAdapter(AgentContextUsage)
    empty = http.get(f"{PATH}/{agent}/context").json()
    shown.validate_python(empty)
    assert (empty["agent"], empty["soft_limit_tokens"], empty["used_percent"]) == (agent, 100_000, 0.0)
    assert (empty["cutoff_at"], empty["total_messages_considered"]) == (None, 0)
    assert http.post(f"{PATH}/{agent}/context/restore").status_code == 409

    ask(http, agent, "remember the boat")
    compacted = http.post(f"{PATH}/{agent}/context/compact").json()
    shown.validate_python(compacted)
    assert compacted["total_messages_considered"] == 1
    assert compacted["cutoff_at"] == http.get(f"{PATH}/{agent}").json()["context_cutoff_at"]
    marker = responses(http, agent)[-1]
    TypeAdapter(ResponseObject).validate_python(marker)
    summary = "Summary of 1 user messages:\n1. remember the boat"
    assert (marker["status"], marker["input_content"]) == ("completed", [])
    assert marker["output_content"] == [{"type": "text", "content": summary}]
    assert marker["segments"][0]["cutoff_at"] == compacted["cutoff_at"]
    calls = recorded(http, f"{PATH}/{agent}/responses/{marker['id']}/requests", at_least=1)
    assert [call["status_code"] for call in calls] == [200]

    cleared = http.post(f"{PATH}/{agent}/context/clear", json={"ignored": True}).json()
    shown.validate_python(cleared)
    assert (cleared["used_tokens_estimated"], cleared["used_percent"]) == (0, 0.0)
    again = http.post(f"{PATH}/{agent}/context/restore").json()
    assert (again["cutoff_at"], again["total_messages_considered"]) == (compacted["cutoff_at"], 1)
    kinds = [turn["segments"][0]["type"] for turn in responses(http, agent)]
    assert kinds == ["final", "context_compacted", "context_cleared", "context_restored"]


def test_markers_of_a_context_are_streamed(http: httpx2.Client, agent: str):
    ask(http, agent, "hello")
    last = len(http.get(f"{PATH}/{agent}/responses").json()[0]["segments"])
    assert last == 1
    with http.stream("GET", f"{PATH}/{agent}/events", headers={"last-event-id": "0"}) as stream:
        http.post(f"{PATH}/{agent}/context/compact")
        http.post(f"{PATH}/{agent}/context/clear")
        seen: list[str] = []
        for line in stream.iter_lines():
            if line.startswith("data:") and '"context_' in line:
                seen += [kind for kind in ("context_compacted", "context_cleared") if f'"{kind}"' in line]
            if "context_cleared" in seen:
                break
    assert seen == ["context_compacted", "context_cleared"]
