"""Code agents over plain HTTP, from a repository to the record of what their handlers asked models.

They know nothing of this server: the one of Python uses the stock ``anthropic`` package, the one of Node ``fetch``.
"""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from importlib import metadata
from itertools import count
from pathlib import Path
from typing import Any

import httpx2
import pytest

from stack import Stack

CANARY = "canary-of-a-space-4711"
PYTHON = """
import os
from anthropic import Anthropic

client = Anthropic()

def process_message(message, context):
    print("asked", message)
    answer = client.messages.create(
        model="claude-haiku-4-5", max_tokens=100, messages=[{"role": "user", "content": message}]
    )
    return f"{answer.content[0].text} {os.environ['SECRET_OF_SPACE']}"
"""
NODE = """
exports.processMessage = async (message, context) => {
  console.log("asked", message);
  const answer = await fetch(process.env.ANTHROPIC_BASE_URL + "/v1/messages", {
    method: "POST",
    headers: { "x-api-key": process.env.ANTHROPIC_API_KEY, "anthropic-version": "2023-06-01",
               "content-type": "application/json" },
    body: JSON.stringify({ model: "claude-haiku-4-5", max_tokens: 100,
                           messages: [{ role: "user", content: message }] }),
  });
  return `${(await answer.json()).content[0].text} ${process.env.SECRET_OF_SPACE}`;
};
"""
SPACES = "/spaces/api/v0"
Json = dict[str, Any]
_NUMBERS = count(1)
_POLL_S = 0.02


def wait(holds: Callable[[], Any], limit_s: float = 30) -> Any:
    """What ``holds`` returns, once that is something."""
    ends = time.monotonic() + limit_s
    while not (found := holds()):
        assert time.monotonic() < ends
        time.sleep(_POLL_S)
    return found


def repository(stack: Stack, files: dict[str, str]) -> str:
    folder = stack.settings.home / "repositories" / str(next(_NUMBERS))
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_text(content)
    env = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
    whom = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    for command in (["init", "-q", "-b", "main"], ["add", "-A"], [*whom, "commit", "-q", "-m", "m"]):
        subprocess.run(["git", "-C", str(folder), *command], env=env, check=True)
    return f"file://{folder}"


def install(folder: Path, package: str) -> None:
    """Put a package and what it needs where a build has them; ours are those of the same Python."""
    needed, known, tops = [package], set[str](), set[str]()
    while needed:
        name = re.split(r"[^\w.-]", needed.pop(), maxsplit=1)[0].lower()
        if name in known:
            continue
        known.add(name)
        try:
            found = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue  # of another platform or version
        needed += [need for need in found.requires or [] if "extra ==" not in need]
        tops |= {str(found.locate_file(file.parts[0])) for file in found.files or [] if file.parts[0] != ".."}
    folder.mkdir()
    is_near = folder.stat().st_dev == Path(min(tops)).stat().st_dev  # then links will do: there are 6,000 files
    how = "-al" if is_near else "-a"
    subprocess.run(["cp", how, *sorted(tops), str(folder)], check=True)


@pytest.fixture
def space(http: httpx2.Client) -> str:
    name = f"coded-{next(_NUMBERS)}"
    assert http.post(f"{SPACES}/spaces", json={"name": name}).status_code == 200
    secret = {"key_name": "SECRET_OF_SPACE", "value": CANARY}
    assert http.post(f"{SPACES}/spaces/{name}/secrets", json=secret).status_code == 200
    return name


def build(http: httpx2.Client, space: str, repo: str) -> None:
    answer = http.post(f"{SPACES}/spaces/{space}/agents", json={"name": "coder", "source_repo": repo})
    assert answer.status_code == 200, answer.text

    def settled() -> Json | None:
        found = http.get(f"{SPACES}/spaces/{space}/build/latest").json()
        return found if found["status"] in {"completed", "failed"} else None

    done = wait(settled)
    assert done["status"] == "completed", done


def reply(http: httpx2.Client, session: str, text: str) -> Json:
    """The answer to a message."""
    path = f"{SPACES}/sessions/{session}/messages"
    asked = http.post(path, json={"content": text}).json()

    def answered() -> Json | None:
        said = http.get(path).json()
        after = said[[message["id"] for message in said].index(asked["id"]) + 1 :]
        return after[0] if after else None

    return wait(answered)


def check(http: httpx2.Client, space: str) -> None:
    """A message is answered by the agent; its model call is recorded, booked and counted; nothing shows the secret."""
    session = http.post(f"{SPACES}/sessions", json={"space": space}).json()["id"]
    answer = reply(http, session, "good morning")
    assert (answer["role"], answer["content"]) == ("assistant", f"You said: good morning {CANARY}")

    def recorded() -> Json | None:
        calls = [call for call in http.get("/api/requests").json()["requests"] if call["session_id"] == session]
        return calls[0] if calls and calls[0]["status_code"] else None

    call = wait(recorded)
    assert call["trainId"] == f"{space}.coder"
    assert call["turn_id"] is not None
    assert call["model"] == "claude-haiku-4-5"
    assert call["input_tokens"] > 0
    assert call["output_tokens"] > 0

    def logged() -> list[str]:
        lines = http.get(f"{SPACES}/spaces/{space}/agents/coder/logs").json()["logs"]
        return lines if any("asked good morning" in line for line in lines) else []

    assert not any(CANARY in line for line in wait(logged))


def test_an_agent_with_the_stock_package_is_recorded_without_knowing_it(
    http: httpx2.Client, steady_stack: Stack, space: str
) -> None:
    build(http, space, repository(steady_stack, {"main.py": PYTHON}))
    (made,) = [path for path in steady_stack.settings.builds_dir.iterdir() if (path / "main.py").is_file()]
    install(made / ".deps", "anthropic")
    check(http, space)
    assert http.post(f"{SPACES}/spaces/{space}/agents/coder/deploy").json()["status"] == "running"
    check(http, space)


@pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed here")
def test_so_is_one_of_node(http: httpx2.Client, steady_stack: Stack, space: str) -> None:
    build(http, space, repository(steady_stack, {"index.js": NODE}))
    check(http, space)
