"""The home's keys: made once, for our eyes only, replaceable by the environment."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from raworc.errors import BadRequest
from raworc.keys import load_keys
from raworc.settings import Settings


def test_keys_are_made_once_and_are_not_alike(home):
    keys = load_keys(Settings(home=home))
    assert len({keys.jwt, keys.door, keys.master}) == 3
    assert {len(key) for key in (keys.jwt, keys.door, keys.master)} == {32}
    assert load_keys(Settings(home=home)) == keys


def test_key_files_are_for_our_user_only_whatever_the_umask(home):
    before = os.umask(0)
    try:
        load_keys(Settings(home=home))
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in (home / "keys").iterdir()} == {0o600}
    assert (home / "keys").stat().st_mode & 0o777 == 0o700


def test_processes_that_start_together_get_the_same_keys(home):
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(load_keys, [Settings(home=home)] * 8))
    assert all(keys == made[0] for keys in made)
    assert sorted(path.name for path in (home / "keys").iterdir()) == ["door", "jwt", "master"]


def test_the_environment_replaces_two_of_them(home):
    plain = Settings(home=home)
    given = replace(plain, jwt_secret="a secret of some length", master_key="a secret of some length")
    keys, own = load_keys(given), load_keys(plain)
    assert keys.jwt != own.jwt
    assert keys.master not in {own.master, keys.jwt}
    assert keys.door == own.door
    assert load_keys(given) == keys


def test_a_short_secret_is_refused_by_name(home):
    with pytest.raises(BadRequest, match="'RAWORC_JWT_SECRET' must have at least 16 characters"):
        load_keys(Settings(home=home, jwt_secret="short"))


@pytest.mark.parametrize("content", ["", "not hexadecimal", "00" * 31])
def test_a_damaged_key_is_never_replaced(home, content):
    load_keys(Settings(home=home))
    (home / "keys" / "master").write_text(content)
    with pytest.raises(BadRequest, match="is damaged: restore it from a backup"):
        load_keys(Settings(home=home))
    assert (home / "keys" / "master").read_text() == content


def test_keys_are_not_shown(home):
    keys = load_keys(Settings(home=home))
    assert keys.jwt.hex() not in repr(keys)
    assert repr(keys.jwt) not in repr(keys)
