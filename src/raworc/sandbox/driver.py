"""What a sandbox is, whichever way it is made: the contract that every driver keeps.

A *workspace* is a session's files; it outlives sandboxes. A *sandbox* is one isolated life around it, from
``open`` to ``close``. ``conformance.py`` is the suite that every driver passes. Whatever comes out of a
sandbox (output, file names, exit codes) is hostile input and bounded here.
"""

from collections.abc import AsyncIterator, Collection, Generator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import IO, Literal, Protocol

from raworc.domain.egress import Reach
from raworc.ids import SessionId

FOLDERS_INSIDE = "/opt/agents"
"""Where a sandbox has the folders that it is given for reading."""
MAX_FOLDERS = 64
MAX_FILE_BYTES = 26_214_400
"""The largest file that ``read`` and ``write`` handle (25 MiB)."""


class SandboxError(Exception):
    """A driver's own failure: never shown as a command's output, never the agent's fault."""


class SandboxUnavailable(SandboxError):
    """This host cannot isolate (something is missing); the message says what to install. Not retried."""


class SandboxStartFailed(SandboxError):
    """A sandbox did not come up. The caller may try again."""


class SandboxDied(SandboxError):
    """The sandbox ended while it was in use. The workspace is intact; the caller opens a new one."""


class PolicyNotSupported(SandboxError):
    """This driver cannot give the network policy that was asked for."""


class NoWorkspace(SandboxError):
    """There are no files of that session on this node."""


class WorkspaceExists(SandboxError):
    """The session has files already."""


class FileError(Exception):
    """Base of what the file methods raise. The message names the path as given."""


class BadPath(FileError):
    """Not a safe relative path, a link out of the workspace, or not the kind of file asked for."""


class NoSuchFile(FileError):
    """Nothing is there."""


class DirectoryNotEmpty(FileError):
    """Only empty directories are deleted."""


class FileTooLarge(FileError):
    """Above ``MAX_FILE_BYTES``."""


class WorkspaceFull(FileError):
    """The workspace would be above its limit. Deleting, and writing what makes it no larger, are possible."""


@dataclass(frozen=True)
class Workspace:
    """Names a session's files: the session, and a number unique on the node (the source of its host uid).

    ``disk_mb`` is how large the files may become together; ``Files.write`` keeps to it.
    """

    session_id: SessionId
    number: int
    disk_mb: int = 2048


@dataclass(frozen=True)
class Limits:
    """What one sandbox may use. Units in the names; ``pids`` counts processes and threads.

    A workspace above ``disk_mb`` is full: what makes it grow is ended, and further commands cannot write to files
    until it has shrunk. They can read, delete, and cut files short.
    """

    memory_mb: int = 1024
    cpus: float = 1.0
    pids: int = 256
    disk_mb: int = 2048


@dataclass(frozen=True)
class SandboxSpec:
    """All a driver needs to open one.

    ``env`` is the whole environment of what runs inside but for PATH, HOME, LANG, TERM and TMPDIR, which the
    driver sets. ``epoch`` is the hold under which it is opened; the door (the gateway at 127.0.0.1:8787
    inside) announces session and epoch to the gateway. ``folders`` are folders of this node by name (letters, digits,
    ``_``, ``-``), at most ``MAX_FOLDERS``: each is seen inside as ``/opt/agents/<name>``, for reading only.
    ``reach``: an HTTP proxy at 127.0.0.1:8788 inside leads to these hosts; None: there is none.
    """

    workspace: Workspace
    epoch: int
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    limits: Limits = field(default_factory=Limits)
    network: str = "none"
    reach: Reach | None = None
    folders: Mapping[str, Path] = field(default_factory=dict[str, Path])


@dataclass(frozen=True)
class Command:
    """One thing to run by ``/bin/bash -c`` in ``/agent``; stdin is /dev/null; stdout and stderr interleaved.

    ``max_output_bytes`` bounds what is delivered: the first and the last half are kept, the rest is counted.
    """

    script: str
    timeout_s: float = 120.0
    max_output_bytes: int = 1_048_576
    env: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True)
class Output:
    """Bytes of the command, in order, as they came."""

    data: bytes


ExitReason = Literal["exited", "timeout", "cancelled", "memory", "disk"]


@dataclass(frozen=True)
class Exit:
    """The last event of a command.

    ``code`` is the exit status (128 + n for a signal n). ``reason`` says who ended it; ``disk`` also that it ran into
    the workspace's limit, or ended by itself and left the workspace above it. ``left_out_bytes`` counts output that
    was dropped from the middle; it belongs after ``head_bytes`` delivered bytes. ``met`` says in words which limit of
    the sandbox's it ran into, where that is known.
    """

    code: int
    reason: ExitReason
    duration_ms: int
    left_out_bytes: int = 0
    head_bytes: int = 0
    met: str | None = None


class Dialogue(Protocol):
    """A running command that is talked to."""

    async def send(self, data: bytes) -> None:
        """Write to its standard input; returns once there is room for more, which it may never make.

        What a command that has ended, or has closed its input, is sent is lost without an error.
        """
        ...

    async def receive(self) -> bytes:
        """The next bytes of its output, as they came; empty once it has ended.

        Above the command's ``max_output_bytes`` further output is dropped. Raises :class:`SandboxDied`.
        """
        ...


