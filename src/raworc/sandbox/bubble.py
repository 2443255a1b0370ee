"""One live bubblewrap sandbox, as the operator that opened it holds it."""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import structlog

from raworc.sandbox import cgroups, stopping
from raworc.sandbox.commands import CommandLink, RunningCommand
from raworc.sandbox.dialogue import talking
from raworc.sandbox.disk import DiskWatch, Watched
from raworc.sandbox.door import Door, DoorPlate
from raworc.sandbox.driver import (
    Command,
    Dialogue,
    Exit,
    Output,
    SandboxDied,
    SandboxError,
    SandboxSpec,
    SandboxStartFailed,
)
from raworc.sandbox.egress import Egress
from raworc.sandbox.ends import emptied
from raworc.sandbox.lives import Life, Lives, Process
from raworc.sandbox.recipe import BASE_ENV
from raworc.sandbox.shortage import Shortage
from raworc.sandbox.spawner import Spawned

_READY: Final = b"ready"
_READY_TIMEOUT_S: Final = 20.0
_HAND_OVER_TIMEOUT_S: Final = 10.0
_EMPTY_TIMEOUT_S: Final = 30.0
_LISTEN_POLL_S: Final = 0.005
_FILE_SIZE_EXIT: Final = 128 + signal.SIGXFSZ
_MEBIBYTE: Final = 1_048_576
_OVERRUNS: Final = 2
"""Looks at a full workspace that still grows although every command was told to end; then the sandbox is ended."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Surroundings:
    """What a sandbox is connected to outside."""

    workspace: Path
    gateway: Path
    door_key: bytes
    lives: Lives
    reserve_bytes: int = 0


class Bubble:
    """``Sandbox`` of the driver contract. Made by :meth:`opened`."""

    def __init__(self, spec: SandboxSpec, spawned: Spawned, around: Surroundings) -> None:
        self._spec = spec
        self._life = spawned.life
        self._lives = around.lives
        self._control = socket.socket(fileno=spawned.control)
        self._control.settimeout(0)
        self._pidfd = spawned.pidfd
        self._errors = spawned.errors
        self._running: set[RunningCommand] = set()
        self._frozen = False
        self._stopped: list[Process] = []  # by signals, where no control group freezes
        self._overruns = 0
        self._died = asyncio.Event()
        plate = DoorPlate(spec.workspace.session_id, spec.epoch, around.door_key)
        self._door = Door(socket.socket(fileno=spawned.door), around.gateway, plate)
        self._egress: Egress | None = None
        if spec.reach is not None and spawned.egress is not None:
            listener = socket.socket(fileno=spawned.egress)
            self._egress = Egress(listener, spec.reach, spec.workspace.session_id)
        watched = Watched(around.workspace, spec.limits.disk_mb * _MEBIBYTE, around.reserve_bytes)
        self._watch = DiskWatch(watched, is_busy=lambda: bool(self._running), on_full=self._on_full)
        asyncio.get_running_loop().add_reader(self._pidfd, self._on_death)
        self._buried = asyncio.create_task(self._bury())

    @classmethod
    async def opened(cls, spec: SandboxSpec, spawned: Spawned, around: Surroundings) -> "Bubble":
        """Wait until the guest is ready.

        Raises:
            SandboxStartFailed: it did not come up; the text is bwrap's or the guest's own.
        """
        bubble = cls(spec, spawned, around)
        try:
            await bubble._until_ready()
        except BaseException:
            await bubble.close()
            raise
        return bubble

    @property
    def sandbox_id(self) -> str:
        """Unique for ever: names this life of the sandbox."""
        return self._life.sandbox_id

    @property
    def refused_hosts(self) -> list[str]:
        """Hosts that were asked for in vain, with why."""
        return [] if self._egress is None else self._egress.refused

    @property
    def life(self) -> Life:
        """Its processes and control group on this host."""
        return self._life

    async def run(self, command: Command) -> AsyncGenerator[Output | Exit]:
        """Run one command; see the contract."""
        running = await self._command(command)
        self._running.add(running)
        shortage = Shortage(self._life.group, self._spec.limits)
        try:
            async with aclosing(running.events()) as events:
                async for event in events:
                    shortage.look()
                    yield await self._explained(event, shortage) if isinstance(event, Exit) else event
        finally:
            self._running.discard(running)

    def talk(self, command: Command) -> AbstractAsyncContextManager[Dialogue]:
        """Run one command and talk to it; see the contract."""
        return talking(self._command(command))

    async def wait_closed(self) -> None:
        """Return when the sandbox is dead, whoever ended it."""
        await asyncio.shield(self._buried)

    async def freeze(self) -> None:
        """Stop the processor, keep the memory: by the control group, where there is none by signals."""
        self._check_alive()
        try:
            if self._life.group is not None and cgroups.can_freeze(self._life.group):
                cgroups.freeze(self._life.group, frozen=True)
            else:
                self._stopped = await stopping.stop(self._life.init)
        except OSError as error:  # TimeoutError is one
            raise SandboxError(f"The sandbox could not be frozen: {error}") from error
        self._frozen = True

    async def thaw(self) -> None:
        """Undo ``freeze``."""
        self._check_alive()
        try:
            if self._life.group is not None and cgroups.can_freeze(self._life.group):
                cgroups.freeze(self._life.group, frozen=False)
        except OSError as error:
            raise SandboxError(f"The sandbox could not be thawed: {error}") from error
        stopping.cont(self._stopped)
        self._stopped = []
        self._frozen = False

    async def close(self) -> None:
        """Kill everything inside and return when nothing of it is left."""
        self._kill()
        await asyncio.shield(self._buried)

    async def _command(self, command: Command) -> RunningCommand:
        self._check_alive()
        env = {**self._spec.env, **BASE_ENV, **command.env}
        link = CommandLink(self._hand_over, self._kill, lambda: self._frozen)
        return RunningCommand(command, env, link, await self._watch.largest_file())

    def _check_alive(self) -> None:
        if self._died.is_set():
            raise SandboxDied("The sandbox has ended")

    async def _explained(self, done: Exit, shortage: Shortage) -> Exit:
        """Which limit of the sandbox, if any, made the command fail, or was overrun by it."""
        overrun = await self._watch.has_overrun()
        if done.reason == "exited" and (overrun or done.code == _FILE_SIZE_EXIT):
            return replace(done, reason="disk")
        return shortage.explained(done)

    async def _on_full(self) -> None:
        """The workspace grows over its limit: end what runs. If that is not what makes it grow, end all."""
        self._overruns = self._overruns + 1 if all(running.is_ending for running in self._running) else 0
        if not self._running or self._overruns > _OVERRUNS:
            self._kill()
        for running in self._running:
            running.end("disk")

    async def _hand_over(self, streams: Sequence[socket.socket]) -> None:
        """Give the guest the stream of a new command, and its standard input where it has one."""
        loop = asyncio.get_running_loop()
        latest = loop.time() + _HAND_OVER_TIMEOUT_S
        while True:
            self._check_alive()
            try:
                socket.send_fds(self._control, [b"run"], [stream.fileno() for stream in streams])
            except BlockingIOError:
                if loop.time() > latest:
                    self._kill()
                    raise SandboxDied("The sandbox was ended: its guest did not listen") from None
                await asyncio.sleep(_LISTEN_POLL_S)
            except OSError as error:
                raise SandboxDied("The sandbox has ended") from error
            else:
                return

    async def _until_ready(self) -> None:
        try:
            async with asyncio.timeout(_READY_TIMEOUT_S):
                said = await asyncio.get_running_loop().sock_recv(self._control, 16)
        except (OSError, TimeoutError) as error:
            said = str(error).encode()
        if said != _READY:
            raise SandboxStartFailed(f"The sandbox did not start: {self._last_words() or said!r}")

    def _last_words(self) -> str:
        return os.pread(self._errors, 2000, 0).decode(errors="replace").strip()

    def _kill(self) -> None:
        """Harmless when it is dead already."""
        if self._died.is_set():
            return
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)  # first, or it would report its commands' ends
        if self._life.group is not None:
            cgroups.kill(self._life.group)

    def _on_death(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pidfd)
        self._died.set()

    async def _bury(self) -> None:
        """When it has died: wait until nothing is left, then remove every trace but the workspace."""
        await self._died.wait()
        await emptied(self._life, may_kill=lambda: True, timeout_s=_EMPTY_TIMEOUT_S)
        await self._watch.stop()
        await self._door.close()
        if self._egress is not None:
            await self._egress.close()
        self._lives.forget(self._spec.workspace.session_id, self.sandbox_id)
        self._control.close()
        os.close(self._pidfd)
        os.close(self._errors)
        log.info("sandbox ended", sandbox_id=self.sandbox_id, session_id=str(self._spec.workspace.session_id))
