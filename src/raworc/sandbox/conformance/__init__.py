"""The suite that every sandbox driver passes: ``CASES``, each an async function that takes a :class:`Bench`.

A test runner gives each case a bench of its own and awaits it; a case that returns has passed, one that raises
:class:`Failure` (or anything else) has not. Nothing here knows how a driver works.
"""

from raworc.sandbox.conformance import commands, files, folders, life, limits, workspaces
from raworc.sandbox.conformance.bench import Bench, Case, Failure

CASES: tuple[Case, ...] = (
    *(*commands.CASES, *limits.CASES, *life.CASES),
    *(*workspaces.CASES, *files.CASES, *folders.CASES),
)

__all__ = ["CASES", "Bench", "Case", "Failure"]
