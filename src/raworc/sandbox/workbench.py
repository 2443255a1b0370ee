"""Where a stranger's repository is made into something that runs: a sandbox of its own, and what is kept of it.

Files come in before anything of the stranger's runs, and are taken out when nothing of it runs any more.
"""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeVar

from raworc.sandbox import copies, trees
from raworc.sandbox.bubble import Bubble
from raworc.sandbox.bubblewrap import BubblewrapDriver, Places
from raworc.sandbox.copies import CopyRules
from raworc.sandbox.driver import Files, SandboxError, SandboxSpec
from raworc.sandbox.files import session_uid, workspace_path
from raworc.sandbox.results import Kept, Results
from raworc.sandbox.spawner import Spawner

_WORK: Final = "work"
_MEBIBYTE: Final = 1_048_576
T = TypeVar("T")


class Bench:
    """One sandbox, until :meth:`close`; its files, until the block of :meth:`Workbench.opened` ends."""

    def __init__(self, sandbox: Bubble, files: Files, folder: Path, spec: SandboxSpec, uid: int | None) -> None:
        self.sandbox = sandbox
        self.files = files
        self._folder = folder
        self._uid = uid
        self._max_bytes = spec.limits.disk_mb * _MEBIBYTE

    async def bring(self, source: Path, name: str) -> None:
        """Copy a folder of the host's to ``/agent/<name>``. Only before anything runs inside.

        Raises:
            SandboxError: it is too large or too deep, or what the disk says.
        """
        await self._copied(lambda rules: copies.copy(source, self._folder / name, self._uid, rules), ())

    async def close(self) -> None:
        """End the sandbox; its files stay for now."""
        await self.sandbox.close()

    async def keep(self, name: str, results: Results, leave_out: Collection[str]) -> Kept:
        """Keep what lies in ``/agent/<name>``. Only after :meth:`close`.

        Raises:
            Unkeepable: a link leads out of it, or there are too many files.
            SandboxError: it is too large or too deep, or what the disk says.
        """
        return await self._copied(lambda rules: results.keep(self._folder / name, rules), leave_out)

    async def _copied(self, work: Callable[[CopyRules], T], leave_out: Collection[str]) -> T:
        wish = threading.Event()
        rules = CopyRules(frozenset(leave_out), self._max_bytes, wish.is_set, durable=False)
        copying = asyncio.ensure_future(asyncio.to_thread(work, rules))
        try:
            return await asyncio.shield(copying)
        except asyncio.CancelledError:
            wish.set()
            (done,) = await asyncio.gather(copying, return_exceptions=True)  # gone before its files are removed
            if isinstance(done, Kept):
                done.close()
            raise
        except OSError as error:
            raise SandboxError(f"the files could not be copied ({error.strerror})") from error


@dataclass(frozen=True)
class Leftovers:
    """Names of workspaces (ids of builds, perhaps behind a word of ours), and of results."""

    workspaces: list[str]
    results: list[str]

    def without(self, running: Collection[str], used: Collection[str]) -> "Leftovers":
        """What is left when builds that are running and results that are used are not counted."""
        workspaces = [name for name in self.workspaces if not name.endswith(tuple(running))]
        return Leftovers(workspaces, [name for name in self.results if name not in used])


class Workbench:
    """Opens benches, each on a workspace that nobody else has."""

    def __init__(self, places: Places, spawner: Spawner, door_key: bytes, builds_dir: Path) -> None:
        self._places = replace(places, sessions_dir=builds_dir / _WORK)
        self._driver = BubblewrapDriver(self._places, spawner, door_key)
        self.results = Results(builds_dir)

    @asynccontextmanager
    async def opened(self, spec: SandboxSpec) -> AsyncGenerator[Bench]:
        """A bench; afterwards nothing of it is left. What an operator that died left of it goes first.

        Raises:
            SandboxError: none can be had.
        """
        workspace, driver = spec.workspace, self._driver
        await driver.reap(workspace.session_id)
        await driver.remove(workspace)
        sandbox = await driver.open(spec)
        try:
            folder = workspace_path(self._places.sessions_dir, workspace)
            uid = session_uid(self._places.uid_base, workspace)
            yield Bench(sandbox, driver.files(workspace), folder, spec, uid)
        finally:
            await sandbox.close()
            await driver.remove(workspace)

    async def leftovers(self) -> Leftovers:
        """All that is here now, needed or not. Look first, ask then what is needed, and remove the rest."""
        return await asyncio.to_thread(self._leftovers)

    async def remove(self, found: Leftovers, age_s: float) -> list[str]:
        """Remove what nobody needs; results only when they are unused and ``age_s`` old. Their digests."""
        return await asyncio.to_thread(self._remove, found, age_s)

    def _leftovers(self) -> Leftovers:
        work = self._places.sessions_dir
        return Leftovers([entry.name for entry in work.iterdir()] if work.is_dir() else [], self.results.names())

    def _remove(self, found: Leftovers, age_s: float) -> list[str]:
        for name in found.workspaces:
            trees.remove(self._places.sessions_dir, name)
        return self.results.sweep(found.results, age_s)
