"""A recorder process: loads what servers spooled into Postgres. One per node."""

from collections.abc import Awaitable

from raworc.settings import Settings
from raworc.supervisor.entry import Lifetime, Work, run_alone, run_child
from raworc.wiring.recorder import recorder_parts


def run_recorder(settings: Settings) -> None:
    """One recorder in the foreground."""
    run_alone(settings, "recorder", _prepare)


def child() -> None:
    """The process that ``raworc up`` started."""
    run_child(_prepare)


def _prepare(settings: Settings) -> Work:
    def work(lifetime: Lifetime) -> Awaitable[None]:
        return _record(settings, lifetime)

    return work


async def _record(settings: Settings, lifetime: Lifetime) -> None:
    async with recorder_parts(settings, lifetime.name) as recorder:
        lifetime.serving({})
        await recorder.run(lifetime.stopping)
