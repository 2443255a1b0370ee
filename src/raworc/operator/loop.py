"""An operator process: claim sessions that need work, work on each, give them back at the end.

Notices say where to look at once; a poll every second finds whatever they missed. An operator whose heartbeat
does not get through closes its sandboxes before anyone else may think it dead.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import structlog

from raworc.errors import Unavailable
from raworc.ids import SessionId
from raworc.operator.session import HeldSession, Parts
from raworc.sandbox.driver import SandboxError
from raworc.services.holds import Hold
from raworc.services.workers import Worker
from raworc.store.notify import Listener, Subscription, WorkNotice

POLL_S: Final = 1.0
MAX_SILENT_S: Final = 10.0
RECONCILE_S: Final = 60.0
_GUARD_S: Final = 0.5
_CLAIM_AT_ONCE: Final = 64
_LONGEST_COOLING_S: Final = 60.0

log = structlog.get_logger()


@dataclass
class _Failing:
    """A session whose work raised what it should not: how often, and until when it is left alone."""

    times: int
    until_s: float


class Operator:
    """Everything one operator process holds."""

    def __init__(self, parts: Parts, worker: Worker, listener: Listener, *, drain_timeout_s: float) -> None:
        self._parts = parts
        self._worker = worker
        self._listener = listener
        self._drain_timeout_s = drain_timeout_s
        self._held: dict[SessionId, HeldSession] = {}
        self._tasks: dict[SessionId, asyncio.Task[None]] = {}
        self._failing: dict[SessionId, _Failing] = {}
        self._clearing: set[SessionId] = set()
        self._notices: Subscription | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Work until ``stop`` is set, then drain: no new claims, running turns are handed back."""
        async with self._listener.subscribe(None) as subscription:
            self._notices = subscription
            chores = [
                asyncio.create_task(self._take_in(subscription), name="claims"),
                asyncio.create_task(self._guard(), name="guard"),
                asyncio.create_task(self._reconcile(), name="reconcile"),
            ]
            wish = asyncio.create_task(stop.wait())
            try:
                done, _ = await asyncio.wait({wish, *chores}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                await _ended([*chores, wish])
                await self._drain()
        for chore in done - {wish}:
            chore.result()

    @property
    def held(self) -> Collection[SessionId]:
        """The sessions that are worked on here."""
        return self._held.keys()

    # ── claiming ──────────────────────────────────────────────────────────────────────────────────────
    async def _take_in(self, subscription: Subscription) -> None:
        next_poll_s = 0.0
        while True:
            wait_s = max(next_poll_s - time.monotonic(), 0.0)
            named = await _named(subscription, wait_s)
            subscription.overflowed = False
            try:
                if time.monotonic() >= next_poll_s:
                    next_poll_s = time.monotonic() + POLL_S
                    await self._poll()
                await self._claim_named(named)
            except Unavailable as error:
                log.info("database away, no claims", reason=error.message)
                next_poll_s = time.monotonic() + POLL_S

    async def _claim_named(self, named: Collection[SessionId]) -> None:
        for session_id in named:
            if session_id in self._held:
                self._held[session_id].kick()
        unknown = [session_id for session_id in named if session_id not in self._held]
        if unknown:
            await self._claim(unknown)

    async def _poll(self) -> None:
        """What notices may have missed: held sessions that want something or are lost, and all that is free."""
        holds = self._parts.holds
        standing = await holds.standing()
        for session_id, session in list(self._held.items()):
            found = standing.get(session_id)
            if found is None or found.epoch != session.hold.epoch or found.wants or (session.works and not found.runs):
                session.kick()
        await holds.find_dead()
        while await self._claim():
            pass

    async def _claim(self, only: Sequence[SessionId] | None = None) -> bool:
        """Whether there was something to begin. Who must be taken for dead begins nothing that he would stop again."""
        if self._is_silent:
            return False
        claimed = await self._parts.holds.claim(held=self._left_alone(), limit=_CLAIM_AT_ONCE, only=only)
        self._begin(claimed)
        return bool(claimed)

    def _left_alone(self) -> set[SessionId]:
        now_s = time.monotonic()
        cooling = {session_id for session_id, failing in self._failing.items() if failing.until_s > now_s}
        return cooling | self._clearing | set(self._held)

    def _begin(self, claimed: Collection[Hold]) -> None:
        for hold in claimed:
            session = HeldSession(self._parts, hold)
            task = asyncio.create_task(session.run(), name=f"session {hold.session_id}")
            self._held[hold.session_id] = session
            self._tasks[hold.session_id] = task
            task.add_done_callback(lambda done, session_id=hold.session_id: self._end(session_id, done))

    def _end(self, session_id: SessionId, task: asyncio.Task[None]) -> None:
        session = self._held.pop(session_id)
        del self._tasks[session_id]
        if session.is_kicked and self._notices is not None:
            self._notices.put(WorkNotice(session_id))  # it came while the session was let go: claim it again at once
        error = None if task.cancelled() else task.exception()
        if error is None:
            self._failing.pop(session_id, None)
            return
        times = self._failing[session_id].times + 1 if session_id in self._failing else 1
        pause_s = min(2.0**times, _LONGEST_COOLING_S)
        self._failing[session_id] = _Failing(times, time.monotonic() + pause_s)
        log.error("session work failed", session_id=str(session_id), again_in_s=pause_s, exc_info=error)

    # ── staying honest ────────────────────────────────────────────────────────────────────────────────
    async def _guard(self) -> None:
        """Close every sandbox when this process must be taken for dead: others may soon work on its sessions."""
        while True:
            await asyncio.sleep(_GUARD_S)
            if self._is_silent and self._tasks:
                log.error("heartbeat does not get through, everything stops", sessions=len(self._tasks))
                await _ended(self._tasks.values())

    @property
    def _is_silent(self) -> bool:
        return self._worker.silent_s > MAX_SILENT_S

    async def _reconcile(self) -> None:
        """Remove sandboxes that no session owns."""
        while True:
            try:
                await self._clear_orphans()
            except (Unavailable, SandboxError) as error:
                log.warning("reconcile put off", reason=str(error))
            await asyncio.sleep(RECONCILE_S)

    async def _clear_orphans(self) -> None:
        found = [session_id for session_id in await self._parts.premises.driver.list() if session_id not in self._held]
        if not found:
            return
        async with self._left_to_us(found):
            nobodys, adopted = await self._parts.holds.orphans(found, held=set(self._held))
            for session_id in [*nobodys, *(hold.session_id for hold in adopted)]:
                log.info("sandbox without an owner removed", session_id=str(session_id))
                await self._parts.premises.driver.reap(session_id)
            await self._parts.holds.release([hold.session_id for hold in adopted])

    @asynccontextmanager
    async def _left_to_us(self, session_ids: Collection[SessionId]) -> AsyncGenerator[None]:
        """Keep our own claims away from sessions whose sandboxes are being removed."""
        self._clearing |= set(session_ids)
        try:
            yield
        finally:
            self._clearing -= set(session_ids)

    # ── the end ───────────────────────────────────────────────────────────────────────────────────────
    async def _drain(self) -> None:
        for session in self._held.values():
            session.drain()
        tasks = list(self._tasks.values())
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=self._drain_timeout_s)
            await _ended(late)
        with contextlib.suppress(Unavailable):  # then the lock says that we are gone
            await self._parts.holds.release(list(await self._parts.holds.standing()))
        log.info("drained", sessions=len(tasks))


async def _named(subscription: Subscription, wait_s: float) -> set[SessionId]:
    """The sessions of the next notice and of all that are there with it."""
    named: set[SessionId] = set()
    while isinstance(notice := await subscription.get(wait_s if not named else 0.0), WorkNotice):
        named.add(SessionId(notice.session_id))
    return named


async def _ended(tasks: Collection[asyncio.Task[Any]]) -> None:
    running = [task for task in tasks if not task.done()]
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