class Sandbox(Protocol):
    """One live sandbox. Methods raise :class:`SandboxDied` when it ended under them."""

    @property
    def sandbox_id(self) -> str:
        """Unique for ever: names this life of the sandbox."""
        ...

    def run(self, command: Command) -> AsyncIterator[Output | Exit]:
        """Run one command; the last event is its :class:`Exit`.

        Closing the iterator early (or cancelling the task in it) stops the command's whole process group:
        SIGTERM, then SIGKILL after 5 s. Several commands may run at once. Processes that a finished command
        left in the background live on until the sandbox closes.
        """
        ...

    def talk(self, command: Command) -> AbstractAsyncContextManager[Dialogue]:
        """Run one command with a standard input; leaving the block stops it as closing :meth:`run` does.

        One task receives, one sends. Such a command counts as the background does: it does not make the sandbox busy.
        """
        ...

    async def wait_closed(self) -> None:
        """Return when the sandbox is dead, whoever ended it."""
        ...

    async def freeze(self) -> None:
        """Stop the processor, keep the memory. Raises :class:`SandboxError` where it cannot."""
        ...

    async def thaw(self) -> None:
        """Undo ``freeze``."""
        ...

    async def close(self) -> None:
        """Kill everything inside and return when nothing of it is left. Closing twice is harmless."""
        ...


FileKind = Literal["file", "dir", "symlink", "other"]
Pieces = Generator[bytes, None, None]
"""Bytes of any length, none included, made while they are taken."""


@dataclass(frozen=True)
class FileEntry:
    """One directory entry: folders have size 0, ``mode`` is four octal digits, ``link_target`` only for symlinks."""

    name: str
    kind: FileKind
    size_bytes: int
    mode: str
    mtime: datetime
    link_target: str | None = None


@dataclass(frozen=True)
class FileList:
    """One page of a directory, sorted by name ignoring case, and how many entries there are in all."""

    entries: tuple[FileEntry, ...]
    total: int


@dataclass(frozen=True)
class FileContent:
    """An open file: its size when it was opened, and its bytes, which may be fewer when it shrinks meanwhile.

    Closing ``pieces`` lets the file go.
    """

    size_bytes: int
    pieces: Pieces


class Files(Protocol):
    """A workspace's files, without a live sandbox. Paths are relative to ``/agent``; "" is the root.

    Blocking calls: run them in a thread. No path ever reaches outside the workspace, whatever links and
    renames race with the call. Methods raise :class:`FileError`.
    """

    def list(self, path: str, offset: int, limit: int) -> FileList:
        """The entries directly below ``path``."""
        ...

    def stat(self, path: str) -> FileEntry:
        """One entry itself; a symlink is described, not followed."""
        ...

    def read(self, path: str) -> bytes:
        """A regular file's bytes; links are followed while they stay below ``/agent``."""
        ...

    def open(self, path: str) -> FileContent:
        """The same, to be read piece by piece."""
        ...

    def archive(self, path: str) -> Pieces:
        """A folder, or a file, as a tar.gz that is made piece by piece; names in it are relative to ``/agent``.

        Links are stored, never followed. What is neither file, folder nor link, what may not be opened and what
        vanishes meanwhile is left out, and so is what has a path of 4,096 bytes or more; a file that shrinks is
        filled with zeros, one that grows is cut.
        """
        ...

    def write(self, path: str, data: bytes | IO[bytes]) -> FileEntry:
        """Create or replace a regular file atomically, missing parents included; owned by the session.

        Raises :class:`WorkspaceFull` when it would grow and the workspace has no room for that.
        """
        ...

    def delete(self, path: str) -> None:
        """Remove a file, a link itself, or an empty directory."""
        ...


class Driver(Protocol):
    """How sandboxes come to be, on one node."""

    async def open(self, spec: SandboxSpec) -> Sandbox:
        """Bring one up, its door included, and return when it can run commands.

        Creates the workspace when there is none. Waits until an earlier sandbox of the session is empty.
        Raises :class:`SandboxUnavailable`, :class:`SandboxStartFailed` (one of ``folders`` is not there, too),
        :class:`PolicyNotSupported`.
        """
        ...

    async def list(self) -> list[SessionId]:
        """Sessions that have a sandbox on this node, dead operators' ones included."""
        ...

    async def reap(self, session_id: SessionId) -> None:
        """Kill whatever is left of a session's sandbox and return when it is empty. Nothing there: no-op."""
        ...

    async def copy_workspace(
        self, source: Workspace, target: Workspace, *, leave_out: Collection[str] = (), max_bytes: int | None = None
    ) -> None:
        """Copy files (never following links) into a workspace that does not exist yet; all or nothing.

        ``leave_out`` names entries directly below the root. Something may be working in the source meanwhile:
        each file is copied as it is found. Cancelling stops it and leaves nothing behind.
        Raises :class:`NoWorkspace`, :class:`WorkspaceExists`; :class:`SandboxError` above ``max_bytes``, or what
        the disk says.
        """
        ...

    async def remove(self, workspace: Workspace) -> None:
        """Delete a workspace for good. Its sandbox must be closed."""
        ...

    def files(self, workspace: Workspace) -> Files:
        """The files of a workspace, from any process of the node."""
        ...
