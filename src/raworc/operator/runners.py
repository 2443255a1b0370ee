"""The handlers of code agents that run in one sandbox: each is a program that is asked messages, one at a time.

Whatever comes from there is hostile: frames, answers and the whole of it are bounded, everything has a time limit, and
what breaks a rule ends that handler only. A handler that has ended is started anew with its next message.
"""

import asyncio
import functools
import shlex
import struct
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, Final

import structlog

from raworc.clock import now
from raworc.domain.handlers import Lines, LogLevel, LogLine, Message, Quota, level_of
from raworc.domain.turns import Failure
from raworc.operator.relays import LIFE_S, MAX_LIFE_BYTES, Misbehaved
from raworc.sandbox.driver import FOLDERS_INSIDE, Command, Dialogue, Sandbox, SandboxDied, SandboxError
from raworc.sandbox.recipe import PYTHON

MAX_FRAME_BYTES: Final = 65_536
MAX_ANSWER_BYTES: Final = 1_048_576
_FRAME: Final = struct.Struct("!cI")
_LOOK_S: Final = 1.0
_RESERVE_BYTES: Final = 4 * MAX_ANSWER_BYTES
_FAILED: Final = {b"!": "handler_failed", b"?": "handler_not_loaded"}

log = structlog.get_logger()


class HandlerFailed(Exception):
    """There is no reply; ``failure`` says why."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.failure = Failure(code, message)


@dataclass(frozen=True)
class Handler:
    """The code of one agent, as it lies in the sandbox. ``env`` is set over the sandbox's own."""

    agent: str
    digest: str
    runtime: str
    function: str
    env: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def command(self) -> Command:
        """What runs it."""
        folder = f"{FOLDERS_INSIDE}/{self.agent}"
        node = _program("runner.js") if self.runtime == "node" else ""
        words = [PYTHON, "-I", "-c", _program("runner.py"), self.runtime, folder, self.function, node]
        env = {"PYTHONPATH": f"{folder}:{folder}/.deps", "NODE_PATH": f"{folder}/node_modules", **self.env}
        return Command(f"exec {shlex.join(words)}", timeout_s=LIFE_S, max_output_bytes=MAX_LIFE_BYTES, env=env)


Hear = Callable[[str, LogLine], None]
"""Takes one line of an agent's log; never waits."""


class Runners:
    """The handlers of one sandbox, by agent. ``is_frozen``: it was paused, and so were they."""

    def __init__(self, sandbox: Sandbox, hear: Hear, is_frozen: Callable[[], bool] = lambda: False) -> None:
        self._sandbox = sandbox
        self._hear = hear
        self._is_frozen = is_frozen
        self._running: dict[str, _Runner] = {}
        self._ending: set[asyncio.Task[None]] = set()

    async def answer(self, handler: Handler, message: Message, timeout_s: float, *, keeps: bool) -> str:
        """Its reply. ``keeps``: it goes on running afterwards. Cancelling this ends it.

        Raises:
            HandlerFailed: it has none.
            SandboxDied: the sandbox ended under it.
        """
        runner = await self._runner(handler)
        try:
            reply = await self._within(timeout_s, runner.ask(message.encoded()))
        except TimeoutError:
            await self._end(handler.agent)
            text = f"The handler of '{handler.agent}' did not answer within {timeout_s:g} s and was ended"
            raise HandlerFailed("handler_timeout", text) from None
        except asyncio.CancelledError:
            await self._end(handler.agent)
            raise
        except HandlerFailed:
            if not keeps:
                self._end_soon(handler.agent)
            raise
        if not keeps:
            self._end_soon(handler.agent)
        return reply

    async def _within(self, timeout_s: float, asked: Coroutine[Any, Any, str]) -> str:
        """What it comes to. Time in which the sandbox is frozen does not count."""
        task, left_s = asyncio.ensure_future(asked), timeout_s
        try:
            while left_s > 0:
                look_s = min(left_s, _LOOK_S)
                done, _ = await asyncio.wait({task}, timeout=look_s)
                if done:
                    return task.result()
                left_s -= 0.0 if self._is_frozen() else look_s
            raise TimeoutError
        finally:
            if not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def keep(self, agents: Iterable[str]) -> None:
        """End those of other agents."""
        kept = set(agents)
        await asyncio.gather(*(self._end(name) for name in list(self._running) if name not in kept))

    @property
    def agents(self) -> list[str]:
        """Whose handlers run now."""
        return [name for name, runner in self._running.items() if not runner.has_ended]

    async def close(self) -> None:
        """End them all; quickest when the sandbox is closed already."""
        await self.keep(())
        await asyncio.gather(*self._ending)

    async def _runner(self, handler: Handler) -> "_Runner":
        found = self._running.get(handler.agent)
        if found is not None and (found.handler != handler or found.is_worn):
            await self._end(handler.agent)
            found = None
        if found is None:
            found = self._running[handler.agent] = _Runner(self._sandbox, handler, self._hear)
        return found

    def _end_soon(self, agent: str) -> None:
        """Nobody waits for it; a next message has another one."""
        runner = self._running.pop(agent, None)
        if runner is not None:
            task = asyncio.create_task(runner.end())
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    async def _end(self, agent: str) -> None:
        runner = self._running.pop(agent, None)
        if runner is not None:
            await runner.end()


