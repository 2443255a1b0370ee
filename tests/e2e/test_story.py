"""The main story over plain HTTP, as somebody with curl and the document would live it."""

from itertools import count

import httpx2
import pytest

from e2e.plain import ask, recorded, responses, sse, start, wait_answer, wait_state

_NUMBERS = count(1)

FIX_A_PROGRAM = """Write a program, run it, fix it, run it again.
```bash
mkdir -p code && printf 'print(sum(range(5))\\n' > code/sum.py && cat code/sum.py
```
```bash
python3 code/sum.py
```
```bash
printf 'print(sum(range(5)))\\n' > code/sum.py
```
```bash
python3 code/sum.py
```
"""


@pytest.fixture
def agent(http: httpx2.Client) -> str:
    name = f"Story-{next(_NUMBERS)}"
    answer = http.post("/api/v0/agents", json={"name": name, "description": "Writes a program", "tags": ["Demo"]})
    assert answer.status_code == 200
    assert answer.headers["raworc-contract"] == "agents"
    created = answer.json()
    assert created["name"] == name
    assert created["created_by"] == "admin"
    assert created["state"] in {"init", "idle"}
    assert created["tags"] == ["demo"]
    assert (created["idle_timeout_seconds"], created["busy_timeout_seconds"]) == (300, 3600)
    assert created["publish_permissions"] == {"code": True, "secrets": True, "content": True}
    return name


def test_an_agent_does_real_work(http: httpx2.Client, agent: str) -> None:
    turn = ask(http, agent, FIX_A_PROGRAM)

    assert turn["status"] == "completed"
    assert turn["agent_name"] == agent
    assert turn["input_content"] == [{"type": "text", "content": FIX_A_PROGRAM}]
    shown = [(segment["type"], segment.get("is_error")) for segment in turn["segments"]]
    assert [kind for kind, _ in shown] == ["tool_call", "tool_result"] * 4 + ["final"]
    assert [is_error for kind, is_error in shown if kind == "tool_result"] == [False, True, False, False]
    failure = turn["segments"][3]["output"]
    assert "SyntaxError" in failure
    assert failure.endswith("[exit code 1]")
    assert turn["output_content"][0]["type"] == "text"
    assert turn["output_content"][0]["content"].endswith("10")

    listing = http.get(f"/api/v0/agents/{agent}/files/list/code").json()
    assert [(entry["name"], entry["kind"]) for entry in listing["entries"]] == [("sum.py", "file")]
    assert http.get(f"/api/v0/agents/{agent}/files/read/code/sum.py").text == "print(sum(range(5)))\n"

    calls = recorded(http, f"/api/v0/agents/{agent}/responses/{turn['id']}/requests", at_least=5)
    assert len(calls) == 5
    assert {call["turn_id"] for call in calls} == {turn["id"]}
    assert all(call["input_tokens"] > 0 and call["output_tokens"] > 0 for call in calls)
    assert {call["status_code"] for call in calls} == {200}
    assert {call["trainId"] for call in calls} == {f"default.{agent}"}


def test_files_outlive_sleep(http: httpx2.Client, agent: str) -> None:
    ask(http, agent, "```bash\necho kept > note.txt; (sleep 86393 &)\n```")
    asleep = http.put(f"/api/v0/agents/{agent}/state", json={"state": "slept"})
    assert asleep.json() == {"success": True, "state": "slept"}
    assert wait_state(http, agent, "slept")["idle_from"] is None
    assert http.get(f"/api/v0/agents/{agent}/files/read/note.txt").status_code == 409

    woken = http.post(f"/api/v0/agents/{agent}/wake", json={"prompt": "```bash\ncat note.txt\n```"})
    assert woken.status_code == 200
    turn = wait_answer(http, agent, "kept")
    assert turn["status"] == "completed"
    assert http.get(f"/api/v0/agents/{agent}/files/read/note.txt").text == "kept\n"
    markers = [segment["type"] for turn in responses(http, agent) for segment in turn["segments"]]
    assert markers.count("slept") == markers.count("woke") == 1
    assert ask(http, agent, "```bash\nps ax | grep -c '[s]leep 86393'\n```")["segments"][1]["output"].startswith("0")


def test_work_given_to_a_sleeper_wakes_it(http: httpx2.Client, agent: str) -> None:
    ask(http, agent, "```bash\necho kept > note.txt\n```")
    http.put(f"/api/v0/agents/{agent}/state", json={"state": "slept"})
    wait_state(http, agent, "slept")
    assert ask(http, agent, "```bash\ncat note.txt\n```")["output_content"][0]["content"] == "kept"
    assert wait_state(http, agent, "idle")["state"] == "idle"


def test_events_tell_the_story_as_it_happens(http: httpx2.Client, agent: str) -> None:
    turn = start(http, agent, "```bash\necho one\n```\n```bash\nsleep 0.3; echo two\n```")
    path = f"/api/v0/agents/{agent}/responses/{turn['id']}/events"
    with http.stream("GET", path, headers={"accept": "text/event-stream"}) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        events = list(sse(stream.iter_lines()))
    kinds = [event["data"]["segment"]["type"] for event in events if event["event"] == "segment"]
    assert kinds == ["tool_call", "tool_result", "tool_call", "tool_result", "final"]
    ids = [event["id"] for event in events if event["id"] is not None]
    assert ids == sorted(set(ids))
    assert events[-1]["event"] == "response"
    assert events[-1]["data"]["status"] == "completed"

    middle = ids[len(ids) // 2]
    with http.stream("GET", path, headers={"last-event-id": str(middle)}) as stream:
        resumed = [event["id"] for event in sse(stream.iter_lines()) if event["id"] is not None]
    assert resumed == [number for number in ids if number > middle]


def test_secrets_and_setup_reach_the_sandbox_and_no_answer(http: httpx2.Client) -> None:
    name = f"Story-{next(_NUMBERS)}"
    body = {"name": name, "secrets": {"TOKEN": "canary-8891"}, "setup": "echo made by setup > made.txt"}
    created = http.post("/api/v0/agents", json=body)
    assert "canary-8891" not in created.text
    turn = ask(http, name, "```bash\necho ${#TOKEN}; cat made.txt\n```")
    assert turn["output_content"][0]["content"] == "11\nmade by setup"
    assert "canary-8891" not in http.get(f"/api/v0/agents/{name}").text
