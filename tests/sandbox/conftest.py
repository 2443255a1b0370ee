"""A home, a spawner and a driver of its own for every test; as root, users far from those of other tests."""

import itertools
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from raworc.sandbox.bubblewrap import BubblewrapDriver, Places
from raworc.sandbox.conformance import Bench
from raworc.sandbox.spawner import Spawner

DOOR_KEY = b"k" * 32


@pytest.fixture
def places(home: Path) -> Places:
    (home / "run").mkdir(mode=0o700)
    base = 1_700_000_000 + int.from_bytes(secrets.token_bytes(3)) * 8
    return Places(home / "run", home / "sessions", home / "run" / "gateway.sock", base)


@pytest.fixture
def spawner(places: Places) -> Iterator[Spawner]:
    started = Spawner.fork(places.run_dir)
    yield started
    started.close()


@pytest.fixture
def driver(places: Places, spawner: Spawner, anyio_backend: str) -> BubblewrapDriver:
    return BubblewrapDriver(places, spawner, DOOR_KEY)


@pytest.fixture
def bench(driver: BubblewrapDriver, places: Places) -> Bench:
    return Bench(driver, places.gateway_socket, itertools.count(1))


@pytest.fixture
def is_root() -> bool:
    return os.geteuid() == 0
