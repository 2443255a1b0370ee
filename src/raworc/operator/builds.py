"""The builds of an operator: claim those that wait, make their agents, tell what came of it; sweep what nobody needs.

A build that is cut short (a restart, a dead operator) is begun anew by whoever claims it next: it has no effect
before its end. A build that several operators died with is given up.
"""

import asyncio
import contextlib
import uuid
from collections.abc import Awaitable
from typing import Any, Final

import structlog

from raworc.domain.builds import MAX_DEATHS
from raworc.domain.manifests import Unbuildable
from raworc.errors import LostHold, Unavailable
from raworc.operator.building import Building, BuildLog, BuildRules
from raworc.operator.patience import patiently
from raworc.sandbox.driver import SandboxError
from raworc.sandbox.results import Kept
from raworc.sandbox.workbench import Workbench
from raworc.services.build_work import BuildHold, BuildWork, BuiltAgent
from raworc.services.storage import Storage
from raworc.store.notify import BUILDS, Listener

AT_ONCE: Final = 2
POLL_S: Final = 2.0
SWEEP_S: Final = 600.0
KEEP_S: Final = 3600.0
"""How old a result is before it is swept away."""
_NOTE_S: Final = 0.5

log = structlog.get_logger()


class Builder:
    """Everything that one operator builds."""

    def __init__(
        self,
        work: BuildWork,
        workbench: Workbench,
        rules: BuildRules,
        listener: Listener,
        *,
        storage: Storage | None = None,
        keep_s: float = KEEP_S,
    ) -> None:
        self._work = work
        self._workbench = workbench
        self._rules = rules
        self._listener = listener
        self._keep_s = keep_s
        self._storage = storage or Storage()
        self._tasks: dict[uuid.UUID, asyncio.Task[None]] = {}
        self._ended = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        """Build until ``stop`` is set; what is being built then is let go."""
        chores = [asyncio.create_task(self._take_in()), asyncio.create_task(self._keep_sweeping())]
        wish = asyncio.create_task(stop.wait())
        try:
            done, _ = await asyncio.wait({wish, *chores}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            tasks: list[asyncio.Task[Any]] = [wish, *chores, *self._tasks.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for chore in done - {wish}:
            chore.result()

    async def _take_in(self) -> None:
        async with self._listener.subscribe(BUILDS) as notices:
            while True:
                self._ended.clear()
                room = AT_ONCE - len(self._tasks)
                if room:
                    await _unless_away(self._claim(room))
                    await notices.get(POLL_S)
                    notices.overflowed = False
                else:
                    await self._ended.wait()

    async def _claim(self, room: int) -> None:
        if self._storage.is_low:
            log.warning("the disk is low, builds wait")
            return
        for hold in await self._work.claim(list(self._tasks), room):
            task = asyncio.create_task(self._build(hold), name=f"build {hold.held.id}")
            self._tasks[hold.held.id] = task
            task.add_done_callback(lambda done, build_id=hold.held.id: self._end(build_id, done))

    def _end(self, build_id: uuid.UUID, task: asyncio.Task[None]) -> None:
        del self._tasks[build_id]
        self._ended.set()
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.error("build broke", build_id=str(build_id), exc_info=error)

    # ── one build ─────────────────────────────────────────────────────────────────────────────────────
    async def _build(self, hold: BuildHold) -> None:
        """Until its end. What breaks by a mistake of ours stays held: it is claimed again, and given up in time."""
        said = BuildLog()
        try:
            await self._noted(hold, said)
        except asyncio.CancelledError:
            with contextlib.suppress(Unavailable):  # then the lock says that we are gone
                await asyncio.shield(self._work.release(hold))
            raise

    async def _noted(self, hold: BuildHold, said: BuildLog) -> None:
        try:
            async with asyncio.TaskGroup() as both:
                noting = both.create_task(self._keep_noting(hold, said))
                await self._made(hold, said)
                noting.cancel()
        except* LostHold:
            log.warning("build lost", build_id=str(hold.held.id), epoch=hold.held.epoch)

    async def _made(self, hold: BuildHold, said: BuildLog) -> None:
        made: list[BuiltAgent] = []
        failed: list[str] = []
        with contextlib.ExitStack() as locks:
            if hold.deaths > MAX_DEATHS:
                failed = [one.name for one in hold.agents]
                said.say(f"Given up: it was begun {hold.deaths} times and never came to its end")
            else:
                for agent in hold.agents:
                    said.say(f"── {agent.name}")
                    one, kept = await self._one(hold, said, agent.name)
                    if one is None or kept is None:
                        failed.append(agent.name)
                    else:
                        made.append(one)
                        locks.callback(kept.close)
            said.say(_summary(len(hold.agents), failed))
            status = "failed" if failed or hold.deaths > MAX_DEATHS else "completed"
            await patiently(lambda: self._work.finish(hold, status, said.text, made))
        log.info("build ended", build_id=str(hold.held.id), status=status, agents=len(made), failed=len(failed))

    async def _one(self, hold: BuildHold, said: BuildLog, name: str) -> tuple[BuiltAgent | None, Kept | None]:
        agent = next(one for one in hold.agents if one.name == name)
        try:
            made, kept = await Building(self._workbench, self._rules, hold, said).run(agent)
        except Unbuildable as error:
            said.say(f"Failed: {error}")
        except SandboxError as error:
            log.warning("no sandbox for a build", build_id=str(hold.held.id), reason=str(error))
            said.say(f"Failed: {error}")
        else:
            said.say(f"Built {made.digest[:12]} of commit {made.commit[:12]}")
            return made, kept
        return None, None

    async def _keep_noting(self, hold: BuildHold, said: BuildLog) -> None:
        while True:
            await asyncio.sleep(_NOTE_S)
            if said.changed:
                said.changed = False
                await _unless_away(self._work.note(hold, said.text))

    # ── tidying ───────────────────────────────────────────────────────────────────────────────────────
    async def _keep_sweeping(self) -> None:
        while True:
            await _unless_away(self._sweep())
            await asyncio.sleep(SWEEP_S)

    async def _sweep(self) -> None:
        """Remove results that no newest build names; have those built again that should be here and are not."""
        found = await self._workbench.leftovers()
        running, used = await self._work.running(), await self._work.used()
        results = self._workbench.results
        for space in sorted({space for space, digest in used if not results.path(digest).is_dir()}):
            log.warning("what was built is not here, it is built again", space=space)
            await self._work.again(space)
        needless = found.without({str(build_id) for build_id in running}, {digest for _, digest in used})
        gone = await self._workbench.remove(needless, self._keep_s)
        if gone:
            log.info("results of former builds removed", count=len(gone))


def _summary(count: int, failed: list[str]) -> str:
    if failed:
        return f"Build failed: {len(failed)} of {count} agents could not be built ({', '.join(failed)})"
    return f"Build completed successfully: {count} agents" if count else "Build completed: there is no active agent"


async def _unless_away(work: Awaitable[None]) -> None:
    try:
        await work
    except Unavailable as error:
        log.info("database away, builds wait", reason=error.message)
    except OSError as error:  # of sweeping: what is left is swept the next time
        log.warning("the disk refuses", reason=str(error))
