"""An operator process: holds sessions, runs their turns, drives their sandboxes."""

from collections.abc import Awaitable

from raworc.sandbox.spawner import Spawner
from raworc.settings import Settings
from raworc.supervisor.entry import Lifetime, Work, run_alone, run_child
from raworc.wiring.operator import operator_parts, spawning


def run_operator(settings: Settings) -> None:
    """One operator in the foreground."""
    run_alone(settings, "operator", _prepare)


def child() -> None:
    """The process that ``raworc up`` started."""
    run_child(_prepare)


def _prepare(settings: Settings) -> Work:
    spawner = spawning(settings)

    def work(lifetime: Lifetime) -> Awaitable[None]:
        return _operate(settings, spawner, lifetime)

    return work


async def _operate(settings: Settings, spawner: Spawner, lifetime: Lifetime) -> None:
    async with operator_parts(settings, spawner, lifetime.name) as parts:
        lifetime.serving(parts.facts)
        await parts.run(lifetime.stopping)
