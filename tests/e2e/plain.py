"""The documented API as somebody with curl uses it: paths, JSON, and nothing of ours in between."""

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx2

Json = dict[str, Any]
_POLL_S = 0.02


def ask(http: httpx2.Client, agent: str, text: str) -> Json:
    """A blocking turn that completes."""
    body = {"input": {"content": [{"type": "text", "content": text}]}, "background": False}
    answer = http.post(f"/api/v0/agents/{agent}/responses", json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    turn = answer.json()
    assert turn["status"] == "completed", turn["segments"]
    return turn


def start(http: httpx2.Client, agent: str, text: str) -> Json:
    """A turn in the background, in the older shape of input."""
    answer = http.post(f"/api/v0/agents/{agent}/responses", json={"input": {"text": text}})
    assert answer.status_code == 200, answer.text
    return answer.json()


def bash(command: str) -> str:
    """A prompt with one bash call, whatever the command contains."""
    return f"```tool\n{json.dumps({'name': 'bash', 'input': {'command': command}})}\n```"


def text(turn: Json) -> str:
    """The answer of a turn."""
    return turn["output_content"][0]["content"]


def responses(http: httpx2.Client, agent: str) -> list[Json]:
    return http.get(f"/api/v0/agents/{agent}/responses").json()


def recorded(http: httpx2.Client, path: str, *, at_least: int) -> list[Json]:
    """The model calls listed at ``path``, once there are enough of them and none is still being recorded."""
    ends = time.monotonic() + 10
    while True:
        calls = http.get(path).json()["requests"]
        if len(calls) >= at_least and all(call["status_code"] for call in calls):
            return calls
        assert time.monotonic() < ends, calls
        time.sleep(_POLL_S)


def wait_state(http: httpx2.Client, agent: str, state: str) -> Json:
    """The agent once it is in ``state``."""
    ends = time.monotonic() + 15
    while (now := http.get(f"/api/v0/agents/{agent}").json())["state"] != state:
        assert time.monotonic() < ends, now
        time.sleep(_POLL_S)
    return now


def wait_answer(http: httpx2.Client, agent: str, answer: str) -> Json:
    """The newest response once its answer is ``answer``."""
    ends = time.monotonic() + 15
    while (newest := responses(http, agent)[-1])["output_content"] != [{"type": "text", "content": answer}]:
        assert time.monotonic() < ends, newest
        time.sleep(_POLL_S)
    return newest


def sse(lines: Iterator[str]) -> Iterator[Json]:
    """Server-sent events with ``id`` (None for deltas), ``event`` and decoded ``data``."""
    event: Json = {"id": None, "event": "message"}
    for line in lines:
        name, _, value = line.partition(": ")
        if not line and "data" in event:
            yield event
            event = {"id": None, "event": "message"}
        elif name == "id":
            event["id"] = int(value)
        elif name == "event":
            event["event"] = value
        elif name == "data":
            event["data"] = json.loads(value)
