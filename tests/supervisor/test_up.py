"""``raworc up`` as a person starts and stops it."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest

from conftest import short_home
from raworc.client import Raworc
from raworc.client.errors import Unavailable

_LIMIT_S = 60


class Up:
    """One start. ``said`` is what it printed."""

    def __init__(self, home: Path, *options: str, environ: dict[str, str] | None = None) -> None:
        self.home = home
        self.process = subprocess.Popen(
            up_command(home, *options),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=clean_environ() | (environ or {}),
        )
        self.said = ""
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def wait_serving(self) -> str:
        """The address that it prints once everything serves."""
        until(lambda: "Home " in self.said or not self._reading.is_alive())
        found = re.search(r"^Raworc\s+(http://\S+)", self.said, re.MULTILINE)
        assert found, self.said
        return found[1]

    def wait_ended(self) -> int:
        status = self.process.wait(_LIMIT_S)
        self._reading.join()
        return status

    def children(self) -> dict[str, int]:
        """Pids of the processes that it started, by name."""
        found = {}
        for pid in processes():
            words = _words(pid)
            if words and _parent(pid) == self.process.pid and words[-1].startswith("{"):
                found[json.loads(words[-1])["name"]] = pid
        return found

    def postmaster(self) -> int:
        return int((self.home / "pg" / "data" / "postmaster.pid").read_text().split()[0])

    def _read(self) -> None:
        for line in self.process.stdout:
            self.said += line


def up_command(home: Path, *options: str) -> list[str]:
    """It stops when we end."""
    alone = ["setpriv", "--pdeathsig", "TERM", sys.executable, "-m", "raworc"]
    return [*alone, "up", "--home", str(home), "--port", "0", *options]


def clean_environ() -> dict[str, str]:
    """Ours without settings and keys."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("RAWORC_", "ANTHROPIC_"))}


def until(condition, limit_s: float = _LIMIT_S) -> None:
    ends = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.01)


def processes() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208  names, many times a second


def of_home(home: Path) -> list[list[str]]:
    """Command lines of all that runs with this home: Postgres names it, our own have it in their environment."""
    mine = str(home).encode()
    found = []
    for pid in processes():
        try:
            told = Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/environ").read_bytes()
            where = os.fsencode(Path(f"/proc/{pid}/cwd").readlink())
        except OSError:
            continue
        if mine in told or mine in where:
            found.append(_words(pid))
    return found


def _words(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
    except OSError:
        return []


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


@contextmanager
def running(home: Path, *options: str, environ: dict[str, str] | None = None) -> Iterator[Up]:
    """An installation that is stopped at the end, however the test ends."""
    up = Up(home, *options, environ=environ)
    try:
        up.wait_serving()
        yield up
    finally:
        up.process.terminate()
        up.wait_ended()


@pytest.fixture(scope="module")
def installed() -> Iterator[Path]:
    """A home that was started once, so that later starts are quick."""
    with short_home() as folder:
        with running(folder / "home"):
            pass
        yield folder / "home"


def get(address: str, path: str) -> tuple[int, bytes]:
    parts = urlsplit(address)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)
    connection.request("GET", path)
    answer = connection.getresponse()
    return answer.status, answer.read()


def test_it_serves_says_where_and_leaves_nothing_behind(installed):
    with running(installed) as up:
        address = up.wait_serving()
        assert get(address, "/readyz") == (200, b"OK")
        with Raworc(address) as client:
            assert client.login("admin", "admin").role == "admin"
        assert set(up.children()) == {"server-1", "operator", "recorder"}
        for words in ("Postgres 18, embedded", "scripted", str(installed), "admin / admin"):
            assert words in up.said
    assert up.process.returncode == 0
    assert re.search(r"\nStopping: [^\n]+\nStopped\n$", up.said), up.said
    assert of_home(installed) == []
    assert [path.name for path in (installed / "run").glob("*.sock")] == []
    assert [path.name for path in (installed / "run").glob("*-*.lock")] == []


