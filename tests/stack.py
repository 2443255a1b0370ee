"""Real processes on a home and a database of their own: what end-to-end and fault tests run against.

Processes are started as ``raworc up`` starts them (same programs, same inherited listeners), but by the test, which
can kill, stop and start each, and out of the worker's nursery. The port stays open across a server's restart, as it
does there.
"""

import json
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec

from nursery import Process, nursery
from raworc.client import Raworc
from raworc.settings import DEFAULT_PASSWORD, Settings, child_environ
from raworc.supervisor.home import prepare_home
from raworc.supervisor.listeners import Listeners, open_listeners
from raworc.supervisor.processes import GO, Launch

KINDS = ("server", "operator", "recorder")
_START_S = 60.0
_STOP_S = 60.0
_TAIL_BYTES = 20_000


class Stack:
    """One installation. ``url`` is its address; processes go by name, the first of each kind by its kind."""

    def __init__(self, settings: Settings) -> None:
        prepare_home(settings)
        self._listeners: Listeners = open_listeners(replace(settings, port=0))
        self.settings = replace(settings, port=int(self._listeners.public.getsockname()[1]))
        self.url = self._listeners.address
        self._processes: dict[str, Process] = {}
        self._clients: list[Raworc] = []

    def start(self, *names: str, program: Sequence[str] | None = None) -> None:
        """Start processes and return when they serve.

        A name is a kind, or a kind with a suffix (``operator-2``). ``program`` replaces what is run:
        arguments for Python, to which the launch is added.
        """
        waiting = {name: self._spawn(name, program) for name in names}
        for name, reading in waiting.items():
            self._wait_report(name, reading)

    def kill(self, name: str) -> None:
        """SIGKILL; returns when it is gone."""
        self._processes[name].kill()
        self._processes.pop(name).wait()

    def stop(self, name: str) -> int:
        """SIGTERM; returns its exit status when it has drained."""
        process = self._processes[name]
        process.terminate()
        try:
            status = process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"'{name}' did not stop:\n{self.logs(name)}") from None
        del self._processes[name]
        return status

    def restart(self, name: str) -> None:
        """Kill it if it runs, start it again."""
        if name in self._processes:
            self.kill(name)
        self.start(name)

    def pid(self, name: str) -> int:
        """The process' pid."""
        return self._processes[name].pid

    def runs(self, name: str) -> bool:
        """Whether it is there."""
        return name in self._processes and self._processes[name].poll() is None

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send any signal, SIGSTOP for example."""
        self._processes[name].send_signal(number)

    def logs(self, name: str | None = None) -> str:
        """The last of what a process (or each) logged."""
        paths = sorted(self.settings.logs_dir.glob("*.log")) if name is None else [self._log(name)]
        return "\n".join(f"── {path.name}\n{_tail(path)}" for path in paths if path.exists())

    def client(self, name: str = "admin", password: str = DEFAULT_PASSWORD) -> Raworc:
        """A client of its own that is logged in; closed with the stack."""
        client = Raworc(self.url)
        self._clients.append(client)
        client.login(name, password)
        return client

    def close(self) -> None:
        """Stop what runs, all of it at once: nobody works any more."""
        for client in self._clients:
            client.close()
        for process in self._processes.values():
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for name in list(self._processes):
            self.stop(name)
        self._listeners.close()

    def _spawn(self, name: str, program: Sequence[str] | None) -> int:
        kind = name.partition("-")[0]
        listeners = self._listeners.descriptors if kind == "server" else ()
        (gate_end, gate), (reading, writing) = os.pipe(), os.pipe()
        os.write(gate, GO)
        launch = Launch(name, nursery().pid, gate_end, writing, listeners or None)
        arguments = [*(program or ["-m", "raworc.supervisor.child", kind]), msgspec.json.encode(launch).decode()]
        with self._log(name).open("ab") as log:
            fds = (gate_end, writing, *listeners)
            self._processes[name] = nursery().start(
                arguments, env=child_environ(self.settings), output=log, pass_fds=fds
            )
        for descriptor in (gate_end, gate, writing):
            os.close(descriptor)
        return reading

    def _wait_report(self, name: str, reading: int) -> None:
        ends = time.monotonic() + _START_S
        line = b""
        with os.fdopen(reading, "rb", buffering=0) as pipe, selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            while not line.endswith(b"\n"):
                assert selector.select(max(0, ends - time.monotonic())), f"'{name}' did not start:\n{self.logs(name)}"
                piece = pipe.read(65_536)
                assert piece, f"'{name}' ended while it started:\n{self.logs(name)}"
                line += piece
        refusal = json.loads(line).get("refusal")
        assert refusal is None, f"'{name}' refused to start: {refusal}\n{self.logs(name)}"

    def _log(self, name: str) -> Path:
        return self.settings.logs_dir / f"{name}.log"


def _tail(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        return file.read().decode(errors="replace")
