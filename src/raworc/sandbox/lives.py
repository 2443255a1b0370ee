"""Which sandboxes live on this node, written where every process of the node can read it.

One small file a session, ``<home>/run/sandboxes/<session>``, written before anything runs inside. A life is over
when its pid 1 is gone (with it the kernel has killed the whole pid namespace) and its control group is empty;
nobody may touch the workspace as its new owner before that.
"""

import contextlib
import json
import os
import signal
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from raworc.ids import SessionId
from raworc.sandbox import cgroups
from raworc.sandbox.cgroups import Group

_START_TIME_FIELD: Final = 19
"""Of ``/proc/<pid>/stat``, counted behind the command's closing bracket; clock ticks after boot (proc(5))."""
_STATE_FIELD: Final = 0
_ZOMBIE_STATES: Final = frozenset({"Z", "X", "x"})


@dataclass(frozen=True)
class Process:
    """A process for ever: its pid and when it started, since pids are used again."""

    pid: int
    start_time: int

    @property
    def is_gone(self) -> bool:
        """Ended. A zombie has ended: a pid namespace's init becomes one only after everyone else in it."""
        stat = _stat(self.pid)
        return stat is None or stat[0] in _ZOMBIE_STATES or stat[1] != self.start_time

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, and nobody who has its pid later."""
        with contextlib.suppress(ProcessLookupError):
            descriptor = os.pidfd_open(self.pid)
            try:
                if not self.is_gone:  # looked at through the descriptor's pid: it cannot be another's by now
                    signal.pidfd_send_signal(descriptor, number)
            finally:
                os.close(descriptor)


@dataclass(frozen=True)
class Life:
    """One sandbox: pid 1's host process, its holder (the spawner), its control group."""

    sandbox_id: str
    init: Process
    holder: Process
    group: Group | None
    boot: str

    @property
    def is_empty(self) -> bool:
        """Nothing of it runs any more."""
        if self.boot != boot():
            return True
        return self.init.is_gone and (self.group is None or not cgroups.processes(self.group))

    def kill(self) -> None:
        """SIGKILL all of it; the caller waits for :attr:`is_empty` and calls again while it is not."""
        if self.boot != boot():
            return
        self.init.send(signal.SIGKILL)
        if self.group is not None:
            cgroups.kill(self.group)


def boot() -> str:
    """This run of the kernel; pids and start times mean something within it only."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def process(pid: int) -> Process:
    """The process that has ``pid`` now.

    Raises:
        ProcessLookupError: nobody has it.
    """
    stat = _stat(pid)
    if stat is None:
        raise ProcessLookupError(f"no process has pid {pid}")
    return Process(pid, stat[1])


def state(pid: int) -> str | None:
    """What it does, in the letter of proc(5); None when nobody has ``pid``."""
    stat = _stat(pid)
    return stat[0] if stat else None


class Lives:
    """The folder of life files. Blocking, but small."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def create_folder(self) -> None:
        """Make it (0700) when absent."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def record(self, session_id: SessionId, life: Life) -> None:
        """Write a life down, replacing the session's former one."""
        draft = self._folder / f".{session_id}.{os.getpid()}"
        draft.write_text(json.dumps(asdict(life)), encoding="utf-8")
        draft.replace(self._folder / str(session_id))

    def find(self, session_id: SessionId) -> Life | None:
        """The last life recorded for a session, if any; it may be over.

        A record that cannot be read was torn by a crash of the machine, which no sandbox survives.
        """
        try:
            return life_from(json.loads((self._folder / str(session_id)).read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def forget(self, session_id: SessionId, sandbox_id: str) -> None:
        """Remove the record, if it is still this sandbox's."""
        life = self.find(session_id)
        if life is not None and life.sandbox_id == sandbox_id:
            (self._folder / str(session_id)).unlink(missing_ok=True)

    def sessions(self) -> Iterator[SessionId]:
        """Every session that has a record."""
        for entry in self._folder.iterdir() if self._folder.is_dir() else ():
            with contextlib.suppress(ValueError):
                yield SessionId(uuid.UUID(entry.name))


def life_from(raw: dict[str, Any]) -> Life:
    """A life from its JSON form."""
    group = raw["group"]
    return Life(
        sandbox_id=raw["sandbox_id"],
        init=Process(**raw["init"]),
        holder=Process(**raw["holder"]),
        group=Group(**group) if group else None,
        boot=raw["boot"],
    )


def _stat(pid: int) -> tuple[str, int] | None:
    """State and start time of a process, None when there is none."""
    try:
        raw = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = raw.rpartition(")")[2].split()
    return fields[_STATE_FIELD], int(fields[_START_TIME_FIELD])
