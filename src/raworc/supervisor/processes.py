"""Child processes of ``raworc up``: started with what they inherit, restarted when they die, stopped in order.

A child is told one line of JSON on its command line (:class:`Launch`), loads its program, waits at a gate until
it may use the database, and answers one line on a pipe (:class:`Report`): that it serves, or why it will not. It
dies with us, whatever we die of.
"""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, cast

import msgspec
import structlog

from raworc.errors import Unavailable
from raworc.settings import Settings, child_environ

BACKOFF_S: Final = (0.2, 5.0)
START_TIMEOUT_S: Final = 60.0
GO: Final = b"g"
_STEADY_S: Final = 10.0

log = structlog.get_logger(__name__)


class Launch(msgspec.Struct, frozen=True):
    """What a child is told: its name (also its log file's), who its parent is, and what it inherits.

    It begins its work once it reads ``GO`` from ``gate_fd``; the end of the file instead means that it is not wanted.
    """

    name: str
    parent: int
    gate_fd: int
    report_fd: int
    listeners: tuple[int, int, int] | None = None


class Report(msgspec.Struct, frozen=True):
    """What a child answers once: ``refusal`` is why it ended; ``facts`` are worth showing to a person."""

    refusal: str | None = None
    facts: dict[str, str] = {}


@dataclass(frozen=True)
class Program:
    """One process of a ``kind`` (a module beside this one); ``environ`` is on top of the settings'."""

    name: str
    kind: str
    listeners: tuple[int, int, int] | None = None
    environ: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass
class _Starting:
    """A process that has not reported yet: where its gate and its report are."""

    gate: int
    report: int


class Child:
    """One process that is kept running from ``start`` to ``stop``."""

    def __init__(self, program: Program, settings: Settings) -> None:
        self.name = program.name
        self.facts: dict[str, str] = {}
        self._program = program
        self._settings = settings
        self._process: asyncio.subprocess.Process | None = None
        self._starting: _Starting | None = None
        self._keeping: asyncio.Task[None] | None = None

    async def load(self) -> None:
        """Let it load its program while the database gets ready; it waits for ``start``.

        Raises:
            Unavailable: it cannot be started.
        """
        try:
            self._starting = await self._spawn()
        except OSError as error:
            raise Unavailable(f"'{self.name}' cannot be started: {error.strerror}") from error

    async def start(self) -> None:
        """Return when it serves.

        Raises:
            Unavailable: it refused, or did not come up; the message says why.
        """
        self.facts = (await self._report()).facts
        self._keeping = asyncio.create_task(self._keep(), name=self.name)

    async def run_once(self) -> None:
        """For a process that ends by itself: return when it has. Raises as ``start``."""
        await self._report()
        if self._process is not None:
            await self._process.wait()

    async def stop(self, *, timeout_s: float) -> None:
        """SIGTERM, and SIGKILL after ``timeout_s``; returns when it has ended."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        process = self._process
        if process is None:
            return
        _send(process, signal.SIGKILL if self._starting else signal.SIGTERM)
        self._forget_start()
        try:
            async with asyncio.timeout(timeout_s):
                await process.wait()
        except TimeoutError:
            log.warning("process did not stop in time and is killed", child=self.name)
            _send(process, signal.SIGKILL)
            await process.wait()

    def kill(self) -> None:
        """End it at once; ``stop`` must still be called."""
        if self._process is not None:
            _send(self._process, signal.SIGKILL)

    def _forget_start(self) -> None:
        if self._starting is not None:
            os.close(self._starting.gate)
            os.close(self._starting.report)
            self._starting = None

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
            try:
                await self._report()
            except Unavailable as error:
                log.warning("process did not start", child=self.name, reason=error.message)

    async def _report(self) -> Report:
        if self._starting is None:
            await self.load()
        starting, self._starting = cast("_Starting", self._starting), None
        with os.fdopen(starting.gate, "wb") as gate, contextlib.suppress(BrokenPipeError):
            gate.write(GO)
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                report = await _read_report(starting.report)
        except TimeoutError:
            self.kill()
            raise self._refused(f"did not start within {START_TIMEOUT_S:g} s") from None
        if report is None:
            raise self._refused("ended while it started")
        if report.refusal is not None:
            raise Unavailable(report.refusal)
        return report

    def _refused(self, how: str) -> Unavailable:
        return Unavailable(f"'{self.name}' {how}: see '{self._log_file}'")

    async def _spawn(self) -> _Starting:
        inherited = self._program.listeners
        (gate_end, gate), (report, report_end) = os.pipe(), os.pipe()
        log_file = os.open(self._log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        told = msgspec.json.encode(Launch(self.name, os.getpid(), gate_end, report_end, inherited)).decode()
        try:
            self._process = await asyncio.create_subprocess_exec(
                *[sys.executable, "-m", "raworc.supervisor.child", self._program.kind, told],
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log_file,
                stderr=log_file,
                pass_fds=(gate_end, report_end, *(inherited or ())),
                env={**child_environ(self._settings), **self._program.environ},
                start_new_session=True,  # a Ctrl-C in the terminal is for us: we stop them in order
            )
        except OSError:
            os.close(gate)
            os.close(report)
            raise
        finally:
            for descriptor in (gate_end, report_end, log_file):
                os.close(descriptor)
        return _Starting(gate, report)

    @property
    def _log_file(self) -> str:
        return str(self._settings.logs_dir / f"{self.name}.log")


async def _read_report(descriptor: int) -> Report | None:
    """The line that a process answers; None when it ended without one."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    pipe = os.fdopen(descriptor, "rb")
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
    try:
        line = await reader.readline()
    finally:
        transport.close()
    return msgspec.json.decode(line, type=Report) if line else None


def _send(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    """Past asyncio, whose own way may take the child off the process table before its watcher sees the end."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)
