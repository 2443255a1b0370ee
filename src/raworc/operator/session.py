"""One held session: look what it needs, do it, look again, until it is asleep, gone or somebody else's."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import structlog

from raworc.domain.duties import (
    BecomeIdle,
    Cancel,
    Continue,
    Duty,
    EndBusyHold,
    Fill,
    Forget,
    Pause,
    Release,
    Rest,
    Situation,
    Sleep,
    Start,
    Terminate,
    Wake,
    duty,
    stops,
)
from raworc.errors import LostHold, TurnSettled, Unavailable
from raworc.operator.desk import Desk
from raworc.operator.patience import patiently
from raworc.operator.places import Place, Premises
from raworc.operator.stop import Stop, Stopped
from raworc.operator.turn import Turn
from raworc.sandbox.driver import SandboxError, SandboxUnavailable
from raworc.services.holds import Hold, Holds
from raworc.services.runs import Runs
from raworc.services.steps import Outcome

_LOOK_AGAIN_S: Final = 1.0
_LOST: Final = "The session was paused, and the worker that kept its memory stopped: its files are as they were"
_CANNOT: Final = "The session cannot be paused on this host, so it sleeps: {reason}"

log = structlog.get_logger()
_T = TypeVar("_T")


@dataclass(frozen=True)
class Parts:
    """What held sessions are worked with."""

    holds: Holds
    runs: Runs
    desk: Desk
    premises: Premises


class HeldSession:
    """The work on one session for as long as this operator holds it.

    It ends by itself, or by being cancelled: either way its sandbox is closed then. The hold is given back
    unless the session was let go in the same transaction as its last change, or lost.
    """

    def __init__(self, parts: Parts, hold: Hold) -> None:
        self.hold = hold
        self._parts = parts
        self._place = Place(parts.premises, hold)
        self._kicked = asyncio.Event()
        self._draining = False
        self.works = False  # on a turn, whatever the table says
        self._told: str | None = None  # the sandbox that the table has

    def kick(self) -> None:
        """Look again: something may have changed."""
        self._kicked.set()

    @property
    def is_kicked(self) -> bool:
        """Whether something may have changed since the last look."""
        return self._kicked.is_set()

    def drain(self) -> None:
        """End at the next step, handing back what runs."""
        self._draining = True
        self._kicked.set()

    async def run(self) -> None:
        """Hold the session. Only what is a mistake of ours is raised."""
        try:
            await self._place.clear()
            while not self._draining:
                self._kicked.clear()
                situation = await patiently(lambda: self._parts.holds.look(self.hold))
                await self._unfreeze(situation)
                if not await self._do(duty(situation)):
                    return
            await self._place.close()
            await self._release()
        except LostHold:
            log.warning("hold lost", session_id=str(self.hold.session_id), epoch=self.hold.epoch)
        finally:
            await self._place.close()

    async def _do(self, what: Duty) -> bool:
        """One duty; False when the session is let go."""
        if isinstance(what, Terminate | Sleep | Forget | Release):
            return not await self._let_go(what)
        if isinstance(what, Pause):
            return await self._pause()
        try:
            match what:
                case Fill():
                    await self._fill()
                case Wake():
                    await self._wake()
                case Start() | Continue():
                    await self._work(what)
                case _:
                    await self._adjust(what)
        except SandboxError as error:
            log.warning("no sandbox", session_id=str(self.hold.session_id), reason=str(error))
            return not await self._give_up(error)
        return True

    async def _let_go(self, what: Terminate | Sleep | Forget | Release) -> bool:
        """Whether it was done, and not overtaken by another wish."""
        runs = self._parts.runs
        match what:
            case Terminate():
                await self._place.remove()
                done = await patiently(lambda: runs.remove(self.hold))
            case Sleep():
                await self._place.close()
                done = await patiently(lambda: runs.end(self.hold, what))
            case Forget():
                await self._place.close()
                done = await patiently(lambda: runs.forget(self.hold, _LOST))
            case Release():
                await self._place.close()
                await self._release()
                done = True
        log.info("session let go", session_id=str(self.hold.session_id), why=type(what).__name__, done=done)
        return done

    async def _pause(self) -> bool:
        """Whether the session is kept: where it cannot be frozen it sleeps."""
        try:
            await self._place.freeze()
        except SandboxError as error:
            await self._place.close()
            reason = _CANNOT.format(reason=error)
            return not await patiently(lambda: self._parts.runs.forget(self.hold, reason))
        await patiently(lambda: self._parts.runs.pause(self.hold))
        return True

    async def _unfreeze(self, found: Situation) -> None:
        if self._place.is_frozen and found.timers.state != "paused":
            await self._place.thaw()
            await patiently(lambda: self._parts.runs.go_on(self.hold))

    async def _adjust(self, what: Duty) -> None:
        runs, steps = self._parts.runs, self._parts.desk.steps
        match what:
            case Cancel(turn_id, reason):
                try:
                    await patiently(lambda: steps.settle(self.hold, turn_id, Outcome.cancelled(reason)))
                except TurnSettled:
                    return
            case EndBusyHold():
                await patiently(lambda: runs.end_busy_hold(self.hold))
            case BecomeIdle():
                await patiently(lambda: runs.become_idle(self.hold))
            case _:
                if not self._place.is_frozen:  # who is frozen does not end when asked
                    await patiently(self._place.keep_deployed)
                await self._kicked.wait()

    async def _fill(self) -> None:
        runs, stop = self._parts.runs, Stop()
        source, agent = await patiently(lambda: runs.source(self.hold)), await patiently(lambda: runs.brief(self.hold))
        if source is None or agent is None:
            return
        copying = stop.race(self._place.fill(source, agent))
        done = await self._watched(copying, stop, lambda what: what != Fill())
        if done:
            await patiently(lambda: runs.filled(self.hold))

    async def _wake(self) -> None:
        agent = await patiently(lambda: self._parts.runs.brief(self.hold))
        if agent is None:
            raise SandboxUnavailable("its agent is gone")
        await self._place.close()  # each wake has a fresh one
        stop = Stop()
        remarks = await self._watched(self._place.ready(agent, stop), stop, lambda what: what != Wake())
        if remarks is not None:
            self._told = life = self._place.around.sandbox.sandbox_id
            await patiently(lambda: self._parts.runs.begin(self.hold, life, remarks))

    async def _work(self, what: Start | Continue) -> None:
        stop = Stop()
        turn = Turn(self._parts.desk, self.hold, self._place, stop, lambda: self._draining)
        job = turn.take(what.turn_id) if isinstance(what, Start) else turn.resume(what.turn_id)
        self.works = True
        try:
            await self._watched(job, stop, lambda found: stops(found, what.turn_id))
        finally:
            self.works = False
        life = self._place.sandbox_id
        if life is not None and life != self._told:
            self._told = life
            await patiently(lambda: self._parts.runs.reopened(self.hold, life))

    async def _watched(self, job: Coroutine[Any, Any, _T], stop: Stop, ends: Callable[[Duty], bool]) -> _T | None:
        """What ``job`` returns, while every kick is looked into; None when it had to stop or its turn was settled."""
        task = asyncio.ensure_future(job)
        try:
            while not task.done():
                kick = asyncio.ensure_future(self._kicked.wait())
                try:
                    await asyncio.wait({task, kick}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    kick.cancel()
                if self._kicked.is_set() and not task.done():
                    await self._look_up(stop, ends)
            return task.result()
        except (Stopped, TurnSettled) as error:
            log.info("work ended early", session_id=str(self.hold.session_id), reason=type(error).__name__)
            return None
        finally:
            if not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def _look_up(self, stop: Stop, ends: Callable[[Duty], bool]) -> None:
        self._kicked.clear()
        try:
            situation = await self._parts.holds.look(self.hold)
            if situation.timers.state == "paused" and not self._draining:
                await self._hold_still(stop, duty(situation))
                return
            await self._unfreeze(situation)
            stop.go_on()
            found = duty(situation)
            if isinstance(found, EndBusyHold):
                await self._parts.runs.end_busy_hold(self.hold)
            elif ends(found):
                stop.set()
            stop.stir()
        except Unavailable:
            asyncio.get_running_loop().call_later(_LOOK_AGAIN_S, self.kick)

    async def _hold_still(self, stop: Stop, what: Duty) -> None:
        """The session was paused under its turn, which waits from now on; other wishes end it."""
        if isinstance(what, Pause):
            stop.hold()
            try:
                await self._place.freeze()
                await self._parts.runs.pause(self.hold)
            except SandboxError:
                stop.set()  # and it is tried once more without the turn
        elif not isinstance(what, Rest):
            stop.set()

    async def _give_up(self, error: SandboxError) -> bool:
        await self._place.close()
        return await patiently(lambda: self._parts.runs.fail(self.hold, f"The sandbox cannot be opened: {error}"))

    async def _release(self) -> None:
        await patiently(lambda: self._parts.holds.release([self.hold.session_id]))
