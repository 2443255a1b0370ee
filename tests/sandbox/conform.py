"""Runs the conformance suite and the attack as whoever starts it: ``python conform.py HOME UID_BASE``.

Prints ``name<tab>ok`` or what went wrong, a line each.
"""

import asyncio
import contextlib
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path

from raworc.sandbox.attack import attack, prepared
from raworc.sandbox.attack.ground import Gateway
from raworc.sandbox.attack.standin import standing_in
from raworc.sandbox.bubblewrap import BubblewrapDriver, Places
from raworc.sandbox.conformance import CASES, Bench, Case, limits
from raworc.sandbox.spawner import Spawner

CASE_TIMEOUT_S = 60
AT_ONCE = 4
"""Most cases wait for something. Those about limits run one by one: their bombs use up what one user may have."""
DOOR_KEY = b"k" * 32


async def try_all(cases: Iterator[Case], bench: Bench) -> None:
    for case in cases:
        said = "ok"
        try:
            async with asyncio.timeout(CASE_TIMEOUT_S):
                await case(bench)
        except Exception as error:  # noqa: BLE001  the one who started us wants to know whatever it was
            said = f"{type(error).__name__}: {error}".replace("\n", " ")
        print(f"{case.__name__}\t{said}", flush=True)  # noqa: T201  read by the test


async def conform(home: Path, spawner: Spawner) -> None:
    places = Places(home / "run", home / "sessions", home / "run" / "gateway.sock", int(sys.argv[2]))
    bench = Bench(BubblewrapDriver(places, spawner, DOOR_KEY), places.gateway_socket, itertools.count(1))
    waiting = iter([case for case in CASES if case not in limits.CASES])
    await asyncio.gather(*(try_all(waiting, bench) for _ in range(AT_ONCE)))
    await try_all(iter(limits.CASES), bench)
    async with (
        standing_in(places.gateway_socket, DOOR_KEY) as stand_in,
        prepared(spawner, places, Gateway(places.gateway_socket, DOOR_KEY, stand_in)) as ground,
    ):
        for finding in await attack(ground):
            print(f"attack: {finding.name}\t{finding.escape or 'ok'}", flush=True)  # noqa: T201  read by the test


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    (folder / "run").mkdir(mode=0o700)
    with contextlib.closing(Spawner.fork(folder / "run")) as started:
        asyncio.run(conform(folder, started))
