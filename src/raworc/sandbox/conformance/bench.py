"""What a conformance case works with."""

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from raworc.ids import SessionId, new_id
from raworc.sandbox.driver import Command, Driver, Exit, Files, Limits, Output, Sandbox, SandboxSpec, Workspace

DEADLINE_S: Final = 20.0
_POLL_S: Final = 0.02


class Failure(Exception):
    """A case does not hold."""


@dataclass(frozen=True)
class Done:
    """A finished command: all its output, how it ended, and how long that took from outside."""

    data: bytes
    exit: Exit
    seconds: float

    @property
    def text(self) -> str:
        """Its output without the last newline."""
        return self.data.decode("utf-8", "replace").removesuffix("\n")


@dataclass
class Bench:
    """A driver under test; ``gateway`` is the socket path that it was told sandboxes' doors lead to.

    ``numbers`` yields workspace numbers that are free on the node. Cases may run at once: who plays the gateway, or
    needs it away, holds ``gateway_turn``.
    """

    driver: Driver
    gateway: Path
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    gateway_turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    def workspace(self) -> Workspace:
        """One that does not exist yet."""
        return Workspace(SessionId(new_id()), next(self.numbers))

    @contextlib.asynccontextmanager
    async def sandbox(
        self, workspace: Workspace | None = None, *, limits: Limits | None = None, env: dict[str, str] | None = None
    ) -> AsyncGenerator[Sandbox]:
        """An open sandbox, closed afterwards."""
        spec = SandboxSpec(workspace or self.workspace(), epoch=1, env=env or {}, limits=limits or Limits())
        sandbox = await self.driver.open(spec)
        try:
            yield sandbox
        finally:
            await sandbox.close()

    @contextlib.asynccontextmanager
    async def files(self, script: str = "true") -> AsyncGenerator[Files]:
        """The files of a workspace in which ``script`` has run, without a sandbox any more."""
        workspace = self.workspace()
        async with self.sandbox(workspace) as sandbox:
            done = await run(sandbox, script)
            expect(done.exit.code == 0, f"the preparation fails: {done.text}")
        yield self.driver.files(workspace)


Case = Callable[[Bench], Awaitable[None]]


async def run(sandbox: Sandbox, script: str, *, timeout_s: float = 60.0, max_output_bytes: int = 1_048_576) -> Done:
    """Run a command to its end."""
    return await collect(sandbox.run(Command(script=script, timeout_s=timeout_s, max_output_bytes=max_output_bytes)))


async def collect(events: AsyncIterator[Output | Exit]) -> Done:
    """All events of a command; its exit must be the last one."""
    started = time.monotonic()
    data = bytearray()
    done: Exit | None = None
    async for event in events:
        if done is not None:
            raise Failure("an event comes after the exit")
        if isinstance(event, Exit):
            done = event
        else:
            data += event.data
    if done is None:
        raise Failure("a command has no exit")
    return Done(bytes(data), done, time.monotonic() - started)


def expect(holds: object, otherwise: str) -> None:
    """Fail with ``otherwise`` unless ``holds``."""
    if not holds:
        raise Failure(otherwise)


def same(found: object, wanted: object, what: str) -> None:
    """Fail unless equal."""
    if found != wanted:
        raise Failure(f"{what} is {found!r}, not {wanted!r}")


@contextlib.contextmanager
def raising(kind: type[BaseException], what: str) -> Generator[None, None, None]:
    """Fail unless the block raises ``kind``."""
    try:
        yield
    except kind:
        return
    raise Failure(f"{what} does not raise {kind.__name__}")


async def until(holds: Callable[[], Awaitable[bool]], what: str) -> None:
    """Wait for a condition; fail after ``DEADLINE_S``."""
    latest = time.monotonic() + DEADLINE_S
    while not await holds():
        if time.monotonic() > latest:
            raise Failure(f"{what} does not happen")
        await asyncio.sleep(_POLL_S)


@contextlib.asynccontextmanager
async def closing(events: AsyncIterator[Output | Exit]) -> AsyncGenerator[AsyncIterator[Output | Exit]]:
    """Close a command's iterator after the block, as a caller does who has seen enough."""
    try:
        yield events
    finally:
        if isinstance(events, AsyncGenerator):
            await events.aclose()


async def count(sandbox: Sandbox, command_line: str) -> int:
    """How many processes inside have this command line (or one that begins so)."""
    pattern = f"[{command_line[0]}]{command_line[1:]}"  # which the counting shell's own does not match
    listing = "for f in /proc/[0-9]*/cmdline; do tr '\\0' ' ' < $f; echo; done 2>/dev/null"
    return int((await run(sandbox, f"({listing}) 2>/dev/null | grep -c '^{pattern}' || true")).text)
