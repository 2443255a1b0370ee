"""The process that starts sandboxes: one thread, nothing but the standard library, its operator's child.

It is a process of its own because a sandbox must die with whoever started it (``--die-with-parent`` watches the
starting *thread*), because forking from a threaded event loop is unsafe, and because it holds no secret that a
child could inherit. It ends when its channel closes or its operator dies, and every sandbox with it.
"""

import ctypes
import fcntl
import json
import os
import resource
import select
import signal
import socket
import sys
import uuid
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from raworc.ids import SessionId
from raworc.sandbox import cgroups, host, recipe, seccomp
from raworc.sandbox.cgroups import Group, Parents
from raworc.sandbox.driver import Limits
from raworc.sandbox.guest_code import GuestCode
from raworc.sandbox.lives import Life, Lives, boot, process
from raworc.sandbox.netns import DOOR_PORT, EGRESS_PORT, Opening

CHANNEL_FD: Final = 0
"""Where the operator puts our end of the channel."""
GUEST_CONTROL_FD: Final = 3
"""The descriptor that the guest expects; never used by us for anything else."""
MAX_MESSAGE_BYTES: Final = 65_536
_INFO_TIMEOUT_S: Final = 10.0
_OLD_S: Final = 600.0
_OTHERS: Final = 1024
"""Processes that the same user may have elsewhere, where the kernel counts them together."""
_OPEN_FILES: Final = 4096
_MEBIBYTE: Final = 1_048_576
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36

_libc: Final = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Order:
    """What the operator asks for: one sandbox. ``uid`` is None where we cannot change it (no root)."""

    session: str
    sandbox_id: str
    workspace: str
    uid: int | None
    limits: Limits
    filtered: bool
    folders: dict[str, str] = field(default_factory=dict[str, str])
    egress: bool = False


@dataclass(frozen=True)
class Inherited:
    """Descriptors that bwrap gets."""

    control: int
    errors: int
    options: int
    others: tuple[int, ...]


class StartError(Exception):
    """A sandbox did not come up; the text goes to the operator."""


