"""An awake agent's files, read and written without its sandbox. A sleeping one answers a conflict and is not woken."""

import asyncio
import errno
import tempfile
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import IO, Final, TypeVar

from raworc.domain.access import Verb
from raworc.domain.agents import disk_mb
from raworc.domain.lifecycle import ASLEEP
from raworc.domain.paths import check_path
from raworc.domain.text import storable_text
from raworc.errors import BadRequest, Conflict, NotFound, PayloadTooLarge, StorageFull
from raworc.ids import SessionId
from raworc.sandbox.archive import PIECE_BYTES, empty
from raworc.sandbox.driver import (
    BadPath,
    DirectoryNotEmpty,
    FileEntry,
    FileList,
    Files,
    FileTooLarge,
    NoSuchFile,
    Pieces,
    Workspace,
    WorkspaceFull,
)
from raworc.services import agents, audit
from raworc.services.accounts import Caller
from raworc.services.audit import Deed
from raworc.services.storage import Storage
from raworc.store.database import Database

T = TypeVar("T")

MAX_PAGE: Final = 1000
ROOT: Final = ""
_AT_ONCE: Final = 8
_IN_MEMORY_BYTES: Final = 1_048_576
_START_S: Final = 5.0
_LOOK_AGAIN_S: Final = 0.05
_DISK_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


@dataclass(frozen=True)
class Download:
    """Bytes on their way out. ``size_bytes`` is None where nobody knows it yet.

    ``pieces`` may hold empty ones, and fewer bytes than were announced when a file shrinks; taking them raises
    ``FileError`` and ``OSError`` for what breaks in the middle.
    """

    size_bytes: int | None
    pieces: AsyncGenerator[bytes]


class AgentFiles:
    """Files below ``/agent``.

    Every method raises as ``agents.find``, ``BadRequest`` for a path that cannot be named, ``NotFound`` where
    nothing is, and ``Conflict`` while the agent sleeps.
    """

    def __init__(
        self, db: Database, files: Callable[[Workspace], Files], draft_dir: Path, storage: Storage | None = None
    ) -> None:
        """``draft_dir`` is where large files are kept, without a name, while they come."""
        self._db = db
        self._storage = storage or Storage()
        self._draft_dir = draft_dir
        self._files = files
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def listing(self, caller: Caller, name: str, path: str, *, offset: int, limit: int) -> FileList:
        """What lies directly below ``path`` ("" is the root), by name ignoring case. ``limit`` is clamped to 1..1000.

        Names that are not text are shown with U+FFFD for what cannot be.
        """
        if path != ROOT:
            check_path(path)
        start, count = max(offset, 0), min(max(limit, 1), MAX_PAGE)
        try:
            found = await self._run(caller, name, "get", lambda files: files.list(path, start, count))
        except NotFound:
            if path != ROOT:
                raise
            await self._workspace(caller, name, "get")  # the agent is there, its sandbox was not opened yet
            return FileList((), 0)
        return FileList(tuple(_shown(entry) for entry in found.entries), found.total)

    async def stat(self, caller: Caller, name: str, path: str) -> FileEntry:
        """One entry itself; a link is described, not followed."""
        check_path(path)
        return _shown(await self._run(caller, name, "get", lambda files: files.stat(path)))

    async def read(self, caller: Caller, name: str, path: str) -> Download:
        """A file's bytes.

        Raises:
            BadRequest: also for a directory, or a link that leaves the workspace.
            PayloadTooLarge: above 26,214,400 bytes.
        """
        check_path(path)
        found = await self._run(caller, name, "get", lambda files: files.open(path))
        return Download(found.size_bytes, _taken(self._slots, found.pieces))

    async def archive(self, caller: Caller, name: str, path: str) -> Download:
        """A folder or file as a tar.gz; "" is all of ``/agent``. See ``Files.archive`` for what is left out.

        Raises:
            BadRequest: also for a link that leaves the workspace, a pipe, socket or device.
        """
        if path != ROOT:
            check_path(path)
        try:
            pieces = await self._run(caller, name, "get", lambda files: files.archive(path))
        except NotFound:
            if path != ROOT:
                raise
            await self._workspace(caller, name, "get")
            pieces = empty()
        return Download(None, _taken(self._slots, pieces))

    async def write(self, caller: Caller, name: str, path: str, data: AsyncIterator[bytes]) -> FileEntry:
        """Create or replace a file atomically, missing folders included. ``data`` is taken once that is allowed.

        A new agent is waited for until its workspace is there.

        Raises:
            BadRequest: also where a folder, a pipe or a link out of the workspace is.
            Conflict: also when the agent's sandbox did not come up within some seconds.
            StorageFull: there is no room for it, or not enough for new work.
        """
        check_path(path)
        await self._until_there(caller, name)
        self._storage.check()
        with _translated(), tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES, dir=str(self._draft_dir)) as draft:
            await _drafted(draft, data)
            await self._about_to(caller, name, "write-file", path)
            return _shown(await self._run(caller, name, "update", lambda files: files.write(path, draft)))

    async def delete(self, caller: Caller, name: str, path: str) -> None:
        """Remove a file, a link itself, or an empty directory.

        Raises:
            Conflict: also for a directory that is not empty.
        """
        check_path(path)
        await self._about_to(caller, name, "delete-file", path)
        await self._run(caller, name, "update", lambda files: files.delete(path))

    async def _about_to(self, caller: Caller, name: str, verb: str, path: str) -> None:
        """Files are no rows, and change in no transaction: who may change one is kept before he does.

        So nothing is ever changed without an entry, and an entry may be about a change that failed.
        """
        async with self._db.transaction() as conn:
            row = await agents.find(conn, caller, name, "update")
            await audit.done(conn, caller, Deed(verb, "agents", row.name, row.space, {"path": storable_text(path)}))

    async def _run(self, caller: Caller, name: str, verb: Verb, work: Callable[[Files], T]) -> T:
        workspace = await self._workspace(caller, name, verb)
        with _translated():
            async with self._slots:
                return await asyncio.to_thread(work, self._files(workspace))

    async def _until_there(self, caller: Caller, name: str) -> None:
        deadline = monotonic() + _START_S
        while True:
            workspace = await self._workspace(caller, name, "update")
            try:
                await asyncio.to_thread(self._files(workspace).stat, ROOT)
            except NoSuchFile:
                if monotonic() > deadline:
                    raise Conflict(f"Agent '{name}' is not up yet: try again in a moment") from None
                await asyncio.sleep(_LOOK_AGAIN_S)
            else:
                return

    async def _workspace(self, caller: Caller, name: str, verb: Verb) -> Workspace:
        async with self._db.reading() as conn:
            row = await agents.find(conn, caller, name, verb)
        if row.state in ASLEEP:
            raise Conflict(f"Agent '{row.name}' is asleep: wake it to reach its files")
        return Workspace(SessionId(row.session_id), row.session_number, disk_mb(row.limits))


