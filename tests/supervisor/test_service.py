"""systemd: what it is told, and the unit that it runs us by."""

import asyncio
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from raworc.errors import BadRequest
from raworc.settings import ServiceSettings, Settings, child_environ, read_service_settings
from raworc.supervisor.service import Service
from raworc.supervisor.unit import Kind, Wish, unit

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, home: Path) -> Iterator[tuple[socket.socket, str]]:
    """Where a service manager listens, and how it writes that in the environment."""
    place = f"{home}/notify" if request.param == "path" else f"\0{home}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(place)
        listening.settimeout(10)
        yield listening, place.replace("\0", "@")


async def test_it_is_told_ready_alive_and_stopping(manager: tuple[socket.socket, str]):
    listening, place = manager
    service = Service(ServiceSettings(place, watchdog_s=0.02))

    async def heard() -> str:
        return (await asyncio.to_thread(listening.recv, 1000)).decode()

    service.ready("Serving")
    assert [await heard() for _ in range(3)] == ["READY=1\nSTATUS=Serving", "WATCHDOG=1", "WATCHDOG=1"]
    service.stopping()
    while (message := await heard()) == "WATCHDOG=1":
        pass
    assert message.startswith("STOPPING=1")
    service.ended()


async def test_without_a_manager_nothing_happens(home: Path):
    for place in (None, f"{home}/nobody"):
        service = Service(ServiceSettings(place))
        service.ready("Serving")
        service.stopping()
        service.ended()


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, ServiceSettings()),
        ({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "30000000"}, ServiceSettings("/x", 30.0)),
        ({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "3", "WATCHDOG_PID": str(os.getpid())}, ServiceSettings("/x", 3e-6)),
        ({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "3", "WATCHDOG_PID": "1"}, ServiceSettings("/x")),
        ({"NOTIFY_SOCKET": "", "WATCHDOG_USEC": "soon"}, ServiceSettings()),
    ],
)
async def test_what_the_manager_says_is_read(environ: dict[str, str], expected: ServiceSettings):
    assert read_service_settings(environ) == expected


async def test_our_own_processes_do_not_speak_to_it(monkeypatch: pytest.MonkeyPatch):
    for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.setenv(name, "1")
    assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} & child_environ(Settings(home=Path("/x"))).keys()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not there to judge")
async def test_systemd_finds_nothing_to_complain_about(tmp_path: Path):
    users = (None, "daemon")
    files = []
    for number, (kind, user) in enumerate((kind, user) for kind in get_args(Kind) for user in users):
        files.append(tmp_path / f"raworc-{number}.service")
        files[-1].write_text(unit(Wish(kind, Path("/var/lib/raworc"), user, sys.executable)))
    judged = await asyncio.to_thread(
        subprocess.run, ["systemd-analyze", "verify", *map(str, files)], capture_output=True, text=True, check=False
    )
    ours = [line for line in judged.stderr.splitlines() if str(tmp_path) in line and "DelegateSubgroup" not in line]
    assert (judged.returncode, ours) == (0, [])


@pytest.mark.parametrize("home", ["/with space", "/with%percent", '/with"quote'])
async def test_what_systemd_would_read_otherwise_is_refused(home: str):
    with pytest.raises(BadRequest, match=r"'--home': a unit cannot hold"):
        unit(Wish("up", Path(home), None, "/usr/bin/python3"))


async def test_the_command_prints_a_unit_that_runs_this_program():
    command = [sys.executable, "-m", "raworc", "systemd", "operator", "--home", "/srv/raworc", "--user", "agents"]
    said = (await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=True)).stdout
    assert f"ExecStart={sys.executable} -m raworc operator --home /srv/raworc\n" in said
    assert "\nUser=agents\nRestart=always\n" in said
    assert "StateDirectory" not in said