def test_it_stops_as_well_when_nobody_reads_what_it_says(installed):
    with subprocess.Popen(up_command(installed), stdout=subprocess.PIPE, env=clean_environ()) as process:
        while b"Login" not in process.stdout.readline():  # the last line of what it says once it serves
            assert process.poll() is None
        process.stdout.close()
        process.terminate()
        assert process.wait(_LIMIT_S) == 0
    assert of_home(installed) == []


def test_a_second_start_is_refused_with_the_first_ones_pid_and_address(installed):
    with running(installed) as up:
        second = Up(installed)
        assert second.wait_ended() == 1
        assert f"in use by process {up.process.pid}, which serves {up.wait_serving()}" in second.said
        assert get(up.wait_serving(), "/livez")[0] == 200


def test_killed_processes_come_back(installed):
    with running(installed, "--workers", "2") as up:
        before = up.children()
        assert set(before) == {"server-1", "server-2", "operator", "recorder"}
        for pid in before.values():
            os.kill(pid, signal.SIGKILL)
        until(lambda: set(up.children()) == set(before) and not set(up.children().values()) & set(before.values()))
        assert get(up.wait_serving(), "/readyz")[0] == 200


def test_when_it_is_killed_its_processes_die_and_the_next_start_finds_postgres_again(installed):
    up = Up(installed)
    up.wait_serving()
    children, postmaster = up.children(), up.postmaster()
    up.process.kill()
    up.wait_ended()
    until(lambda: not set(children.values()) & set(processes()))
    with running(installed) as again:
        assert again.postmaster() == postmaster
        assert get(again.wait_serving(), "/readyz")[0] == 200


def test_the_database_comes_back_under_running_servers(installed):
    with running(installed) as up:
        os.kill(up.postmaster(), signal.SIGKILL)
        until(lambda: get(up.wait_serving(), "/readyz")[0] == 200)


def test_a_second_signal_ends_everything_at_once(installed):
    with running(installed) as up:
        address = up.wait_serving()
        with Raworc(address) as client:
            client.login("admin", "admin")
        parts = urlsplit(address)
        with socket.create_connection((parts.hostname, parts.port)) as slow:
            slow.sendall(b"POST /api/v0/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{")
            before = _stops(installed)
            up.process.send_signal(signal.SIGINT)
            until(lambda: _stops(installed) > before)
            up.process.send_signal(signal.SIGINT)
            since = time.monotonic()
            assert up.wait_ended() == 0
            assert time.monotonic() - since < 15  # far from the half minute that it would drain
    assert of_home(installed) == []


STEPS = "\n".join(f"```bash\necho {step} >> steps; sleep 1.5\n```" for step in range(3))


