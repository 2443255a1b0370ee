"""How long a code agent keeps its user waiting: from POST of a message to its reply, warm and cold.

usage: .venv/bin/python bench/handlers.py [--runs 60] [--json]

Starts ``raworc up`` on an empty home of its own. The agents answer at once and ask no model, so that what is measured
is ours alone. The reply is looked for every 2 ms over a second keep-alive connection.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from installation import Api, Installation, installed
from turns import Figure, create_ms, figure, machine, show, sync_ms, turn_ms

PYTHON = {"main.py": "def process_message(message, context):\n    return message\n"}
NODE = {"index.js": "exports.processMessage = async (message) => message;\n"}
_LOOK_S = 0.002
_BUILD_S = 60


def measure(installation: Installation, runs: int) -> list[Figure]:
    """Every figure."""
    api, other = installation.api("spaces"), installation.api("spaces")
    agents = installation.api()
    create_ms(agents, installation.api(), "named")
    figures = [
        figure("fdatasync of 8 KiB on this disk", [sync_ms() for _ in range(200)]),
        figure("for comparison: turn of a named agent", [turn_ms(agents, "named", "hello") for _ in range(runs * 2)]),
    ]
    for runtime, files in (("Python", PYTHON), ("Node", NODE)):
        if runtime == "Node" and shutil.which("node") is None:
            continue
        space = runtime.lower()
        took_s = built(installation, api, space, files)
        session = begun(api, other, space)
        one_by_one = [reply_ms(api, other, session) for _ in range(runs)]
        api.call("POST", f"/spaces/{space}/agents/coder/deploy")
        for _ in range(10):
            reply_ms(api, other, session)
        figures += [
            figure(f"{runtime}: POST agent -> build completed", [took_s * 1000] * 2),
            figure(
                f"{runtime}: message to a warm handler",
                [reply_ms(api, other, session) for _ in range(runs * 2)],
                must=30,
            ),
            figure(f"{runtime}: message that starts the handler, session awake", one_by_one, must=400),
            figure(
                f"{runtime}: message that wakes the session, too", list(woken_ms(api, other, session, runs)), must=400
            ),
            figure(f"{runtime}: first message of a new session", list(new_ms(api, other, space, runs)), must=400),
        ]
    return figures


def built(installation: Installation, api: Api, space: str, files: dict[str, str]) -> float:
    """Make a space with an agent of this code; seconds until it was built."""
    folder = repository(installation.home / f"repository-{space}", files)
    api.call("POST", "/spaces", {"name": space})
    started = time.perf_counter()
    api.call("POST", f"/spaces/{space}/agents", {"name": "coder", "source_repo": f"file://{folder}"})
    while (build := api.call("GET", f"/spaces/{space}/build/latest"))["status"] != "completed":
        if build["status"] == "failed" or time.perf_counter() - started > _BUILD_S:
            sys.exit(f"the build ended so: {build}")
        time.sleep(_LOOK_S)
    return time.perf_counter() - started


def repository(folder: Path, files: dict[str, str]) -> Path:
    """One commit."""
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_text(content)
    env = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
    whom = ["-c", "user.name=bench", "-c", "user.email=bench@example.org"]
    for command in (["init", "-q", "-b", "main"], ["add", "-A"], [*whom, "commit", "-q", "-m", "m"]):
        subprocess.run(["git", "-C", str(folder), *command], env=env, check=True)
    return folder


def begun(api: Api, other: Api, space: str) -> str:
    """A session that is awake."""
    session = str(api.call("POST", "/sessions", {"space": space})["id"])
    reply_ms(api, other, session)
    return session


def reply_ms(api: Api, other: Api, session: str) -> float:
    """From POST of a message to the moment at which its reply was seen."""
    started = time.perf_counter()
    asked = api.call("POST", f"/sessions/{session}/messages", {"content": "hello"})
    while True:
        said: list[dict[str, Any]] = other.call("GET", f"/sessions/{session}/messages?limit=2")
        seen = time.perf_counter()
        if said[-1]["id"] != asked["id"] and said[-2]["id"] == asked["id"]:
            break
        time.sleep(_LOOK_S)
    if (said[-1]["role"], said[-1]["content"]) != ("assistant", "hello"):
        sys.exit(f"the agent did not answer as told: {said[-1]}")
    return (seen - started) * 1000


def woken_ms(api: Api, other: Api, session: str, runs: int) -> Iterator[float]:
    """Messages to a session that was put to sleep before each."""
    for _ in range(runs):
        api.call("POST", f"/sessions/{session}/suspend")
        while api.call("GET", f"/sessions/{session}")["state"] != "SUSPENDED":
            time.sleep(_LOOK_S)
        yield reply_ms(api, other, session)


def new_ms(api: Api, other: Api, space: str, runs: int) -> Iterator[float]:
    """The first message of sessions that are ended afterwards; it is sent before they are awake."""
    for _ in range(runs):
        with ended(api, str(api.call("POST", "/sessions", {"space": space})["id"])) as session:
            yield reply_ms(api, other, session)


@contextmanager
def ended(api: Api, session: str) -> Iterator[str]:
    yield session
    api.call("DELETE", f"/sessions/{session}")


def main() -> int:
    """1 when a must is missed."""
    parser = argparse.ArgumentParser(description="Measure how long a code agent keeps its user waiting.")
    parser.add_argument("--runs", type=int, default=60, help="repetitions of each single measurement")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    with installed() as installation:
        figures = measure(installation, options.runs)
    if options.json:
        rows = [{**asdict(one), "verdict": one.verdict} for one in figures]
        print(json.dumps({"machine": machine(), "figures": rows}, indent=2))
    else:
        print(machine())
        show(figures)
    return 1 if any(one.verdict == "miss" for one in figures) else 0


if __name__ == "__main__":
    sys.exit(main())
