"""A person at a terminal: the command line as a process, with one credentials file, through pipes or a real pty."""

import io
import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import pytest

from raworc.cli import main

_PATIENCE_S = 60.0
_MOVES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


@dataclass
class Shell:
    """One credentials file, one server."""

    env: dict[str, str]

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "raworc", *arguments],
            env=self.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, typed: str = "", code: int = 0) -> str:
        process = self.start(*arguments)
        out, err = process.communicate(typed, timeout=60)
        assert process.returncode == code, f"{arguments}: {out}{err}"
        return out + err

    def here(self, *arguments: str, typed: str = "", code: int = 0) -> str:
        """The same inside this process, which saves the start of one."""
        out, read = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.TextIOWrapper(io.BytesIO(typed.encode()), "utf-8")
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(out):
            for name, value in self.env.items():
                patch.setenv(name, value)
            patch.setattr(sys, "stdin", read)
            ended = main.run(arguments or ["shell"])
        out.flush()
        said = out.buffer.getvalue().decode(errors="surrogateescape")
        assert ended == code, f"{arguments}: {said}"
        return said

    def json(self, *arguments: str) -> dict[str, object]:
        return json.loads(self.here(*arguments, "--json"))

    def open(self, *arguments: str) -> "Terminal":
        """The command at a terminal of its own."""
        return Terminal([sys.executable, "-m", "raworc", *arguments], self.env)


class Terminal:
    """A program on a pty."""

    def __init__(self, command: list[str], env: dict[str, str]) -> None:
        self._outer, inner = os.openpty()
        self._seen = b""
        self._process = subprocess.Popen(
            command,
            env={**env, "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1"},
            stdin=inner,
            stdout=inner,
            stderr=inner,
            start_new_session=True,
        )
        os.close(inner)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        os.close(self._outer)

    def type(self, keys: str) -> None:
        os.write(self._outer, keys.encode())

    def interrupt(self) -> None:
        """Ctrl-C while a command runs."""
        self._process.send_signal(signal.SIGINT)

    def until(self, text: str) -> str:
        """What is shown up to ``text``, without colours and movements."""
        ends = time.monotonic() + _PATIENCE_S
        while text not in (shown := _MOVES.sub("", self._seen.decode(errors="replace"))):
            assert select.select([self._outer], [], [], max(0, ends - time.monotonic()))[0], shown
            self._seen += os.read(self._outer, 65536)
        before, _, after = shown.partition(text)
        self._seen = after.encode()
        return before + text

    def ended(self) -> int:
        """The exit code; what is still shown is read meanwhile, so that nobody waits for it."""
        ends = time.monotonic() + _PATIENCE_S
        while self._process.poll() is None:
            assert time.monotonic() < ends
            if select.select([self._outer], [], [], 0.05)[0]:
                try:
                    os.read(self._outer, 65536)
                except OSError:  # the other end is closed
                    break
        return self._process.wait(_PATIENCE_S)


def wait_for(terminal: int, text: bytes) -> bytes:
    """Read a pty until ``text`` is there."""
    seen, ends = b"", time.monotonic() + _PATIENCE_S
    while text not in seen:
        assert select.select([terminal], [], [], max(0, ends - time.monotonic()))[0], seen
        seen += os.read(terminal, 65536)
    return seen
