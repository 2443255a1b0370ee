"""The token's file: only its owner reads it, and it is whole or not there."""

import os
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from raworc.cli.credentials import Credentials, forget, load, save
from raworc.cli.stop import Stop

TOKEN = Credentials("http://127.0.0.1:9000", "admin", "secret-token", datetime(2026, 1, 1, tzinfo=UTC))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "config" / "raworc" / "credentials.json"


def test_what_was_saved_is_loaded(path: Path):
    assert load(path) is None
    save(path, TOKEN)
    assert load(path) == TOKEN


def test_others_cannot_read_it_whatever_the_umask(path: Path):
    before = os.umask(0)
    try:
        save(path, TOKEN)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_wide_open_file_is_replaced_by_a_closed_one(path: Path):
    save(path, TOKEN)
    path.chmod(0o644)
    with pytest.raises(Stop, match="can be read by others: run 'chmod 600"):
        load(path)
    save(path, TOKEN)
    assert load(path) == TOKEN
    assert [item.name for item in path.parent.iterdir()] == ["credentials.json"]


def test_a_link_is_replaced_and_its_target_left_alone(path: Path, tmp_path: Path):
    path.parent.mkdir(parents=True)
    target = tmp_path / "target"
    target.write_text("mine")
    path.symlink_to(target)
    save(path, TOKEN)
    assert target.read_text() == "mine"
    assert not path.is_symlink()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"url": 1}', b"\xff"])
def test_a_damaged_file_says_what_to_do(path: Path, content: bytes):
    save(path, TOKEN)
    path.write_bytes(content)
    with pytest.raises(Stop, match="is damaged: run 'raworc login' again"):
        load(path)


def test_forgetting_twice_is_harmless(path: Path):
    save(path, TOKEN)
    assert forget(path) is True
    assert forget(path) is False


def test_a_folder_in_its_place_is_told(tmp_path: Path):
    (tmp_path / "x").mkdir()
    with pytest.raises(Stop, match="cannot"):
        save(tmp_path / "x", TOKEN)
    assert [item.name for item in tmp_path.iterdir()] == ["x"]
