"""The table of commands: every entry loads, help loads none, and the cheap ones stay cheap."""

import importlib
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from raworc import __version__
from raworc.cli.main import COMMANDS, application


def raworc(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "raworc", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": "/usr/bin:/bin", **env},
        stdin=subprocess.DEVNULL,
        check=False,
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_where_the_table_says(name: str):
    module, _, attribute = COMMANDS[name][0].partition(":")
    assert getattr(importlib.import_module(module), attribute)
    assert CliRunner().invoke(application([name]), [name, "--help"]).exit_code == 0


def test_help_names_every_command():
    text = CliRunner().invoke(application([]), ["--help"]).output
    assert all(name in text for name in COMMANDS)


def test_version_loads_neither_the_client_nor_the_server():
    code = (
        "import sys; sys.argv = ['raworc', 'version']\n"
        "from raworc.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print([name for name in ('httpx2', 'sqlalchemy', 'fastapi', 'rich.console') if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True).stdout
    assert out.splitlines() == [f"raworc {__version__}", "[]"]


def test_an_unknown_command_is_a_usage_error():
    assert raworc("bogus").returncode == 2


CASES = [
    (("agents", "list"), "not logged in: run 'raworc login'"),
    (("login", "--url", "http://127.0.0.1:9"), "no server at http://127.0.0.1:9: start one with 'raworc up'"),
    (("status",), "no server at http://127.0.0.1:9: start one with 'raworc up'"),
]


@pytest.mark.parametrize(("arguments", "text"), CASES, ids=lambda case: " ".join(case) if case else "")
def test_an_error_says_the_next_step_and_shows_no_traceback(arguments: tuple[str, ...], text: str, tmp_path):
    ended = raworc(*arguments, RAWORC_CREDENTIALS=str(tmp_path / "none.json"), RAWORC_URL="http://127.0.0.1:9")
    assert ended.returncode == 1
    assert text in ended.stderr.replace(" at http://127.0.0.1:9: run", ": run")
    assert "Traceback" not in ended.stderr


def test_a_setting_that_cannot_be_read_is_named():
    ended = raworc("up", RAWORC_PORT="many")
    assert ended.returncode == 1
    assert "'RAWORC_PORT' must be a number, not 'many'" in ended.stderr
