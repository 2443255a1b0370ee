"""Pid 1 of every sandbox: runs commands for whoever holds the other end of its control socket.

Handed in as one file and run by the system's Python (3.9 or later) with ``-I -S``, so it is the standard library
only, and only its C parts: ``signal``, ``socket`` or ``json`` would triple the time until the first command.

Control socket (descriptor 3, SOCK_SEQPACKET): we send ``ready`` once; each message from outside carries one
descriptor, the stream of one command, and may carry its standard input; output is then cut at its end, not in the
middle. When the socket closes, so do we, and the kernel kills all that is left inside.

Stream of a command, from outside: ``REQUEST`` header, environment (NUL between entries), script. Its write side
closing means: stop the command. From inside: frames of ``FRAME`` (kind, length) and payload: ``o`` output, ``x``
its ``EXIT``, ``e`` (an errno) when it could not be started. Outside everything we say is hostile, so nothing here is
a boundary: what we bound (output, time) we bound for politeness and for the neighbours' sake.
"""

import _socket
import errno
import fcntl
import os
import select
import struct
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

sys.path.insert(0, "/run/raworc")  # the other half lies beside us, below its package's name
from raworc.sandbox.guest.command import become, hide, session_members, signal_session  # noqa: E402  see above
from raworc.sandbox.guest.frames import (  # noqa: E402  see above
    EXIT,
    FAILURE,
    FRAME,
    GRACE_S,
    MAX_FRAME_BYTES,
    MAX_REQUEST_BYTES,
    REQUEST,
)

_signal: "Any" = __import__("_signal")  # 'signal' would import enum: a third of our start

CONTROL_FD = 3
MAX_RUNS = 64
MAX_LINGERING = 256
COALESCE_S = 0.01
SETTLE_S = 0.02
PAUSE_BYTES = 262_144


class Run:
    """One command, from its request to the last byte of its answer."""

    def __init__(self, stream: _socket.socket) -> None:
        self.stream = stream
        self.request = bytearray()
        self.stdin = -1
        self.pid = 0
        self.pipe = -1
        self.output = bytearray()
        self.tail = bytearray()
        self.frames = bytearray()
        self.head_limit = self.tail_limit = self.file_limit = 0
        self.total = self.head = 0
        self.started = self.stop_at = self.kill_at = self.flush_at = 0.0
        self.flushed = 0.0
        self.reason = 0
        self.status: int | None = None
        self.ended = self.deaf = self.closed = False

    def events(self) -> int:
        """What its stream waits for."""
        return (0 if self.deaf else select.EPOLLIN) | (select.EPOLLOUT if self.frames else 0)

    def timers(self, now: float) -> "tuple[float, float]":
        """When something is due, 0.0 for nothing: its end (looked for often once it is asked to), its output."""
        return min(self.kill_at, now + SETTLE_S) if self.kill_at else self.stop_at, self.flush_at

    def take(self, data: bytes) -> None:
        """Output of the command: the first part is passed on, of the rest the end is kept."""
        self.total += len(data)
        room = self.head_limit - self.head
        if room > 0:
            self.output += data[:room]
            self.head += min(room, len(data))
            data = data[room:]
        self.tail += data
        if len(self.tail) > 2 * self.tail_limit + MAX_FRAME_BYTES:
            del self.tail[: -self.tail_limit or len(self.tail)]

    def flush(self, now: float) -> None:
        """Turn collected output into frames."""
        while self.output:
            chunk = bytes(self.output[:MAX_FRAME_BYTES])
            del self.output[:MAX_FRAME_BYTES]
            self.frames += FRAME.pack(b"o", len(chunk)) + chunk
        self.flushed = now
        self.flush_at = 0.0

    def finish(self, now: float) -> None:
        """The last frames: the end of the output, then the exit."""
        del self.tail[: max(0, len(self.tail) - self.tail_limit)]
        left_out = self.total - self.head - len(self.tail)
        self.output += self.tail
        self.flush(now)
        status = self.status or 0
        code = -status + 128 if status < 0 else status
        duration_ms = min(0xFFFF_FFFF, int((now - self.started) * 1000))
        self.frames += FRAME.pack(b"x", EXIT.size) + EXIT.pack(code, self.reason, duration_ms, left_out, self.head)
        self.ended = True

    def fail(self, number: int) -> None:
        """The command could not be started."""
        self.frames += FRAME.pack(b"e", FAILURE.size) + FAILURE.pack(number)
        self.ended = True


