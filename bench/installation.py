"""A fresh installation to measure: ``raworc up`` on an empty home, and a bare client that costs little itself."""

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_START_S = 60
_STOP_S = 30
_PREFIX = "/agents/api/v0"
_FOREIGN = ("ANTHROPIC_", "OPENAI_", "CLAUDE_", "RAWORC_")


class Answered(Exception):
    """The server answered with an error."""


class Api:
    """One keep-alive connection. Not for several threads."""

    def __init__(self, port: int, token: str | None = None, prefix: str = _PREFIX) -> None:
        self._prefix = prefix
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        self._headers = {"content-type": "application/json"}
        if token:
            self._headers["authorization"] = f"Bearer {token}"

    def call(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401  whatever JSON comes
        content = None if body is None else json.dumps(body)
        self._connection.request(method, self._prefix + path, content, self._headers)
        answer = self._connection.getresponse()
        data = answer.read()
        if answer.status != http.client.OK:
            raise Answered(f"{method} {path}: {answer.status} {data.decode(errors='replace')[:300]}")
        return json.loads(data) if data else None

    def ask(self, agent: str, text: str) -> dict[str, Any]:
        """A blocking turn; raises unless it completes."""
        body = {"input": {"content": [{"type": "text", "content": text}]}, "background": False}
        turn = self.call("POST", f"/agents/{agent}/responses", body)
        if turn["status"] != "completed":
            raise Answered(f"turn {turn['id']} of '{agent}' is '{turn['status']}'")
        return turn

    def stream(self, agent: str, text: str) -> Iterator[dict[str, Any]]:
        """A turn in the background and the data of its events as they come, to its end."""
        body = {"input": {"content": [{"type": "text", "content": text}]}}
        turn = self.call("POST", f"/agents/{agent}/responses", body)
        self._connection.request(
            "GET", f"{self._prefix}/agents/{agent}/responses/{turn['id']}/events", headers=self._headers
        )
        for line in self._connection.getresponse():
            if line.startswith(b"data: "):
                yield json.loads(line[6:])

    def follow(self, agent: str, state: str, *, after: int) -> int:
        """Wait until ``agent`` becomes ``state`` by an event above ``after``; that event's number."""
        path = f"{self._prefix}/agents/{agent}/events"
        self._connection.request("GET", path, headers={**self._headers, "last-event-id": str(after)})
        answer = self._connection.getresponse()
        number = 0
        for line in answer:
            if line.startswith(b"id: "):
                number = int(line[4:])
            elif line.startswith(b"data: ") and json.loads(line[6:]).get("state") == state:
                self.close()  # a stream has no end of its own; the next call connects again
                return number
        raise Answered(f"the events of '{agent}' ended before it was '{state}'")

    def close(self) -> None:
        self._connection.close()


@dataclass(frozen=True)
class Installation:
    """A running one. ``start_s`` is what its start took, from the command to the first answer."""

    home: Path
    port: int
    token: str
    start_s: float

    def api(self, contract: str = "agents") -> Api:
        return Api(self.port, self.token, f"/{contract}/api/v0")


@contextmanager
def installed(**settings: str) -> Iterator[Installation]:
    """Start one (twice, so that ``start_s`` is that of an installed server), stop and remove it at the end.

    ``settings`` are variables of its environment.
    """
    home = Path(tempfile.mkdtemp(prefix="rwb-"))
    home.chmod(0o755)
    try:
        with _up(home, settings):
            pass
        with _up(home, settings) as running:
            yield running
    finally:
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def _up(home: Path, settings: dict[str, str]) -> Iterator[Installation]:
    port = _free_port()
    environ = {key: value for key, value in os.environ.items() if not key.startswith(_FOREIGN)} | settings
    command = [sys.executable, "-m", "raworc", "up", "--home", str(home), "--port", str(port)]
    started = time.monotonic()
    with (home / "bench.out").open("ab") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env=environ)
    try:
        token = _login(process, port, home)
        yield Installation(home, port, token, time.monotonic() - started)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(_STOP_S)


def _login(process: subprocess.Popen[bytes], port: int, home: Path) -> str:
    ends = time.monotonic() + _START_S
    while True:
        try:
            return str(Api(port).call("POST", "/operators/admin/login", {"pass": "admin"})["token"])
        except (OSError, http.client.HTTPException, Answered):
            if process.poll() is not None or time.monotonic() > ends:
                sys.exit(f"'raworc up' did not start:\n{(home / 'up.log').read_text()[-3000:]}")
            time.sleep(0.01)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
