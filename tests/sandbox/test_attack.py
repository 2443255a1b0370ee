import contextlib
import json
import os
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from raworc.cli.doctor import run_doctor
from raworc.sandbox.attack import Ground, check_outside, prepared, probe_inside
from raworc.sandbox.attack.ground import Gateway
from raworc.sandbox.attack.standin import standing_in
from raworc.sandbox.bubblewrap import Places
from raworc.sandbox.spawner import Spawner
from raworc.settings import Settings

pytestmark = pytest.mark.anyio


@contextlib.asynccontextmanager
async def grounded(spawner: Spawner, places: Places) -> AsyncGenerator[Ground]:
    key = os.urandom(32)
    async with (
        standing_in(places.gateway_socket, key) as stand_in,
        prepared(spawner, places, Gateway(places.gateway_socket, key, stand_in)) as ground,
    ):
        yield ground


@pytest.fixture
async def ground(spawner: Spawner, places: Places, anyio_backend: str) -> AsyncIterator[Ground]:
    async with grounded(spawner, places) as made:
        yield made


async def test_without_the_filter_the_same_probes_escape(ground: Ground):
    """A suite that cannot fail proves nothing."""
    escapes = {finding.name for finding in await probe_inside(ground, filtered=False) if finding.escape}
    assert len(escapes) >= 20
    assert {"filter and no-new-privileges are on", "socket family VSOCK", "call ptrace"} <= escapes


async def test_a_sprung_trap_and_an_unproven_door_are_found(ground: Ground):
    ground.visitors.append("port")
    assert (await check_outside("the host's port, sockets and processes", ground)).escape == "reached: ['port']"
    assert ground.gateway.stand_in is not None
    ground.gateway.stand_in.unproven = 1
    assert (await check_outside("door: every connection proven", ground)).escape is not None


def test_doctor_says_what_is_enforced(home: Path, capsys: pytest.CaptureFixture[str]):
    assert run_doctor(Settings(home=home / "absent"), as_json=True) == 0
    said = json.loads(capsys.readouterr().out)
    facts = {fact["about"]: fact["here"] for fact in said["facts"]}
    assert said["ok"] is True
    assert {"isolation", "users", "control groups", "memory", "pids", "disk", "postgres", "home"} <= set(facts)
    assert "bubblewrap 0." in facts["programs"]
    assert ("its own for each session" in facts["users"]) == (os.geteuid() == 0)


def test_doctor_names_the_cure_for_an_open_home(home: Path, capsys: pytest.CaptureFixture[str]):
    (home / "keys").mkdir(mode=0o700)
    (home / "keys").chmod(0o755)
    assert run_doctor(Settings(home=home)) == 1
    assert f"chmod 700 {home}/keys" in capsys.readouterr().out
    (home / "keys").chmod(0o700)
    assert run_doctor(Settings(home=home)) == 0


def test_no_probe_of_the_doctor_escapes(home: Path, capsys: pytest.CaptureFixture[str]):
    settings = replace(Settings(home=home), uid_base=1_650_000_000)
    status = run_doctor(settings, attack=True, as_json=True)
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {probe["name"]: probe["escape"] for probe in said["probes"] if probe["escape"]} == {}
    assert status == 0
    names = [probe["name"] for probe in said["probes"]]
    assert len(set(names)) == len(names) >= 100
    for named in ("logging in", "/api/v0/agents", "foreign key", "kill -9 -1", "limits of pid 1", "guest's memory"):
        assert any(named in name for name in names), named
