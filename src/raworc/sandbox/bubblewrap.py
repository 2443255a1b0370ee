"""The default driver: one bubblewrap sandbox per session on this node."""

import asyncio
import os
import stat
import threading
import uuid
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from raworc.domain.storage import Watermarks
from raworc.ids import SessionId
from raworc.sandbox import copies, host, trees
from raworc.sandbox.bubble import Bubble, Surroundings
from raworc.sandbox.driver import (
    Files,
    PolicyNotSupported,
    SandboxError,
    SandboxSpec,
    SandboxStartFailed,
    Workspace,
)
from raworc.sandbox.ends import emptied
from raworc.sandbox.files import session_uid, workspace_files, workspace_path
from raworc.sandbox.lives import Life, Lives
from raworc.sandbox.spawner import Spawned, Spawner
from raworc.sandbox.spawner_process import Order
from raworc.settings import Settings

_WORKSPACE_MODE: Final = 0o700
_SESSIONS_MODE: Final = 0o711
_EMPTY_TIMEOUT_S: Final = 30.0
_COPIES_AT_ONCE: Final = 2  # they share the disk, and threads that others need too

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Places:
    """Where things lie on this node; ``uid_base`` plus a workspace's number is its host user when we are root.

    ``reserve_bytes`` of the disk are not for sandboxes: with less than that free, none may grow.
    """

    run_dir: Path
    sessions_dir: Path
    gateway_socket: Path
    uid_base: int
    reserve_bytes: int = 0

    @classmethod
    def of(cls, settings: Settings) -> "Places":
        """Where this installation has them."""
        reserve = Watermarks.of_mb(settings.disk_free_mb).growth_bytes
        return cls(settings.run_dir, settings.sessions_dir, settings.gateway_socket, settings.uid_base, reserve)


