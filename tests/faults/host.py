"""What runs on this host, read from /proc: the only way to see a sandbox without asking the product."""

import os
import signal
import time
from pathlib import Path

_PROC = Path("/proc")
_POLL_S = 0.02


def running(words: str) -> list[int]:
    """Host pids of processes whose arguments contain ``words``, our own excepted."""
    return [pid for pid in _pids() if pid != os.getpid() and words in _arguments(pid)]


def wait_running(words: str, *, deadline_s: float = 10) -> int:
    """The pid of the first such process, as soon as there is one."""
    ends = time.monotonic() + deadline_s
    while not (found := running(words)):
        assert time.monotonic() < ends, f"'{words}' never ran"
        time.sleep(_POLL_S)
    return found[0]


def wait_gone(words: str, *, deadline_s: float = 10) -> None:
    """Return when no such process is left."""
    ends = time.monotonic() + deadline_s
    while found := running(words):
        assert time.monotonic() < ends, f"'{words}' still runs as {found}"
        time.sleep(_POLL_S)


def kill_sandbox_of(pid: int) -> None:
    """Kill pid 1 of the pid namespace that ``pid`` lives in: the kernel takes everything else with it."""
    namespace = _namespace(pid)
    assert namespace != _namespace(os.getpid()), f"{pid} runs in no sandbox"
    first = [other for other in _pids() if _namespace(other) == namespace and _innermost_pid(other) == 1]
    assert len(first) == 1
    os.kill(first[0], signal.SIGKILL)


def children(pid: int) -> list[int]:
    """Host pids of the direct children of ``pid``."""
    return [other for other in _pids() if _field(other, "PPid") == str(pid)]


def memory_mb(pid: int) -> float:
    """What a process keeps in memory; pages of files not counted, which come in by being looked at."""
    return int(_field(pid, "RssAnon").split()[0]) / 1024


def _pids() -> list[int]:
    return [int(entry) for entry in os.listdir(_PROC) if entry.isdigit()]  # noqa: PTH208  names, many times a second


def _arguments(pid: int) -> str:
    return _read(pid, "cmdline").replace("\0", " ")


def _innermost_pid(pid: int) -> int:
    return int(_field(pid, "NSpid").split()[-1])


def _field(pid: int, name: str) -> str:
    for line in _read(pid, "status").splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return value.strip()
    return ""


def _namespace(pid: int) -> str:
    try:
        return str((_PROC / str(pid) / "ns" / "pid").readlink())
    except OSError:  # it ended meanwhile
        return ""


def _read(pid: int, file: str) -> str:
    try:
        return (_PROC / str(pid) / file).read_text(errors="replace")
    except OSError:  # it ended meanwhile
        return ""
