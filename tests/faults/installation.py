"""A whole installation, as a user starts it: ``raworc up``, its Postgres included."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from raworc.client import Raworc
from raworc.client.errors import Unreachable
from raworc.settings import Settings, child_environ

_START_S = 60.0


@contextmanager
def raworc_up(settings: Settings) -> Iterator[Raworc]:
    """Running on a home of its own, until the block ends: a client that is logged in."""
    home = settings.home
    command = [sys.executable, "-m", "raworc", "up", "--home", str(home), "--port", "0"]
    with (home / "up.out").open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env=child_environ(settings))
    try:
        with Raworc(address(process, home)) as client:
            login(client, process, home)
            yield client
    finally:
        process.terminate()
        process.wait(_START_S)


def address(process: subprocess.Popen[bytes], home: Path) -> str:
    """Where it serves, as it tells whoever starts a second one."""
    ends = time.monotonic() + _START_S
    while True:
        try:
            said = json.loads((home / "run" / "up.lock").read_text())["address"]
        except (FileNotFoundError, ValueError):
            said = ""
        if said.startswith("http"):
            return said
        assert process.poll() is None, (home / "up.out").read_text()
        assert time.monotonic() < ends
        time.sleep(0.05)


def login(client: Raworc, process: subprocess.Popen[bytes], home: Path) -> None:
    ends = time.monotonic() + _START_S
    while True:
        try:
            client.login("admin", "admin")
        except Unreachable:
            assert process.poll() is None, (home / "up.out").read_text()
            assert time.monotonic() < ends
            time.sleep(0.05)
        else:
            return
