"""History is kept for its owner alone, without secrets, and never costs a command."""

import stat
from pathlib import Path

import pytest

from raworc.cli import history
from raworc.cli.history import PrivateHistory


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "config" / "history"


def kept(path: Path) -> list[str]:
    return list(PrivateHistory(path).load_history_strings())


def test_the_newest_comes_first_and_lines_stay_together(path: Path):
    past = PrivateHistory(path)
    for text in ("agents list", '/api POST agents {\n"name": "x"}'):
        past.append_string(text)
    assert kept(path) == ['/api POST agents {\n"name": "x"}', "agents list"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


HIDDEN = [
    "login --user admin",
    "agents create x --secret KEY=canary",
    '/api PUT agents/x/secrets/K {"value": "canary"}',
    '/api POST operators/admin/login {"pass": "canary"}',
    "/api -H 'Authorization: Bearer canary' agents",
    "ask demo 'use sk-canary'",
    " agents list",
]


@pytest.mark.parametrize("text", HIDDEN)
def test_what_may_hold_a_secret_is_not_kept(path: Path, text: str):
    past = PrivateHistory(path)
    past.append_string(text)
    assert kept(path) == []
    assert past.get_strings() == [text], "it can be called back until the shell is left"


def test_a_wide_open_file_is_closed_and_a_link_is_not_followed(path: Path, tmp_path: Path):
    past = PrivateHistory(path)
    past.append_string("one")
    path.chmod(0o644)
    past.append_string("two")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600

    path.unlink()
    path.symlink_to(tmp_path / "target")
    past.append_string("three")
    assert not (tmp_path / "target").exists()
    assert kept(path) == []


def test_it_stays_small(path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(history, "_KEPT_BYTES", 100)
    past = PrivateHistory(path)
    for number in range(200):
        past.append_string(f"agents get {number}")
    assert path.stat().st_size < 500
    newest = kept(path)
    assert newest[0] == "agents get 199"
    assert all(text.startswith("agents get ") for text in newest)


def test_a_place_that_cannot_be_written_costs_nothing(tmp_path: Path):
    (tmp_path / "file").write_text("")
    past = PrivateHistory(tmp_path / "file" / "history")
    past.append_string("agents list")
    assert kept(tmp_path / "file" / "history") == []
