"""An operator process: holds sessions, runs their turns, drives their sandboxes."""

from collections.abc import Awaitable

from raworc.settings import Settings
from raworc.supervisor.entry import Lifetime, Work, run_alone, run_child
from raworc.wiring.operator import Spawning, operator_parts, spawning


def run_operator(settings: Settings) -> None:
    """One operator in the foreground."""
    run_alone(settings, "operator", _prepare)


def _prepare(settings: Settings) -> Work:
    forked = spawning(settings)

    def work(lifetime: Lifetime) -> Awaitable[None]:
        return _operate(settings, forked, lifetime)

    return work


async def _operate(settings: Settings, forked: Spawning, lifetime: Lifetime) -> None:
    async with operator_parts(settings, forked) as parts:
        lifetime.serving(parts.facts)
        await parts.run(lifetime.stopping)


if __name__ == "__main__":
    run_child(_prepare)