class BubblewrapDriver:
    """``Driver`` of the contract. One per operator, with the operator's spawner."""

    def __init__(self, places: Places, spawner: Spawner, door_key: bytes) -> None:
        self._places = places
        self._spawner = spawner
        self._door_key = door_key
        self._lives = Lives(places.run_dir / "sandboxes")
        self._can_isolate = False
        self._copies = asyncio.Semaphore(_COPIES_AT_ONCE)

    async def open(self, spec: SandboxSpec) -> Bubble:
        """Bring one up, its door included, and return when it can run commands."""
        return await self._open(spec, filtered=True)

    async def open_unfiltered(self, spec: SandboxSpec) -> Bubble:
        """Without the system call filter: only to show that the escape probes notice. Never for an agent."""
        return await self._open(spec, filtered=False)

    async def list(self) -> list[SessionId]:
        """Sessions that have a sandbox on this node, dead operators' ones included."""
        return await asyncio.to_thread(lambda: list(self._lives.sessions()))

    async def reap(self, session_id: SessionId) -> None:
        """Kill whatever is left of a session's sandbox and return when it is empty."""
        life = self._lives.find(session_id)
        if life is None:
            return
        await self._emptied(life, may_kill=lambda: True)
        self._lives.forget(session_id, life.sandbox_id)

    async def copy_workspace(
        self, source: Workspace, target: Workspace, *, leave_out: Collection[str] = (), max_bytes: int | None = None
    ) -> None:
        """Copy files (never following links) into a workspace that does not exist yet; all or nothing."""
        before, after = (workspace_path(self._places.sessions_dir, workspace) for workspace in (source, target))
        uid, wish = session_uid(self._places.uid_base, target), threading.Event()
        rules = copies.CopyRules(frozenset(leave_out), max_bytes or trees.UNMEASURABLE, wish.is_set)
        async with self._copies:
            copying = asyncio.ensure_future(asyncio.to_thread(copies.copy, before, after, uid, rules))
            try:
                await asyncio.shield(copying)
            except asyncio.CancelledError:
                wish.set()
                await asyncio.gather(copying, return_exceptions=True)  # gone before anybody removes or copies again
                raise
            except OSError as error:
                raise SandboxError(f"the files could not be copied ({error.strerror})") from error

    async def remove(self, workspace: Workspace) -> None:
        """Delete a workspace for good; half of a removal that was cut short is finished too."""
        await asyncio.to_thread(_remove, self._places.sessions_dir, str(workspace.session_id))

    def files(self, workspace: Workspace) -> Files:
        """The files of a workspace, from any process of the node."""
        return workspace_files(self._places.sessions_dir, self._places.uid_base)(workspace)

    async def _open(self, spec: SandboxSpec, *, filtered: bool) -> Bubble:
        if spec.network != "none":
            raise PolicyNotSupported("network policy not supported by this driver")
        await self._require_isolation()
        workspace = workspace_path(self._places.sessions_dir, spec.workspace)
        uid = session_uid(self._places.uid_base, spec.workspace)
        await asyncio.to_thread(_make_workspace, workspace, uid)
        await self._until_former_is_empty(spec.workspace.session_id)
        order = Order(
            session=str(spec.workspace.session_id),
            sandbox_id=uuid.uuid4().hex,
            workspace=str(workspace),
            uid=uid,
            limits=spec.limits,
            filtered=filtered,
            folders={name: str(folder) for name, folder in spec.folders.items()},
            egress=spec.reach is not None,
        )
        spawned = await self._spawner.spawn(order)
        gateway, reserve = self._places.gateway_socket, self._places.reserve_bytes
        around = Surroundings(workspace, gateway, self._door_key, self._lives, reserve)
        return await _opened(spec, spawned, around)

    async def _require_isolation(self) -> None:
        if not self._can_isolate:
            await asyncio.to_thread(host.require)
            await asyncio.to_thread(self._lives.create_folder)
            self._can_isolate = True

    async def _until_former_is_empty(self, session_id: SessionId) -> None:
        """Never two sandboxes on one workspace. The former is killed only if nobody else holds it."""
        life = self._lives.find(session_id)
        if life is not None:
            ours = life.holder.pid == self._spawner.pid
            await self._emptied(life, may_kill=lambda: ours or life.holder.is_gone)

    async def _emptied(self, life: Life, may_kill: Callable[[], bool]) -> None:
        if not await emptied(life, may_kill=may_kill, timeout_s=_EMPTY_TIMEOUT_S):
            raise SandboxStartFailed(
                f"An older sandbox of the session still runs (process {life.init.pid}, held by {life.holder.pid})"
            )


async def _opened(spec: SandboxSpec, spawned: Spawned, around: Surroundings) -> Bubble:
    bubble = await Bubble.opened(spec, spawned, around)
    log.info("sandbox opened", sandbox_id=bubble.sandbox_id, session_id=str(spec.workspace.session_id))
    return bubble


def _make_workspace(path: Path, uid: int | None) -> None:
    """Create it when absent, owned by the session's user before it has its name."""
    path.parent.mkdir(mode=_SESSIONS_MODE, parents=True, exist_ok=True)
    if not path.exists():
        draft = path.with_name(f".new-{path.name}")
        draft.mkdir(mode=_WORKSPACE_MODE, exist_ok=True)
        if uid is not None:
            os.chown(draft, uid, uid)
        draft.rename(path)
    found = path.stat()
    if found.st_uid != (os.geteuid() if uid is None else uid):
        raise SandboxStartFailed(
            f"The workspace '{path}' belongs to user {found.st_uid}, not to the session's user {uid}"
        )
    if stat.S_IMODE(found.st_mode) != _WORKSPACE_MODE:  # an agent can lock itself out
        path.chmod(_WORKSPACE_MODE)


def _remove(sessions_dir: Path, name: str) -> None:
    """Out of sight first, so that a crash never leaves half a workspace under its name."""
    for leftover in (f".removed-{name}", f".copy-{name}", f".new-{name}"):
        trees.remove(sessions_dir, leftover)
    if (sessions_dir / name).exists():
        (sessions_dir / name).rename(sessions_dir / f".removed-{name}")
        trees.remove(sessions_dir, f".removed-{name}")
