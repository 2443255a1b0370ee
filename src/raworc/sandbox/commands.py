"""One command, seen from outside: its request, and the answer of a guest that nobody trusts.

The guest sends frames; they are decoded strictly, and what a command may deliver is bounded again here. A guest
that says anything else has been taken over: its sandbox is killed.
"""

import asyncio
import errno
import os
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Final

from raworc.sandbox.driver import Command, Exit, ExitReason, Output, SandboxDied, SandboxError
from raworc.sandbox.guest.frames import EXIT, FAILURE, FRAME, GRACE_S, MAX_FRAME_BYTES, MAX_REQUEST_BYTES, REQUEST

_REASONS: Final[tuple[ExitReason, ...]] = ("exited", "timeout", "cancelled")
_PATIENCE_S: Final = 10.0
"""Beyond a time limit and its grace: what a busy machine may take before the guest counts as stuck."""
_CANNOT_START: Final = 126
_AGENTS_FAULT: Final = frozenset({errno.EAGAIN, errno.ENOMEM, errno.E2BIG, errno.EMFILE, errno.ENFILE})
"""Limits of the sandbox that a command met before it ran; anything else that prevents a start is our failure."""


class BrokenGuest(Exception):
    """The guest does not keep the protocol."""


@dataclass(frozen=True)
class CommandLink:
    """What a command needs of its sandbox: to give the guest a stream, and to end it all when it misbehaves.

    A guest that is frozen may be silent for longer than any command may run.
    """

    hand_over: Callable[[Sequence[socket.socket]], Awaitable[None]]
    kill: Callable[[], None]
    is_frozen: Callable[[], bool]


class Answer:
    """Decodes one command's frames. Pure: bytes in, events out."""

    def __init__(self, max_output_bytes: int) -> None:
        self._room = max_output_bytes
        self._buffer = bytearray()
        self.exit: Exit | None = None

    def feed(self, data: bytes) -> Output | None:
        """Output that ``data`` completes, in one piece; :attr:`exit` is set by the last frame.

        Raises:
            BrokenGuest: not a frame, more output than asked for, or anything after the end.
            SandboxError: the command could not be started, and that is not its fault.
        """
        self._buffer += data
        output = bytearray()
        while len(self._buffer) >= FRAME.size:
            kind, size = FRAME.unpack_from(self._buffer)
            if size > MAX_FRAME_BYTES or self.exit is not None:
                raise BrokenGuest("a frame is too long, or comes after the last one")
            if len(self._buffer) < FRAME.size + size:
                break
            payload = bytes(self._buffer[FRAME.size : FRAME.size + size])
            del self._buffer[: FRAME.size + size]
            output += self._take(kind, payload)
        return Output(bytes(output)) if output else None

    def _take(self, kind: bytes, payload: bytes) -> bytes:
        match kind:
            case b"o" if len(payload) <= self._room:
                self._room -= len(payload)
                return payload
            case b"x" if len(payload) == EXIT.size:
                self.exit = _exit(payload)
                return b""
            case b"e" if len(payload) == FAILURE.size:
                return self._failed(FAILURE.unpack(payload)[0])
            case _:
                raise BrokenGuest(f"a frame of kind {kind!r} with {len(payload)} bytes")

    def _failed(self, number: int) -> bytes:
        text = os.strerror(number)
        if number not in _AGENTS_FAULT:
            raise SandboxError(f"The sandbox could not start the command: {text}")
        why = "there are too many processes" if number == errno.EAGAIN else text
        said = f"raworc: cannot start the command: {why}\n".encode()[: self._room]
        self.exit = Exit(code=_CANNOT_START, reason="exited", duration_ms=0, head_bytes=len(said))
        return said


