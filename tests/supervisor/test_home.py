"""The home's folders, who is refused, and the lock against a second start."""

import os
import subprocess
import sys

import pytest

from raworc.errors import BadRequest, Conflict
from raworc.settings import Settings
from raworc.supervisor.home import claimed, prepare_home

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user's home needs no such care")


def _modes(home) -> dict[str, int]:
    return {path.name: path.stat().st_mode & 0o777 for path in home.iterdir()}


def test_every_folder_has_its_mode_whatever_the_umask(home):
    before = os.umask(0o077)
    try:
        prepare_home(Settings(home=home / "here"))
    finally:
        os.umask(before)
    closed = dict.fromkeys(("run", "keys", "logs", "spool"), 0o700)
    assert _modes(home / "here") == closed | {"pg": 0o711, "sessions": 0o711, "builds": 0o711}
    assert (home / "here").stat().st_mode & 0o777 == (0o755 if os.geteuid() == 0 else 0o700)


def test_modes_that_were_opened_are_closed_again(home):
    prepare_home(Settings(home=home))
    (home / "keys").chmod(0o777)
    prepare_home(Settings(home=home))
    assert _modes(home)["keys"] == 0o700


@as_root
def test_a_home_below_a_closed_folder_is_refused_by_name(home):
    closed = home / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(BadRequest, match=f"'{closed}', which other users may not enter"):
        prepare_home(Settings(home=closed / "deep" / "home"))


@as_root
def test_a_link_does_not_hide_a_closed_folder(home):
    (home / "closed").mkdir(mode=0o700)
    (home / "closed" / "inner").mkdir()
    (home / "link").symlink_to(home / "closed" / "inner")
    with pytest.raises(BadRequest, match="may not enter"):
        prepare_home(Settings(home=home / "link" / "home"))


@as_root
def test_a_home_in_somebody_elses_hands_is_refused(home):
    os.chown(home, 65534, 65534)
    with pytest.raises(BadRequest, match="belongs to user 65534, not to root"):
        prepare_home(Settings(home=home))


@pytest.mark.parametrize("name", ["a,b", 'a"b', "a$b", "a`b", "a\nb"])
def test_a_name_that_postgres_cannot_work_in_is_refused(home, name):
    with pytest.raises(BadRequest, match="'--home' must not contain commas"):
        prepare_home(Settings(home=home / name))
    assert list(home.iterdir()) == []


def test_a_home_that_is_a_file_is_refused(home):
    (home / "file").write_text("")
    with pytest.raises(BadRequest, match="cannot be used"):
        prepare_home(Settings(home=home / "file"))


def test_a_second_start_is_told_who_was_first_and_where(home):
    settings = Settings(home=home)
    prepare_home(settings)
    program = (
        "from pathlib import Path; from raworc.settings import Settings; from raworc.supervisor.home import claimed\n"
        f"with claimed(Settings(home=Path({str(home)!r}))): pass"
    )
    with claimed(settings) as tell:
        tell("http://127.0.0.1:9000")
        ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert f"in use by process {os.getpid()}, which serves http://127.0.0.1:9000" in ended.stderr
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_a_lock_with_nothing_readable_in_it_still_refuses(home):
    settings = Settings(home=home)
    prepare_home(settings)
    with claimed(settings):
        (settings.run_dir / "up.lock").write_text("{")
        with pytest.raises(Conflict, match="in use by another process"), claimed(settings):
            pass
