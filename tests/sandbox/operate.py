"""An operator of nothing but one sandbox, to be killed: opens it, prints its pid 1, its bwrap and spawner, waits.

python operate.py HOME UID_BASE SESSION
"""

import asyncio
import json
import sys
import uuid
from pathlib import Path

from raworc.ids import SessionId
from raworc.sandbox.bubblewrap import BubblewrapDriver, Places
from raworc.sandbox.driver import Command, Exit, SandboxSpec, Workspace
from raworc.sandbox.spawner import Spawner


async def operate(spawner: Spawner) -> None:
    home = Path(sys.argv[1])
    places = Places(home / "run", home / "sessions", home / "run" / "gateway.sock", int(sys.argv[2]))
    driver = BubblewrapDriver(places, spawner, b"k" * 32)
    sandbox = await driver.open(SandboxSpec(Workspace(SessionId(uuid.UUID(sys.argv[3])), 1), epoch=1))
    async for event in sandbox.run(Command("setsid sleep 600 & (while :; do date +%s.%N > tick; sleep 0.01; done) &")):
        if isinstance(event, Exit):
            break
    print(json.dumps({"init": sandbox.life.init.pid, "spawner": spawner.pid}), flush=True)  # noqa: T201  for the test
    await asyncio.Event().wait()


if __name__ == "__main__":
    forked = Spawner.fork(Path(sys.argv[1]) / "run")
    asyncio.run(operate(forked))