class RunningCommand:
    """One command under way. ``end`` may be called by others (the disk watch) to stop it for a reason."""

    def __init__(self, command: Command, env: Mapping[str, str], link: CommandLink, largest_file: int) -> None:
        self._command = command
        self._request = request(command, env, largest_file)
        self._link = link
        self._stdin: socket.socket | None = None
        self._answer = Answer(command.max_output_bytes)
        self._writer: asyncio.StreamWriter | None = None
        self._reason: ExitReason | None = None

    @property
    def is_ending(self) -> bool:
        """Whether it was told to stop."""
        return self._reason is not None

    def end(self, reason: ExitReason) -> None:
        """Stop it; its exit will say why."""
        self._reason = self._reason or reason
        if self._writer is not None and self._writer.can_write_eof():
            self._writer.write_eof()

    def hears(self, stdin: socket.socket) -> None:
        """Before it starts: give it a standard input. Its output is then cut at the end, not in the middle."""
        self._stdin = stdin

    async def events(self) -> AsyncGenerator[Output | Exit]:
        """Its output and, last, its exit. Closing this early stops it and waits until it has stopped.

        Raises:
            SandboxDied: the sandbox ended, or its guest had to be ended.
        """
        reader, self._writer = await self._connected()
        try:
            self._writer.write(self._request)
            async with aclosing(self._read(reader)) as outputs:
                async for output in outputs:
                    yield output
            yield self._exit()
        finally:
            if self._answer.exit is None:
                await self._abandon(reader)
            self._writer.close()

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with far:
                await self._link.hand_over([far] if self._stdin is None else [far, self._stdin])
            if self._stdin is not None:
                self._stdin.close()  # only the command holds it now, so writing learns of its end
            return await asyncio.open_unix_connection(sock=near, limit=2 * MAX_FRAME_BYTES)
        except BaseException:
            near.close()
            raise

    def _exit(self) -> Exit:
        done = self._answer.exit
        if done is None:
            raise SandboxDied("The sandbox ended before its command did")
        return replace(done, reason=self._reason) if self._reason else done

    async def _read(self, reader: asyncio.StreamReader) -> AsyncGenerator[Output]:
        """Until the exit is known; a guest that says nothing for longer than it may is killed."""
        loop = asyncio.get_running_loop()
        latest = loop.time() + self._command.timeout_s + GRACE_S
        while self._answer.exit is None:
            try:
                async with asyncio.timeout_at(max(latest, loop.time()) + _PATIENCE_S):
                    data = await reader.read(MAX_FRAME_BYTES)
                output = self._answer.feed(data)
            except TimeoutError as error:
                if self._link.is_frozen():
                    continue
                self._link.kill()
                raise SandboxDied("The sandbox was ended: its guest did not answer") from error
            except BrokenGuest as error:
                self._link.kill()
                raise SandboxDied(f"The sandbox was ended: its guest misbehaved ({error})") from error
            except OSError as error:
                raise SandboxDied("The sandbox ended while a command was running") from error
            if output is not None:
                yield output
            if not data and self._answer.exit is None:
                raise SandboxDied("The sandbox ended while a command was running")

    async def _abandon(self, reader: asyncio.StreamReader) -> None:
        """Nobody wants the rest: have it stopped, and wait for that."""
        self.end("cancelled")
        try:
            async with asyncio.timeout(GRACE_S + _PATIENCE_S), aclosing(self._read(reader)) as outputs:
                async for _ in outputs:
                    continue
        except TimeoutError:
            self._link.kill()
        except SandboxError:
            return


def request(command: Command, env: Mapping[str, str], largest_file: int) -> bytes:
    """The bytes that ask the guest for a command that may write files of up to ``largest_file`` bytes.

    Raises:
        SandboxError: it can never run: a NUL where none may be, or above 16 MiB.
    """
    for name, value in env.items():
        if not name or "=" in name or "\0" in name + value:
            raise SandboxError(f"The environment variable '{name}' cannot be set: no '=' in names, no NUL anywhere")
    entries = b"\0".join(_raw(f"{name}={value}") for name, value in env.items())
    script = _raw(command.script)
    if b"\0" in script:
        raise SandboxError("A command cannot hold a NUL character")
    if len(entries) + len(script) + REQUEST.size > MAX_REQUEST_BYTES:
        raise SandboxError(f"A command and its environment together may have {MAX_REQUEST_BYTES} bytes at most")
    header = REQUEST.pack(command.timeout_s, max(0, command.max_output_bytes), largest_file, len(entries), len(script))
    return header + entries + script


def _exit(payload: bytes) -> Exit:
    unpacked: tuple[int, int, int, int, int] = EXIT.unpack(payload)
    code, reason, duration_ms, left_out, head = unpacked
    if reason >= len(_REASONS):
        raise BrokenGuest(f"an exit for reason {reason}")
    return Exit(code & 0xFF, _REASONS[reason], duration_ms, left_out, head)


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "replace")
