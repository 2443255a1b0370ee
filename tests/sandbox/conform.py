"""Runs the conformance suite as whoever starts it, one line a case: ``python conform.py HOME UID_BASE``."""

import asyncio
import contextlib
import itertools
import sys
from pathlib import Path

from raworc.sandbox.bubblewrap import BubblewrapDriver, Places
from raworc.sandbox.conformance import CASES, Bench
from raworc.sandbox.spawner import Spawner

CASE_TIMEOUT_S = 60


async def conform(home: Path, spawner: Spawner) -> None:
    places = Places(home / "run", home / "sessions", home / "run" / "gateway.sock", int(sys.argv[2]))
    bench = Bench(BubblewrapDriver(places, spawner, b"k" * 32), places.gateway_socket, itertools.count(1))
    for case in CASES:
        said = "ok"
        try:
            async with asyncio.timeout(CASE_TIMEOUT_S):
                await case(bench)
        except Exception as error:  # noqa: BLE001  the one who started us wants to know whatever it was
            said = f"{type(error).__name__}: {error}".replace("\n", " ")
        print(f"{case.__name__}\t{said}", flush=True)  # noqa: T201  read by the test


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    (folder / "run").mkdir(mode=0o700)
    with contextlib.closing(Spawner.fork(folder / "run")) as started:
        asyncio.run(conform(folder, started))
