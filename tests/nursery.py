"""Processes of ours that need not load our programs: forked from one that has, which every test worker has of its own.

A process gets what ``subprocess.Popen`` would give it (arguments, environment, working folder, descriptors under the
same numbers, a session of its own), and runs its program as ``__main__``. Its parent is the nursery, which ends when
the tests do.
"""

import fcntl
import functools
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

_LOADED = ("server", "operator", "recorder")
_MOST_BYTES = 1 << 20
_ABOVE = 900
"""Descriptors wait up here until every number that is wanted is free."""


class Process:
    """One of them, with the methods of ``subprocess.Popen`` that tests use."""

    def __init__(self, pid: int, ended: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._ended = ended

    def poll(self) -> int | None:
        """Its exit status if it has ended."""
        return self._status(0)

    def wait(self, timeout_s: float | None = None) -> int:
        """Its exit status once it has ended. Raises TimeoutExpired."""
        status = self._status(timeout_s)
        if status is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout_s or 0)
        return status

    def send_signal(self, number: signal.Signals) -> None:
        """Send it, unless it has ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):  # it has ended since
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def _status(self, timeout_s: float | None) -> int | None:
        if self.returncode is None and select.select([self._ended], [], [], timeout_s)[0]:
            self.returncode = int(os.read(self._ended, 16) or -signal.SIGKILL)  # nothing: the nursery was killed
            os.close(self._ended)
        return self.returncode


@dataclass
class Nursery:
    """The process that has loaded everything. ``pid`` is the parent of all that it starts."""

    pid: int
    _control: socket.socket
    _one: threading.Lock = field(default_factory=threading.Lock)

    def start(
        self, arguments: Sequence[str], *, env: dict[str, str], output: IO[bytes], pass_fds: Sequence[int]
    ) -> Process:
        """Run Python with ``arguments`` (``-m module ...`` or ``file ...``) in a session of its own."""
        told = {"arguments": list(arguments), "env": env, "cwd": str(Path.cwd()), "fds": list(pass_fds)}
        reading, writing = os.pipe()
        with self._one:
            socket.send_fds(self._control, [json.dumps(told).encode()], [writing, output.fileno(), *pass_fds])
            os.close(writing)
            return Process(int(self._control.recv(16)), reading)


@functools.cache
def nursery() -> Nursery:
    """This worker's."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    process = subprocess.Popen([sys.executable, __file__, str(its.fileno())], pass_fds=[its.fileno()])
    its.close()
    return Nursery(process.pid, ours)


def main() -> None:
    """Load, then fork whenever it is asked for; what comes out of here a second time is the new process."""
    gc.disable()
    for kind in _LOADED:
        importlib.import_module(f"raworc.supervisor.{kind}")
    gc.freeze()  # as ``raworc.supervisor.child`` does
    gc.enable()
    assert len(list(Path("/proc/self/task").iterdir())) == 1, "only a process without threads may fork"
    program = _serve(socket.socket(fileno=int(sys.argv[1])))
    if program[0] == "-m":
        sys.argv, sys.path[0] = program[1:], str(Path.cwd())
        runpy.run_module(program[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv, sys.path[0] = program, str(Path(program[0]).parent)
        runpy.run_path(program[0], run_name="__main__")


def _serve(control: socket.socket) -> list[str]:
    """Fork for every message until nobody is left who sends one. Returns in each child, with its arguments."""
    children: dict[int, tuple[int, int]] = {}
    while True:
        for ready in select.select([control.fileno(), *children], [], [])[0]:
            if ready in children:
                _bury(ready, *children.pop(ready))
                continue
            message, fds, _, _ = socket.recv_fds(control, _MOST_BYTES, 64)
            if not message:
                sys.exit(0)
            ended, *given = fds
            pid = os.fork()
            if pid == 0:
                control.detach()
                return _born(json.loads(message), given)
            for descriptor in given:
                os.close(descriptor)
            children[os.pidfd_open(pid)] = (pid, ended)
            control.send(str(pid).encode())


def _bury(handle: int, pid: int, ended: int) -> None:
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.close(handle)
    with suppress(BrokenPipeError):  # whoever started it does not wait for its end
        os.write(ended, str(status).encode())
    os.close(ended)


def _born(told: dict[str, object], given: list[int]) -> list[str]:
    high = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, _ABOVE) for descriptor in given]
    os.closerange(3, _ABOVE)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for descriptor, number in zip([nothing, high[0], high[0], *high[1:]], [0, 1, 2, *told["fds"]], strict=True):
        os.dup2(descriptor, number)
    if nothing not in told["fds"]:
        os.close(nothing)
    os.closerange(_ABOVE, _ABOVE + len(high))
    os.setsid()
    os.chdir(told["cwd"])
    os.environ.clear()
    os.environ.update(told["env"])
    return told["arguments"]


if __name__ == "__main__":
    main()
