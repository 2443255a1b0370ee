"""Child processes of ``raworc up``: started with what they inherit, restarted when they die, stopped in order.

A child is told one line of JSON on its command line (:class:`Launch`) and answers one on a pipe
(:class:`Report`): that it serves, or why it will not. It dies with us, whatever we die of.
"""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec
import structlog

from raworc.errors import Unavailable
from raworc.settings import Settings, child_environ

BACKOFF_S: Final = (0.2, 5.0)
START_TIMEOUT_S: Final = 60.0
_STEADY_S: Final = 10.0

log = structlog.get_logger(__name__)


class Launch(msgspec.Struct, frozen=True):
    """What a child is told: its name (also its log file's), who its parent is, and what it inherits."""

    name: str
    parent: int
    report_fd: int
    listeners: tuple[int, int, int] | None = None


class Report(msgspec.Struct, frozen=True):
    """What a child answers once: ``refusal`` is why it ended; ``facts`` are worth showing to a person."""

    refusal: str | None = None
    facts: dict[str, str] = {}


@dataclass(frozen=True)
class Program:
    """A kind of process: ``module`` is run with Python's ``-m``; ``environ`` is on top of the settings'."""

    name: str
    module: str
    listeners: tuple[int, int, int] | None = None
    environ: Mapping[str, str] = field(default_factory=dict[str, str])


class Child:
    """One process that is kept running from ``start`` to ``stop``."""

    def __init__(self, program: Program, settings: Settings) -> None:
        self.name = program.name
        self.facts: dict[str, str] = {}
        self._program = program
        self._settings = settings
        self._process: asyncio.subprocess.Process | None = None
        self._keeping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Return when it serves.

        Raises:
            Unavailable: it refused, or did not come up; the message says why.
        """
        report = await self._launch()
        if report.refusal is not None:
            raise Unavailable(report.refusal)
        self.facts = report.facts
        self._keeping = asyncio.create_task(self._keep(), name=self.name)

    async def run_once(self) -> None:
        """For a process that ends by itself: return when it has. Raises as ``start``."""
        report = await self._launch()
        if self._process is not None:
            await self._process.wait()
        if report.refusal is not None:
            raise Unavailable(report.refusal)

    async def stop(self, *, timeout_s: float) -> None:
        """SIGTERM, and SIGKILL after ``timeout_s``; returns when it has ended."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        process = self._process
        if process is None:
            return
        _send(process, signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), timeout_s)
        except TimeoutError:
            log.warning("process did not stop in time and is killed", child=self.name)
            _send(process, signal.SIGKILL)
            await process.wait()

    def kill(self) -> None:
        """End it at once; ``stop`` must still be called."""
        if self._process is not None:
            _send(self._process, signal.SIGKILL)

    async def _keep(self) -> None:
        delay_s = BACKOFF_S[0]
        since = time.monotonic()
        while True:
            if self._process is not None:
                status = await self._process.wait()
                log.warning("process ended, starting it again", child=self.name, status=status, wait_s=delay_s)
            if time.monotonic() - since > _STEADY_S:
                delay_s = BACKOFF_S[0]
            await asyncio.sleep(delay_s)
            delay_s = min(delay_s * 2, BACKOFF_S[1])
            since = time.monotonic()
            report = await self._launch()
            if report.refusal is not None:
                log.warning("process did not start", child=self.name, reason=report.refusal)

    async def _launch(self) -> Report:
        reading, writing = os.pipe()
        try:
            self._process = await self._spawn(writing)
        except OSError as error:
            os.close(reading)
            return Report(refusal=f"'{self.name}' cannot be started: {error.strerror}")
        finally:
            os.close(writing)
        try:
            return await asyncio.wait_for(_report(reading, self.name, self._log_file), START_TIMEOUT_S)
        except TimeoutError:
            _send(self._process, signal.SIGKILL)
            return Report(refusal=f"'{self.name}' did not start within {START_TIMEOUT_S:g} s: see '{self._log_file}'")

    async def _spawn(self, report_fd: int) -> asyncio.subprocess.Process:
        inherited = self._program.listeners
        launch = Launch(self.name, os.getpid(), report_fd, inherited)
        told = msgspec.json.encode(launch).decode()
        descriptor = os.open(self._log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            return await asyncio.create_subprocess_exec(
                *[sys.executable, "-m", self._program.module, told],
                stdin=asyncio.subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
                pass_fds=(report_fd, *(inherited or ())),
                env={**child_environ(self._settings), **self._program.environ},
                start_new_session=True,  # a Ctrl-C in the terminal is for us: we stop them in order
            )
        finally:
            os.close(descriptor)

    @property
    def _log_file(self) -> str:
        return str(self._settings.logs_dir / f"{self.name}.log")


async def _report(descriptor: int, name: str, log_file: str) -> Report:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    pipe = os.fdopen(descriptor, "rb")
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
    try:
        line = await reader.readline()
    finally:
        transport.close()
    if not line:
        return Report(refusal=f"'{name}' ended while it started: see '{log_file}'")
    return msgspec.json.decode(line, type=Report)


def _send(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    """Past asyncio, whose own way may take the child off the process table before its watcher sees the end."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)
