"""What the three kinds of processes have in common, run alone or as children of ``raworc up``.

A process prepares (blocking, before there is an event loop or a thread), says that it serves, works until it is
told to stop, and drains. A second signal ends it at once.
"""

import asyncio
import ctypes
import os
import resource
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
import structlog
import uvloop

from raworc.errors import BadRequest, RaworcError
from raworc.logs import configure
from raworc.settings import ServiceSettings, Settings, read_service_settings, read_settings
from raworc.supervisor.database import brought_up_to_date
from raworc.supervisor.home import prepare_home
from raworc.supervisor.listeners import Listeners
from raworc.supervisor.processes import GO, Launch, Report
from raworc.supervisor.service import Service

_PR_SET_PDEATHSIG: Final = 1

log = structlog.get_logger(__name__)


class Lifetime:
    """One process as its work sees it. ``stopping`` is set when it should drain and end."""

    def __init__(self, name: str, launch: Launch | None) -> None:
        self.name = name
        self._launch = launch
        self.service = Service(read_service_settings() if launch is None else ServiceSettings())
        self.stopping = asyncio.Event()

    @property
    def listeners(self) -> Listeners | None:
        """What a parent opened for it; None: it opens its own."""
        inherited = self._launch.listeners if self._launch else None
        return Listeners.inherited(inherited) if inherited else None

    def serving(self, facts: dict[str, str]) -> None:
        """Say, once, that it does its work now; ``facts`` are worth showing to a person."""
        log.info("serving", **facts)
        if self._launch:
            _answer(self._launch, Report(facts=facts))
        self.service.ready("Serving")


Work = Callable[[Lifetime], Awaitable[None]]
Prepare = Callable[[Settings], Work]


def run_alone(settings: Settings, name: str, prepare: Prepare) -> None:
    """One process in the foreground, on a Postgres that is configured. Returns when it was told to stop.

    Raises:
        RaworcError: it cannot start; the message says why.
    """
    if settings.database_url is None:
        raise BadRequest(f"'raworc {name}' alone needs 'RAWORC_DATABASE_URL'; 'raworc up' brings a Postgres of its own")
    prepare_home(settings)
    configure(settings, process=name, file=None)
    asyncio.run(brought_up_to_date(settings))
    _run(prepare(settings), name, None)


def run_child(prepare: Prepare) -> None:
    """The process that ``raworc up`` started with a :class:`Launch` on its command line. Does not return."""
    launch = msgspec.json.decode(sys.argv[-1], type=Launch)
    _die_with(launch.parent)
    with os.fdopen(launch.gate_fd, "rb", buffering=0) as gate:
        if gate.read(len(GO)) != GO:
            sys.exit(0)
    try:
        settings = read_settings()
        configure(settings, process=launch.name, file=settings.logs_dir / f"{launch.name}.log")
        _run(prepare(settings), launch.name, launch)
    except RaworcError as error:
        log.error("refused to start", reason=error.message)  # noqa: TRY400  the message says it all
        _answer(launch, Report(refusal=error.message))
        sys.exit(1)
    sys.exit(0)


def _run(work: Work, name: str, launch: Launch | None) -> None:
    _allow_open_files()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_until_stopped(work, name, launch))


def _allow_open_files() -> None:
    """As many as the host lets us: an awake sandbox takes four, and the usual soft limit of 1,024 is for select()."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def _until_stopped(work: Work, name: str, launch: Launch | None) -> None:
    lifetime = Lifetime(name, launch)
    working = asyncio.ensure_future(work(lifetime))
    loop = asyncio.get_running_loop()

    def stop() -> None:
        if lifetime.stopping.is_set():
            working.cancel()
        lifetime.stopping.set()
        lifetime.service.stopping()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    await asyncio.wait([working])
    lifetime.service.ended()
    if not working.cancelled():
        working.result()
    log.info("stopped")


def _answer(launch: Launch, report: Report) -> None:
    try:
        os.write(launch.report_fd, msgspec.json.encode(report) + b"\n")
        os.close(launch.report_fd)
    except OSError:
        log.info("nobody waits for the report")


def _die_with(parent: int) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before we could ask
        sys.exit(1)