class Waiting(threading.Thread):
    """A client that waits for the end of something, and keeps what it got."""

    def __init__(self, wait: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self._wait = wait
        self.got: object = None
        self.start()

    def run(self) -> None:
        try:
            self.got = self._wait()
        except (Unavailable, httpx2.HTTPError) as error:
            self.got = error


def _follow(client: Raworc, token: str, turn: str, heard: bytearray) -> str:
    """A response's stream to its end; raises where the connection is cut instead of ended."""
    path = f"{client.base_url}/api/v0/agents/drained/responses/{turn}/events"
    with httpx2.stream("GET", path, headers={"Authorization": f"Bearer {token}"}, timeout=30) as answer:
        for piece in answer.iter_bytes():
            heard += piece
    return "ended"


def test_sigterm_drains_all_of_it_and_the_next_start_goes_on(installed):
    """A stream is ended, a blocked request told, a turn handed back between two steps."""
    with running(installed) as up, Raworc(up.wait_serving()) as client:
        token = client.login("admin", "admin").token
        client.agents.create("drained", model="scripted")
        turn = client.responses.create("drained", STEPS)
        until(lambda: client.responses.get("drained", turn.id).segments)
        heard = bytearray()
        stream = Waiting(lambda: _follow(client, token, turn.id, heard))
        blocked = Waiting(lambda: client.responses.ask("drained", "wait"))
        until(lambda: b"event: segment" in heard)
        until(lambda: client.responses.count("drained") == 2)
        since = time.monotonic()
        up.process.terminate()
        assert up.wait_ended() == 0
        assert time.monotonic() - since < 20
        stream.join(10)
        blocked.join(10)
    assert stream.got == "ended"
    assert isinstance(blocked.got, Unavailable)
    assert blocked.got.retry_after_s == 1
    with running(installed) as up, Raworc(up.wait_serving()) as client:
        client.login("admin", "admin")
        until(lambda: client.responses.get("drained", turn.id).is_settled)
        assert client.responses.get("drained", turn.id).status == "completed"
        assert client.files.read("drained", "steps") == b"0\n1\n2\n"
        client.agents.delete("drained")


def test_systemd_hears_that_it_serves_lives_and_stops(installed):
    heard, place = [], str(installed.parent / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(place)
        manager.settimeout(10)
        with running(installed, environ={"NOTIFY_SOCKET": place, "WATCHDOG_USEC": "200000"}):
            while "WATCHDOG=1" not in heard:
                heard.append(manager.recv(1000).decode().partition("\n")[0])
        while "STOPPING=1" not in heard:
            heard.append(manager.recv(1000).decode().partition("\n")[0])
    assert heard[0] == "READY=1"
    assert set(heard[1:]) == {"WATCHDOG=1", "STOPPING=1"}


def _stops(home: Path) -> int:
    return (home / "logs" / "up.log").read_text().count('"event":"stopping"')


def _refused(home: Path, options: Sequence[str], environ: dict[str, str] | None = None) -> str:
    up = Up(home, *options, environ=environ)
    assert up.wait_ended() == 1
    assert of_home(home) == []
    assert "Traceback" not in up.said
    return up.said


def test_other_machines_are_not_let_in_with_the_password_of_the_documentation(installed):
    said = _refused(installed, ["--host", "0.0.0.0"])  # noqa: S104  every address is the point
    assert "'admin' has the password that the documentation shows" in said
    assert "RAWORC_ADMIN_PASSWORD" in said


def test_a_later_password_does_not_hide_that_the_first_one_still_counts(installed):
    said = _refused(installed, ["--host", "0.0.0.0"], {"RAWORC_ADMIN_PASSWORD": "long and secret"})  # noqa: S104  every address is the point
    assert "'admin' has the password that the documentation shows" in said


def test_a_first_start_with_a_password_of_its_own_may_serve_other_machines():
    with short_home() as folder:
        environ = {"RAWORC_ADMIN_PASSWORD": "long and secret"}
        with running(folder / "home", "--host", "0.0.0.0", environ=environ) as up, Raworc(up.wait_serving()) as client:  # noqa: S104  every address is the point
            assert client.login("admin", "long and secret").user == "admin"
            assert "admin / admin" not in up.said


def test_a_first_password_that_is_too_short_is_refused():
    with short_home() as folder:
        said = _refused(folder / "home", [], {"RAWORC_ADMIN_PASSWORD": "short"})
        assert "'RAWORC_ADMIN_PASSWORD' must have at least 8 characters" in said


def test_a_taken_port_is_named(installed):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"Port {port} on '127.0.0.1' is in use" in _refused(installed, ["--port", str(port)])


def test_a_configured_database_is_used_instead(database_url):
    with short_home() as folder, running(folder / "home", environ={"RAWORC_DATABASE_URL": database_url}) as up:
        assert get(up.wait_serving(), "/readyz")[0] == 200
        assert "as configured" in up.said
        assert not (folder / "home" / "pg" / "data").exists()


def test_a_configured_database_that_does_not_answer_is_named():
    with short_home() as folder:
        said = _refused(folder / "home", [], {"RAWORC_DATABASE_URL": f"postgresql://nobody@/none?host={folder}"})
        assert "The database does not answer" in said
