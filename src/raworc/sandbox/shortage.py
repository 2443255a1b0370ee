"""What a command ran short of, told by the counters of its sandbox's control group; without one nothing is known."""

import time
from dataclasses import replace
from typing import Final

from raworc.sandbox import cgroups
from raworc.sandbox.cgroups import Group
from raworc.sandbox.driver import Exit, Limits

_LOOK_EVERY_S: Final = 0.1


class Shortage:
    """One command's, from its start to its exit. Others of the sandbox may have caused what is counted."""

    def __init__(self, group: Group | None, limits: Limits) -> None:
        self._group = group
        self._limits = limits
        self._kills = cgroups.oom_kills(group)
        self._was_crowded = cgroups.most_processes(group) >= limits.pids
        self._is_crowded = False
        self._look_at = 0.0

    def look(self) -> None:
        """While it runs, as often as it says something: whether there may be no more processes."""
        if self._is_crowded or (now := time.monotonic()) < self._look_at:
            return
        self._look_at = now + _LOOK_EVERY_S
        self._is_crowded = cgroups.processes_now(self._group) >= self._limits.pids

    def explained(self, done: Exit) -> Exit:
        """Its exit with what it met, unless it ended well: then it did not matter."""
        if done.reason not in ("exited", "timeout") or (done.reason == "exited" and done.code == 0):
            return done
        if done.reason == "exited" and cgroups.oom_kills(self._group) > self._kills:
            return replace(done, reason="memory", met=f"out of memory: the limit is {self._limits.memory_mb} MB")
        self._look_at = 0.0
        self.look()
        if self._is_crowded or (not self._was_crowded and cgroups.most_processes(self._group) >= self._limits.pids):
            return replace(done, met=f"out of processes: the limit is {self._limits.pids}")
        return done
