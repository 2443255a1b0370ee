"""Single processes on a database that is configured: ``raworc server``, ``operator`` and ``recorder``."""

import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import httpx2
import psycopg
import pytest

from nursery import nursery
from raworc.settings import Settings, child_environ, read_settings
from raworc.store.first_look import first_look

_LIMIT_S = 60


def _start(settings: Settings, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["setpriv", "--pdeathsig", "TERM", sys.executable, "-m", "raworc", *words, "--home", str(settings.home)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=child_environ(settings),
    )


def _said_until(process: subprocess.Popen[str], words: str) -> str:
    """What a process prints up to a line with ``words``."""
    said = ""
    for line in process.stdout:
        said += line
        if words in line:
            return said
    raise AssertionError(said)


def _refusal(settings: Settings, words: Sequence[str]) -> str:
    """What one says that does not come to serve. Out of the nursery: how they load is shown by those that do."""
    with tempfile.TemporaryFile() as output:
        arguments = ["-m", "raworc", *words, "--home", str(settings.home)]
        process = nursery().start(arguments, env=child_environ(settings), output=output, pass_fds=())
        status = process.wait(_LIMIT_S)
        output.seek(0)
        said = output.read().decode()
    assert status == 1, said
    assert "Traceback" not in said
    return said


@pytest.mark.parametrize("kind", ["operator", "recorder"])
def test_it_works_and_ends_on_sigterm(settings, kind):
    process = _start(replace(settings, database_url=None), kind, "--database-url", settings.database_url)
    _said_until(process, '"event":"serving"')
    with psycopg.connect(settings.database_url) as conn:
        assert conn.execute("SELECT kind FROM workers").fetchall() == [(kind,)]
    process.terminate()
    assert process.wait(_LIMIT_S) == 0
    with psycopg.connect(settings.database_url) as conn:
        assert conn.execute("SELECT kind FROM workers").fetchall() == []


def test_it_may_open_as_many_files_as_the_host_lets_it(settings):
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1000, before[1]))
    try:
        process = _start(settings, "recorder")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    _said_until(process, '"event":"serving"')
    limits = Path(f"/proc/{process.pid}/limits").read_text().splitlines()
    process.terminate()
    assert process.wait(_LIMIT_S) == 0
    soft, hard = next(line.split()[3:5] for line in limits if line.startswith("Max open files"))
    assert soft == hard != "1000"


def test_a_server_serves_its_port(settings):
    port = _free_port()
    process = _start(replace(settings, port=port), "server")
    _said_until(process, '"event":"serving"')
    assert httpx2.get(f"http://127.0.0.1:{port}/readyz").text == "OK"
    second = _refusal(replace(settings, port=_free_port()), ["server"])
    assert "Another server listens on" in second
    process.send_signal(signal.SIGINT)
    assert process.wait(_LIMIT_S) == 0


def test_the_first_one_prepares_an_empty_database(settings, empty_url):
    process = _start(replace(settings, database_url=empty_url, admin_password="long and secret"), "recorder")
    _said_until(process, '"event":"serving"')
    assert first_look(empty_url).is_current
    process.terminate()
    assert process.wait(_LIMIT_S) == 0


@pytest.mark.parametrize("kind", ["server", "operator", "recorder"])
def test_without_a_database_it_says_what_to_set(settings, kind):
    assert f"'raworc {kind}' alone needs 'RAWORC_DATABASE_URL'" in _refusal(
        replace(settings, database_url=None), [kind]
    )


@pytest.mark.parametrize("words", [["server"], ["operator"], ["recorder"], ["up", "--port", "0"]], ids=" ".join)
def test_a_database_of_a_newer_program_is_refused_and_kept(settings, words):
    with psycopg.connect(settings.database_url) as conn:
        conn.execute("UPDATE alembic_version SET version_num = '9999'")
    assert "schema '9999', which this program does not know: start the newer version" in _refusal(settings, words)
    with psycopg.connect(settings.database_url) as conn:
        assert conn.execute("SELECT version_num FROM alembic_version").fetchall() == [("9999",)]


def test_a_server_for_other_machines_needs_a_password_that_nobody_knows(settings):
    said = _refusal(replace(settings, host="0.0.0.0", port=_free_port()), ["server"])  # noqa: S104  every address is the point
    assert "'admin' has the password that the documentation shows" in said


def test_a_child_reads_the_same_settings_but_not_the_password(monkeypatch):
    for name in [name for name in os.environ if name.startswith(("RAWORC_", "ANTHROPIC_"))]:
        monkeypatch.delenv(name)
    settings = Settings(home=Path("/here"), port=1234, workers=3, passthrough=False, anthropic_api_key="k", uid_base=7)
    environ = child_environ(replace(settings, admin_password="long and secret"))
    assert read_settings(environ) == settings
    assert "long and secret" not in environ.values()


def test_what_is_not_set_does_not_reach_a_child(monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "of this shell")
    monkeypatch.setenv("RAWORC_ADMIN_PASSWORD", "of this shell")
    assert "of this shell" not in child_environ(Settings(home=Path("/here"))).values()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]