async def _drafted(draft: IO[bytes], data: AsyncIterator[bytes]) -> None:
    """Write what comes, in pieces that are worth a thread."""
    held = bytearray()
    async for piece in data:
        held += piece
        if len(held) >= PIECE_BYTES:
            await asyncio.to_thread(draft.write, bytes(held))
            held.clear()
    await asyncio.to_thread(draft.write, bytes(held))


async def _taken(slots: asyncio.Semaphore, pieces: Pieces) -> AsyncGenerator[bytes]:
    """``pieces``, made in threads. They are closed at the end, also when that comes in the middle of one."""
    one_at_a_time = threading.Lock()

    def following() -> bytes | None:
        with one_at_a_time:
            return next(pieces, None)

    def ended() -> None:
        with one_at_a_time:
            pieces.close()

    try:
        while True:
            async with slots:
                piece = await asyncio.to_thread(following)
            if piece is None:
                return
            yield piece
    finally:
        asyncio.get_running_loop().run_in_executor(None, ended)  # not awaited: who is cancelled cannot


@contextmanager
def _translated() -> Generator[None]:
    try:
        yield
    except BadPath as error:
        raise BadRequest(_text(error)) from None
    except NoSuchFile as error:
        raise NotFound(_text(error)) from None
    except DirectoryNotEmpty as error:
        raise Conflict(_text(error)) from None
    except (FileTooLarge, WorkspaceFull) as error:
        raise PayloadTooLarge(_text(error)) from None
    except OSError as error:
        if error.errno not in _DISK_FULL:
            raise
        raise StorageFull(
            "The server's disk is full: free some space, then try again", headers={"Retry-After": "5"}
        ) from None


def _text(error: Exception) -> str:
    return storable_text(str(error))


def _shown(entry: FileEntry) -> FileEntry:
    target = None if entry.link_target is None else storable_text(entry.link_target)
    return replace(entry, name=storable_text(entry.name), link_target=target)