class Guest:
    """The loop: one thread, one epoll."""

    def __init__(self, pids: int) -> None:
        self.pids = pids
        self.control = _socket.socket(fileno=CONTROL_FD)
        self.epoll = select.epoll()
        self.runs: dict[int, Run] = {}
        self.live: set[Run] = set()
        self.by_pipe: dict[int, Run] = {}
        self.lingering: list[int] = []
        self.wake, wake_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        _signal.set_wakeup_fd(wake_end, warn_on_full_buffer=False)

    def serve(self) -> None:
        """Until the control socket closes."""
        self.epoll.register(self.control.fileno(), select.EPOLLIN)
        self.epoll.register(self.wake, select.EPOLLIN)
        self.control.send(b"ready")
        asked = False
        while True:
            for descriptor, event in self.epoll.poll(self.next_timer()):
                if descriptor == CONTROL_FD:
                    asked = True  # last: a new stream may get the number of one that has an event here and is closed
                elif descriptor == self.wake:
                    os.read(self.wake, 4096)
                    self.reap()
                elif descriptor in self.runs:
                    self.on_stream(self.runs[descriptor], event)
                else:
                    self.on_pipe(descriptor)
            self.on_timers(time.monotonic())
            if asked and not self.accept():
                return
            asked = False

    def accept(self) -> bool:
        """Take the stream of a new command; False when the other end is gone."""
        message, ancillary, _, _ = self.control.recvmsg(16, _socket.CMSG_SPACE(8))
        for _, _, data in ancillary:
            first, *more = struct.unpack(f"{len(data) // 4}i", data)
            stream = _socket.socket(fileno=first)
            stream.settimeout(0)
            run = self.runs[first] = Run(stream)
            run.stdin = more[0] if more else -1
            self.epoll.register(stream.fileno(), select.EPOLLIN)
        return bool(message)

    def on_stream(self, run: Run, event: int) -> None:
        """The request comes in, the answer goes out, or the caller has gone."""
        if event & select.EPOLLHUP:
            self.leave(run)
            return
        if event & select.EPOLLOUT:
            self.send(run)
        if not event & select.EPOLLIN or run.closed:
            return
        try:
            data = run.stream.recv(MAX_FRAME_BYTES)
        except OSError:
            data = b""
        if run.pid or run.ended:
            if not data:
                self.abandon(run)
            return
        run.request += data
        if not data or len(run.request) > MAX_REQUEST_BYTES:
            self.close(run)
        elif len(run.request) >= REQUEST.size:
            self.begin(run)

    def begin(self, run: Run) -> None:
        """Start the command once its request is complete."""
        limit_s, most, run.file_limit, env_size, script_size = REQUEST.unpack_from(run.request)
        if len(run.request) < REQUEST.size + env_size + script_size:
            return
        script_at = REQUEST.size + env_size
        env = bytes(run.request[REQUEST.size : script_at])
        script = bytes(run.request[script_at : script_at + script_size])
        run.request.clear()
        run.head_limit = most // 2 if run.stdin < 0 else most  # who talks wants the beginning, and all of it
        run.tail_limit = most - run.head_limit
        run.started = time.monotonic()
        run.stop_at = run.started + limit_s
        if len(self.live) >= MAX_RUNS:
            run.fail(errno.EAGAIN)
        else:
            try:
                self.start(run, script, env)
            except OSError as error:
                run.fail(error.errno or errno.EIO)
        self.send(run)

    def start(self, run: Run, script: bytes, env: bytes) -> None:
        """Fork and execute; an error of the child before its exec is raised here."""
        pipe, pipe_end = os.pipe2(os.O_CLOEXEC)
        told, tell = os.pipe2(os.O_CLOEXEC)
        try:
            run.pid = os.fork()
            if not run.pid:
                become(script, env, (run.stdin, pipe_end), tell, (self.pids, run.file_limit))
        except OSError:
            os.close(pipe)
            os.close(told)
            raise
        finally:
            os.close(pipe_end)
            os.close(tell)
            self.let_go(run)
        failure = os.read(told, 4)
        os.close(told)
        if failure:
            os.close(pipe)
            os.waitpid(run.pid, 0)
            run.pid = 0
            number = struct.unpack("i", failure)[0]
            raise OSError(number, os.strerror(number))
        os.set_blocking(pipe, False)
        run.pipe = pipe
        self.live.add(run)
        self.by_pipe[pipe] = run
        self.epoll.register(pipe, select.EPOLLIN)

    def on_pipe(self, descriptor: int) -> None:
        """Output of a command, or of what a finished one left behind (which is thrown away).

        What was closed since the events were asked for, a stream too, is nothing any more.
        """
        run = self.by_pipe.get(descriptor)
        if run is None and descriptor not in self.lingering:
            return
        try:
            data = os.read(descriptor, MAX_FRAME_BYTES)
        except BlockingIOError:
            return
        if not data:
            self.drop_pipe(descriptor)
        elif run is not None:
            run.take(data)
            now = time.monotonic()
            talks = not run.tail_limit  # then each piece is waited for
            if talks or now - run.flushed >= COALESCE_S or len(run.output) >= MAX_FRAME_BYTES:
                run.flush(now)
                self.send(run)
            elif run.output and not run.flush_at:
                run.flush_at = run.flushed + COALESCE_S

    def drop_pipe(self, descriptor: int) -> None:
        """Nobody writes to it any more."""
        self.epoll.unregister(descriptor)
        os.close(descriptor)
        run = self.by_pipe.pop(descriptor, None)
        if run is not None:
            run.pipe = -1
        else:
            self.lingering.remove(descriptor)

    def reap(self) -> None:
        """Collect every dead child, ours and orphans."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            for run in [run for run in self.live if run.pid == pid]:
                run.status = os.waitstatus_to_exitcode(status)
                if not run.kill_at:
                    self.settle(run)

    def settle(self, run: Run) -> None:
        """The command is over: what is still in its pipe belongs to it, what comes later does not."""
        if run.pipe >= 0:
            waiting = struct.unpack("i", fcntl.ioctl(run.pipe, 0x541B, b"\0\0\0\0"))[0]  # FIONREAD
            while waiting > 0:
                data = os.read(run.pipe, min(waiting, MAX_FRAME_BYTES))
                run.take(data)
                waiting -= len(data)
            del self.by_pipe[run.pipe]
            self.lingering.append(run.pipe)
            run.pipe = -1
            if len(self.lingering) > MAX_LINGERING:
                oldest = self.lingering[0]
                self.drop_pipe(oldest)
        self.live.discard(run)
        run.finish(time.monotonic())
        self.send(run)

    def send(self, run: Run) -> None:
        """Write what can be written; pause the command's output while its reader is behind."""
        if run.closed:
            run.frames.clear()
            return
        try:
            while run.frames:
                del run.frames[: run.stream.send(run.frames)]
        except BlockingIOError:
            pass
        except OSError:
            self.leave(run)
            return
        if run.ended and not run.frames:
            self.close(run)
            return
        self.epoll.modify(run.stream.fileno(), run.events())
        if run.pipe >= 0:
            paused = len(run.frames) > PAUSE_BYTES and run.head < run.head_limit
            self.epoll.modify(run.pipe, 0 if paused else select.EPOLLIN)

    def abandon(self, run: Run) -> None:
        """The caller wants no more of it: stop the command, answer when it is over."""
        run.deaf = True
        self.epoll.modify(run.stream.fileno(), run.events())
        if run.pid and not run.ended and not run.kill_at:
            self.stop(run, 2)

    def leave(self, run: Run) -> None:
        """Nobody reads the answer any more; the command is stopped all the same."""
        self.close(run)
        if run.pid and not run.ended and not run.kill_at:
            self.stop(run, 2)

    def stop(self, run: Run, reason: int) -> None:
        """Ask the command and its session to end; the timer sees to the rest."""
        run.reason = reason
        run.kill_at = time.monotonic() + GRACE_S
        signal_session(run.pid, _signal.SIGTERM)
        signal_session(run.pid, _signal.SIGCONT)  # the stopped hear it too

    def close(self, run: Run) -> None:
        """Close its stream; the run goes on being watched while its command lives."""
        self.let_go(run)
        if not run.closed:
            self.epoll.unregister(run.stream.fileno())
            del self.runs[run.stream.fileno()]
            run.stream.close()
            run.closed = True

    def let_go(self, run: Run) -> None:
        """Its standard input is its own from now on."""
        if run.stdin >= 0:
            os.close(run.stdin)
            run.stdin = -1

    def next_timer(self) -> float:
        """Seconds until something is due, -1 for never."""
        now = time.monotonic()
        due = [at for run in self.live for at in run.timers(now) if at]
        return max(0.0, min(due) - now) if due else -1

    def on_timers(self, now: float) -> None:
        """Time limits, the end of a grace period, output that waited for more."""
        for run in list(self.live):
            if run.flush_at and now >= run.flush_at:
                run.flush(now)
                self.send(run)
            if run.kill_at:
                if now >= run.kill_at:
                    signal_session(run.pid, _signal.SIGKILL)
                if run.status is not None and not session_members(run.pid):
                    self.settle(run)
            elif now >= run.stop_at:
                self.stop(run, 1)


def on_child(_number: int, _frame: object) -> None:
    """Python must have a handler for the loop to be woken."""


def main() -> None:
    """Close what bwrap left open, hide, ignore every signal there is, serve."""
    hide()
    os.closerange(4, 64)
    for number in range(1, _signal.NSIG):
        if number not in (_signal.SIGKILL, _signal.SIGSTOP, _signal.SIGCHLD, 32, 33):
            _signal.signal(number, _signal.SIG_IGN)
    _signal.signal(_signal.SIGCHLD, on_child)
    Guest(int(sys.argv[1])).serve()


if __name__ == "__main__":
    main()