class _Runner:
    """One of them. A task of its own holds the conversation, because it must be left where it was entered."""

    def __init__(self, sandbox: Sandbox, handler: Handler, hear: Hear) -> None:
        self.handler = handler
        self._hear = hear
        self._frames = _Frames()
        self._logs = {b"o": Lines(), b"e": Lines()}
        self._quota = Quota()
        self._answer = bytearray()
        self._waiting: asyncio.Future[str] | None = None
        self._dialogue: asyncio.Future[Dialogue] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._live(sandbox), name=f"handler {handler.agent}")

    @property
    def has_ended(self) -> bool:
        """Whether it answers no more."""
        return self._task.done()

    @property
    def is_worn(self) -> bool:
        """Whether the next message needs a new one."""
        return self.has_ended or self._frames.heard > MAX_LIFE_BYTES // 2

    async def ask(self, question: bytes) -> str:
        """The answer to one message."""
        self._waiting = asyncio.get_running_loop().create_future()
        try:
            dialogue = await asyncio.shield(self._dialogue)
            await dialogue.send(question)
            return await self._waiting
        finally:
            self._waiting = None

    async def end(self) -> None:
        """End it and wait for that."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._fail(HandlerFailed("handler_ended", f"The handler of '{self.handler.agent}' was ended"))

    async def _live(self, sandbox: Sandbox) -> None:
        handler, ended = self.handler, "it was ended"
        self._say("INFO", f"Handler started: {handler.function} ({handler.runtime}), {handler.digest[:12]}")
        try:
            async with sandbox.talk(handler.command) as dialogue:
                self._dialogue.set_result(dialogue)
                while data := await dialogue.receive():
                    for kind, payload in self._frames.feed(data):
                        ended = self._take(kind, payload) or ended
            self._fail(HandlerFailed("handler_ended", f"The handler of '{handler.agent}' gave no answer: {ended}"))
        except Misbehaved as error:
            ended = str(error)
            self._fail(HandlerFailed("handler_misbehaved", f"The handler of '{handler.agent}' was ended: {error}"))
        except SandboxDied as error:
            ended = "the sandbox stopped"
            self._fail(error)
        except SandboxError as error:
            ended = str(error)
            self._fail(HandlerFailed("handler_not_started", f"The handler of '{handler.agent}' cannot run: {error}"))
        finally:
            self._flush()
            self._say("INFO", f"Handler ended: {ended}")

    def _fail(self, error: Exception) -> None:
        for future in (self._waiting, self._dialogue):
            if future is not None and not future.done():
                future.set_exception(error)
                future.exception()  # seen, if nobody waits for it

    def _take(self, kind: bytes, payload: bytes) -> str | None:
        """One frame; how the handler ended, when that is what it says."""
        match kind:
            case b"o" | b"e":
                self._say_all(kind, self._logs[kind].feed(self._quota.cut(payload, time.monotonic())))
            case b"a":
                self._hear_answer(payload)
            case b"x":
                return payload.decode("utf-8", "replace")[:200]
            case _:
                raise Misbehaved("it does not keep the protocol")
        return None

    def _hear_answer(self, payload: bytes) -> None:
        self._answer += payload
        if self._waiting is None or self._waiting.done():
            raise Misbehaved("it answers what nobody has asked")
        if len(self._answer) < _FRAME.size:
            return
        kind, size = _FRAME.unpack_from(self._answer)
        if size > MAX_ANSWER_BYTES:
            raise Misbehaved(f"its answer has more than {MAX_ANSWER_BYTES} bytes")
        if len(self._answer) < _FRAME.size + size:
            return
        text = bytes(self._answer[_FRAME.size : _FRAME.size + size]).decode("utf-8", "replace")
        del self._answer[: _FRAME.size + size]
        self._flush()
        if kind == b"=":
            self._waiting.set_result(text)
        elif kind in _FAILED:
            message = f"The handler of '{self.handler.agent}' failed: {text}"
            self._waiting.set_exception(HandlerFailed(_FAILED[kind], message))
        else:
            raise Misbehaved("it does not keep the protocol")

    def _flush(self) -> None:
        """What was logged without the end of a line counts as one."""
        for kind, lines in self._logs.items():
            self._say_all(kind, lines.end())
        left_out = self._quota.report()
        if left_out:
            self._say("WARNING", left_out)

    def _say_all(self, kind: bytes, lines: Iterable[str]) -> None:
        for line in lines:
            self._say(level_of(line, "INFO" if kind == b"o" else "ERROR"), line)

    def _say(self, level: LogLevel, text: str) -> None:
        self._hear(self.handler.agent, LogLine(now(), level, text))


class _Frames:
    """Cuts what was heard into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.heard = 0

    def feed(self, data: bytes) -> Iterator[tuple[bytes, bytes]]:
        """The frames that ``data`` completes."""
        self.heard += len(data)
        if self.heard > MAX_LIFE_BYTES - _RESERVE_BYTES:
            raise Misbehaved("it logged more than a handler may")
        self._buffer += data
        while len(self._buffer) >= _FRAME.size:
            kind, size = _FRAME.unpack_from(self._buffer)
            if size > MAX_FRAME_BYTES:
                raise Misbehaved("it does not keep the protocol")
            if len(self._buffer) < _FRAME.size + size:
                return
            payload = bytes(self._buffer[_FRAME.size : _FRAME.size + size])
            del self._buffer[: _FRAME.size + size]
            yield kind, payload


@functools.cache
def _program(name: str) -> str:
    return (resources.files("raworc.sandbox.runner") / name).read_text(encoding="utf-8")
