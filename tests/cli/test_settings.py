"""What the environment says is read by the field's type, and refused by the variable's name."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from raworc.errors import BadRequest
from raworc.settings import ClientSettings, Settings, read_client_settings, read_settings
from raworc.variables import variables

READ = {
    "RAWORC_PORT": ("0", "port", 0),
    "RAWORC_DRAIN_TIMEOUT_S": ("1.5", "drain_timeout_s", 1.5),
    "RAWORC_PASSTHROUGH": ("Off", "passthrough", False),
    "RAWORC_HOME": ("/a/b", "home", Path("/a/b")),
    "RAWORC_LOG_LEVEL": ("debug", "log_level", "debug"),
    "ANTHROPIC_BASE_URL": ("http://x", "anthropic_base_url", "http://x"),
    "RAWORC_WORKERS": ("", "workers", 1),
}


@pytest.mark.parametrize("key", READ)
def test_a_variable_is_read_by_its_type(key: str):
    raw, name, value = READ[key]
    assert getattr(read_settings({key: raw}), name) == value


REFUSED = [
    ("RAWORC_PORT", "many", "must be a number"),
    ("RAWORC_PORT", "65536", "must be 0 to 65535"),
    ("RAWORC_WORKERS", "0", "must be 1 to"),
    ("RAWORC_CONTEXT_SOFT_LIMIT_TOKENS", "0", "must be 1 to"),
    ("RAWORC_CONTEXT_SOFT_LIMIT_TOKENS", "-5", "must be 1 to"),
    ("RAWORC_DRAIN_TIMEOUT_S", "nan", "must be 0 to"),
    ("RAWORC_DRAIN_TIMEOUT_S", "-1", "must be 0 to"),
    ("RAWORC_PASSTHROUGH", "perhaps", "must be on or off"),
    ("RAWORC_LOG_LEVEL", "loud", "must be one of debug, info, warning, error"),
]


@pytest.mark.parametrize(("key", "raw", "why"), REFUSED, ids=str)
def test_a_variable_that_cannot_be_meant_is_refused_by_name(key: str, raw: str, why: str):
    with pytest.raises(BadRequest, match=f"'{key}' {why}.*, not '{raw}'"):
        read_settings({key: raw})


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize(
    ("command", "environ", "said"),
    [
        ("systemd", {}, "User id 4242 has no account and 'HOME' names no folder: give '--home' or 'RAWORC_HOME'"),
        ("systemd", {"HOME": "/"}, "User id 4242 has no account and 'HOME' names no folder"),
        ("logout", {}, "User id 4242 has no account and 'HOME' names no folder: give 'RAWORC_CREDENTIALS'"),
        ("systemd", {"HOME": "/a"}, "--home /a/.raworc\n"),
        ("systemd", {"RAWORC_HOME": "/b"}, "--home /b\n"),
    ],
)
def test_a_user_id_without_an_account(command: str, environ: dict[str, str], said: str):
    program = [sys.executable, "-m", "raworc", command]
    ran = subprocess.run(program, env=environ, user=4242, group=4242, capture_output=True, text=True, check=False)
    assert said in ran.stdout + ran.stderr
    assert "Traceback" not in ran.stderr
    assert bool(ran.returncode) == said.startswith("User id")


def test_the_command_line_wins_over_the_environment():
    assert read_settings({"RAWORC_PORT": "1"}, port=2, host=None).port == 2


def test_every_variable_is_told_once_and_in_one_sentence():
    told = [variable for kind in (Settings, ClientSettings) for _, variable in variables(kind)]
    assert len({variable.key for variable in told}) == len(told)
    assert all(variable.meaning.endswith(".") for variable in told)


def test_secrets_are_not_shown():
    env = dict.fromkeys(
        ("RAWORC_ADMIN_PASSWORD", "RAWORC_JWT_SECRET", "RAWORC_MASTER_KEY", "ANTHROPIC_API_KEY"), "canary"
    )
    assert "canary" not in repr(read_settings(env))
    assert "canary" not in repr(read_client_settings({"RAWORC_TOKEN": "canary"}))