class SpawnerProcess:
    """Answers orders on the channel, one at a time."""

    def __init__(self, channel: socket.socket, bwrap: str, lives: Lives) -> None:
        self._channel = channel
        self._bwrap = bwrap
        self._lives = lives
        self._parents: Parents | None = cgroups.detect()
        if self._parents is not None:
            cgroups.sweep(self._parents, _OLD_S)
        self._abandoned: list[Group] = []
        self._counts_memory = self._parents is not None and "memory" in self._parents.controllers
        self._counts_alone = host.counts_processes_per_sandbox()
        self._code = GuestCode()
        self._code.files()  # compiled before anybody waits for it
        arch = seccomp.host_arch()
        self._filter = seccomp.program(arch) if arch else None

    def serve(self) -> None:
        """Until the channel closes."""
        wake, wake_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake_end, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        poll = select.poll()
        poll.register(self._channel, select.POLLIN)
        poll.register(wake, select.POLLIN)
        while True:
            for descriptor, _ in poll.poll():
                if descriptor == wake:
                    os.read(wake, 4096)
                    _reap()
                    self._abandoned = [group for group in self._abandoned if not cgroups.remove(group)]
                elif not self._answer():
                    return

    def _answer(self) -> bool:
        message = self._channel.recv(MAX_MESSAGE_BYTES)
        if not message:
            return False
        asked = json.loads(message)
        order = Order(**asked["order"] | {"limits": Limits(**asked["order"]["limits"])})
        answer: dict[str, Any] = {"id": asked["id"], "session": order.session}
        descriptors: list[int] = []
        try:
            life, descriptors = self._start(order)
            answer["life"] = asdict(life)
        except (StartError, OSError) as error:
            answer["error"] = str(error)
        socket.send_fds(self._channel, [json.dumps(answer).encode()], descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        return True

    def _start(self, order: Order) -> tuple[Life, list[int]]:
        """The life, and descriptors: guest control, pidfd of pid 1, bwrap's error output, door, egress if asked for."""
        group = self._parents.create(order.sandbox_id, order.limits) if self._parents else None
        outside, inside = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        errors = os.memfd_create("errors")
        given: list[int] = []
        try:
            with outside, inside:
                life, pidfd, listeners = self._launch(order, group, (inside.fileno(), errors), given)
                self._lives.record(SessionId(uuid.UUID(order.session)), life)
                return life, [os.dup(outside.fileno()), pidfd, errors, *listeners]
        except BaseException:
            os.close(errors)
            if group is not None:
                cgroups.kill(group)
                self._abandoned.append(group)
            raise
        finally:
            for descriptor in given:
                os.close(descriptor)

    def _launch(
        self, order: Order, group: Group | None, ends: tuple[int, int], given: list[int]
    ) -> tuple[Life, int, list[int]]:
        """Start bwrap; join the groups and open the door while it builds and its guest starts.

        Nothing of an agent's runs before the operator, who waits for our answer, has sent the first command.
        ``given`` collects descriptors to close afterwards.
        """
        info, info_end = _pipe(given)
        made = _Memory(given)
        files = recipe.Recipe(
            workspace=order.workspace,
            memory_mb=order.limits.memory_mb,
            info_fd=info_end,
            seccomp_fd=made.descriptor(self._filter) if order.filtered and self._filter else None,
            folders=order.folders,
        )
        guest = self._code.files()
        arguments = recipe.options(files, guest, made.descriptor)
        options = made.descriptor(b"".join(item.encode() + b"\0" for item in arguments))
        bwrap = os.fork()
        if bwrap == 0:
            others = (info_end, options, *made.descriptors)
            command = recipe.guest_command(guest, order.limits.pids + (0 if self._counts_alone else _OTHERS))
            self._become_bwrap(order, Inherited(ends[0], ends[1], options, others), command)
        os.close(info_end)
        given.remove(info_end)
        try:
            init = process(_child_pid(info))
            pidfd = os.pidfd_open(init.pid)
            opening = Opening(init.pid, (DOOR_PORT, EGRESS_PORT) if order.egress else (DOOR_PORT,))
            for pid in (bwrap, init.pid):
                cgroups.join(group, pid)  # the kernel may take 20 ms for the first
            listeners = opening.listeners()
        except (OSError, ValueError) as error:
            os.kill(bwrap, signal.SIGKILL)
            raise StartError(_first_words(ends[1]) or str(error)) from error
        life = Life(order.sandbox_id, init, process(os.getpid()), group, boot())
        return life, pidfd, listeners

    def _become_bwrap(self, order: Order, inherited: Inherited, command: list[str]) -> None:
        """In the child: take the limits, drop to the session's user, execute. Never returns."""
        try:
            _limit(order.limits, memory_counted=self._counts_memory)
            os.umask(0o022)
            if order.uid is not None:
                os.setgroups([])
                os.setresgid(order.uid, order.uid, order.uid)
                os.setresuid(order.uid, order.uid, order.uid)
            os.chdir("/")
            os.dup2(inherited.errors, 1)
            os.dup2(inherited.errors, 2)
            os.dup2(inherited.control, GUEST_CONTROL_FD)
            for descriptor in inherited.others:
                fcntl.fcntl(descriptor, fcntl.F_SETFD, 0)
            os.execve(self._bwrap, ["bwrap", "--args", str(inherited.options), "--", *command], {})  # noqa: S606  its arguments are ours
        except OSError as error:
            os.write(inherited.errors, f"cannot start bwrap: {error}".encode())
        finally:
            os._exit(125)


class _Memory:
    """Makes anonymous files for bwrap to read; all are closed by us afterwards."""

    def __init__(self, given: list[int]) -> None:
        self._given = given
        self.descriptors: list[int] = []

    def descriptor(self, content: bytes) -> int:
        made = os.memfd_create("given")
        self._given.append(made)
        self.descriptors.append(made)
        os.write(made, content)
        os.lseek(made, 0, os.SEEK_SET)
        return made


def main() -> None:
    """Entry of the process: ``argv`` is bwrap's path and the folder of life files."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # bwrap inherits it: a drain begins with the operator alone
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    channel = socket.socket(fileno=fcntl.fcntl(CHANNEL_FD, fcntl.F_DUPFD_CLOEXEC, 10))
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, CHANNEL_FD)
    os.dup2(null, GUEST_CONTROL_FD)  # so that no descriptor of ours ever has this number
    SpawnerProcess(channel, sys.argv[1], Lives(Path(sys.argv[2]))).serve()


def _limit(limits: Limits, *, memory_counted: bool) -> None:
    """Resource limits of the process and all its children; a hard limit below ours stays."""
    wanted = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: _OPEN_FILES,
        resource.RLIMIT_FSIZE: limits.disk_mb * _MEBIBYTE,
    }
    if not memory_counted:
        wanted[resource.RLIMIT_DATA] = limits.memory_mb * _MEBIBYTE
    for kind, value in wanted.items():
        hard = resource.getrlimit(kind)[1]
        bounded = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (bounded, bounded))


def _pipe(given: list[int]) -> tuple[int, int]:
    ends = os.pipe2(os.O_CLOEXEC)
    given += ends
    return ends


def _child_pid(info: int) -> int:
    """What bwrap says about its child, as soon as it exists.

    Raises:
        ValueError: it said nothing (it failed, or took too long).
    """
    said = b""
    poll = select.poll()
    poll.register(info, select.POLLIN)
    while poll.poll(_INFO_TIMEOUT_S * 1000):
        part = os.read(info, 4096)
        if not part:
            break
        said += part
    return int(json.loads(said)["child-pid"])


def _first_words(errors: int) -> str:
    return os.pread(errors, 2000, 0).decode(errors="replace").strip()


def _reap() -> None:
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                return
        except ChildProcessError:
            return
