"""An operator's end of its spawner: orders go out, descriptors of new sandboxes come back.

The spawner is a process of its own (``spawner_process.py``), started with an empty environment. One operator has
one; when it dies, its sandboxes die with it, and the next order starts a new one.
"""

import asyncio
import contextlib
import itertools
import json
import os
import socket
import subprocess
import sys
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import structlog

from raworc.ids import SessionId
from raworc.sandbox.driver import SandboxStartFailed
from raworc.sandbox.ends import emptied
from raworc.sandbox.host import bwrap_path
from raworc.sandbox.lives import Life, Lives, life_from
from raworc.sandbox.spawner_process import MAX_MESSAGE_BYTES, Order

_DESCRIPTORS: Final = 5
_PROGRAM: Final = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); from raworc.sandbox.spawner_process import main; main()"
)
_TIMEOUT_S: Final = 30.0
_MOST_ORDERS: Final = 32
"""On the way at once: all of them fit in the channel's buffer."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Spawned:
    """A sandbox as it came up. The descriptors are the receiver's to close."""

    life: Life
    control: int
    pidfd: int
    errors: int
    door: int
    egress: int | None = None


class Spawner:
    """Starts sandboxes. One per operator; used from one event loop."""

    def __init__(self, bwrap: str, lives_dir: Path) -> None:
        self._bwrap = bwrap
        self._lives_dir = lives_dir
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: dict[int, asyncio.Future[Spawned]] = {}
        self._unwanted: set[asyncio.Task[None]] = set()
        self._numbers = itertools.count(1)
        self._orders = asyncio.Semaphore(_MOST_ORDERS)

    @classmethod
    def fork(cls, run_dir: Path) -> "Spawner":
        """Start the process, from the main thread. Call it before any lock of the operator is taken."""
        spawner = cls(bwrap_path() or "bwrap", run_dir / "sandboxes")
        spawner._start()
        return spawner

    @property
    def pid(self) -> int | None:
        """The process now, None while there is none."""
        return self._process.pid if self._process else None

    async def spawn(self, order: Order) -> Spawned:
        """Start one sandbox; nothing inside has run when this returns.

        Raises:
            SandboxStartFailed: bwrap's own words, or the spawner died.
        """
        channel = self._attached()
        number = next(self._numbers)
        waiting = asyncio.get_running_loop().create_future()
        self._waiting[number] = waiting
        message = json.dumps({"id": number, "order": asdict(order)}).encode()
        try:
            async with self._orders:
                channel.send(message)
                async with asyncio.timeout(_TIMEOUT_S):
                    return await waiting
        except (OSError, TimeoutError) as error:
            raise SandboxStartFailed(f"The sandbox did not start: the spawner does not answer ({error})") from error
        finally:
            self._waiting.pop(number, None)

    def close(self) -> None:
        """End the process, and with it every sandbox that it started."""
        self._detach()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _start(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(0)
        package = Path(__file__).parent.parent.parent
        arguments = [str(package), self._bwrap, str(self._lives_dir)]
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603  our own interpreter and program
                [sys.executable, "-I", "-S", "-c", _PROGRAM, *arguments],
                env={},
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._channel = ours

    def _attached(self) -> socket.socket:
        """The channel, read by the running loop; a spawner that died is replaced."""
        if self._channel is None:
            self.close()
            self._start()
        loop = asyncio.get_running_loop()
        channel = self._channel
        if channel is None:
            raise SandboxStartFailed("The spawner could not be started")
        if self._loop is not loop:
            self._loop = loop
            loop.add_reader(channel.fileno(), self._on_readable)
        return channel

    def _on_readable(self) -> None:
        channel = self._channel
        if channel is None:
            return
        try:
            message, descriptors, _, _ = socket.recv_fds(
                channel, MAX_MESSAGE_BYTES, _DESCRIPTORS, flags=socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            return
        except OSError:
            message, descriptors = b"", []
        if not message:
            log.error("spawner died", pid=self.pid)
            self._detach()
            return
        self._deliver(json.loads(message), descriptors)

    def _deliver(self, answer: dict[str, Any], descriptors: list[int]) -> None:
        waiting = self._waiting.pop(answer["id"], None)
        if waiting is None or waiting.done():
            for descriptor in descriptors:
                os.close(descriptor)
            if "life" in answer:
                self._unwanted.add(task := asyncio.create_task(self._end(answer)))
                task.add_done_callback(self._unwanted.discard)
        elif "error" in answer:
            waiting.set_exception(SandboxStartFailed(f"The sandbox did not start: {answer['error']}"))
        else:
            waiting.set_result(Spawned(life_from(answer["life"]), *descriptors))

    async def _end(self, answer: dict[str, Any]) -> None:
        """A sandbox that came up when nobody waited for it any more goes without a trace."""
        life, lives = life_from(answer["life"]), Lives(self._lives_dir)
        await emptied(life, may_kill=lambda: True, timeout_s=_TIMEOUT_S)
        lives.forget(SessionId(uuid.UUID(answer["session"])), life.sandbox_id)

    def _detach(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            if self._loop is not None:
                with contextlib.suppress(RuntimeError):  # the loop is closed already
                    self._loop.remove_reader(channel.fileno())
            self._loop = None
            channel.close()
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(SandboxStartFailed("The sandbox did not start: the spawner died. Try again"))
        self._waiting.clear()
