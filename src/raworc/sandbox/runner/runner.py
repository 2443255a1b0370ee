"""Runs an agent's handler inside a sandbox: asked on standard input, its answers and its log on standard output.

Handed to the system's Python (3.9 or later) as a text, so it is the standard library only. Arguments: the runtime
(``python3`` or ``node``), the folder of the agent's code, the handler (``main.process_message``), and the program that
Node runs (``runner.js``).

The handler runs in a child. What the child writes to its standard output and error is log, never protocol: it is read
here and passed on in frames of ``FRAME`` (kind, length): ``o`` and ``e`` bytes of the two, ``a`` bytes of answers,
``x`` how the child ended, which is the last one. What was logged before an answer is passed on before it.

A question is its length, then five texts, each behind its length: message, session, space, creator, time in seconds.
An answer is one byte, a length and a text: ``=`` the reply, ``!`` what the handler raised, ``?`` why there is none.
"""

import fcntl
import importlib
import os
import select
import site
import struct
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

FRAME = struct.Struct("!cI")
ANSWER = struct.Struct("!cI")
SIZE = struct.Struct("!I")
PIPE_BYTES = 65_536
OWN_FILE = "<string>"
"""What tracebacks call this program."""
NODE_ASKS_FD, NODE_SAYS_FD = 3, 4
NO_NODE = "Node is not installed on this node: install the package 'nodejs', so that 'node' is in /usr/bin"


class Context(dict[str, "Any"]):
    """What a handler may know about its message; each entry is an attribute, too."""

    def __getattr__(self, name: str) -> "Any":  # noqa: ANN401  entries are of many kinds
        """The entry of that name."""
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


def main() -> None:
    """Start the child, then pass on what it says until it ends."""
    runtime, folder, handler, program = sys.argv[1:5]
    (log, log_end), (errors, errors_end), (answers, answers_end) = os.pipe(), os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        asked, says = (fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 32) for number in (0, answers_end))
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(log_end, 1)
        os.dup2(errors_end, 2)
        os.closerange(3, 32)
        if runtime == "node":
            become_node(asked, says, [folder, handler], program)
        serve(asked, says, folder, handler)
        sys.exit(0)
    for number in (0, log_end, errors_end, answers_end):
        os.close(number)
    pump(pid, {answers: b"a", errors: b"e", log: b"o"})


# ── what passes on ────────────────────────────────────────────────────────────────────────────────────────
def pump(pid: int, sources: "dict[int, bytes]") -> None:
    """Frames of all that comes, until the child has ended: what it has started may hold its pipes for longer.

    ``sources`` are pipes and their kinds. They are read in that order and passed on in the other one: what was logged
    before an answer is there by the time that the answer is.
    """
    poll = select.poll()
    life = os.pidfd_open(pid)
    for number in (life, *sources):
        poll.register(number, select.POLLIN)
        os.set_blocking(number, False)
    alive = True
    while alive:
        alive = life not in dict(poll.poll())
        taken = [(number, take(number)) for number in sources]
        for number, data in reversed(taken):
            if data:
                write(1, FRAME.pack(sources[number], len(data)) + data)
            elif data is not None:
                poll.unregister(number)
                del sources[number]
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    ended = f"it was ended by signal {-status}" if status < 0 else f"it ended with exit code {status}"
    write(1, FRAME.pack(b"x", len(ended)) + ended.encode())


def take(number: int) -> "bytes | None":
    """As much as a pipe holds; None when nothing is there, empty when nobody writes to it any more."""
    try:
        return os.read(number, PIPE_BYTES)
    except BlockingIOError:
        return None


def write(number: int, data: bytes) -> None:
    """All of it."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(number, rest) :]


# ── what runs the handler ─────────────────────────────────────────────────────────────────────────────────
def become_node(asked: int, says: int, words: "list[str]", program: str) -> None:
    """Turn into Node. Returns only where there is none."""
    os.dup2(asked, NODE_ASKS_FD)
    os.dup2(says, NODE_SAYS_FD)
    try:
        os.execvp("node", ["node", "-e", program, "--", *words])  # noqa: S606, S607  the sandbox's own PATH
    except OSError:
        refuse(asked, says, NO_NODE)


def serve(asked: int, says: int, folder: str, handler: str) -> None:
    """Answer messages, one by one, until nobody asks any more."""
    function = loaded(folder, handler)
    if isinstance(function, str):
        refuse(asked, says, function)
    while True:
        message, *about = question(asked)
        kind, text = answer(function, message, context(about))
        tell(says, kind, text)


def loaded(folder: str, handler: str) -> "Callable[..., Any] | str":
    """The handler's function, or why there is none."""
    module, _, name = handler.rpartition(".")
    sys.stdout, sys.stderr = (
        os.fdopen(number, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)
        for number in (1, 2)
    )
    sys.argv = [folder]
    sys.dont_write_bytecode = True
    before = set(sys.path)
    site.addsitedir(folder + "/.deps")
    added = [path for path in sys.path if path not in before]
    sys.path[:] = [folder, *added, *(path for path in sys.path if path in before)]
    function, wrong = tried(lambda: getattr(importlib.import_module(module), name))
    if wrong is not None:
        return f"'{handler}' cannot be loaded: {wrong}"
    return function if callable(function) else f"'{handler}' is no function"


def answer(function: "Callable[..., Any]", message: str, about: Context) -> "tuple[bytes, str]":
    """What the handler says to one message."""
    result, wrong = tried(lambda: finished(function(message, about)))
    if wrong is not None:
        return b"!", wrong
    if not isinstance(result, str):
        return b"!", f"the handler returned {type(result).__name__}, not a string"
    return b"=", result


def finished(result: "Any") -> "Any":  # noqa: ANN401  whatever it returns
    """The result itself; what an asynchronous one comes to: all messages have one event loop."""
    global _loop  # noqa: PLW0603  this program runs one handler
    if not hasattr(result, "__await__"):
        return result
    if _loop is None:
        asyncio = importlib.import_module("asyncio")  # takes longer than all else here
        _loop = asyncio.new_event_loop()
        asyncio.set_event_loop(_loop)

    async def waited() -> "Any":  # noqa: ANN401  whatever it returns
        return await result

    return _loop.run_until_complete(waited())


_loop: "Any" = None


def tried(work: "Callable[[], Any]") -> "tuple[Any, str | None]":
    """What the agent's code comes to, and what it raised instead, which is logged with its place."""
    try:
        return work(), None
    except BaseException as error:  # noqa: BLE001  whatever it raises is an answer
        traceback = importlib.import_module("traceback")
        where = error.__traceback__
        while where is not None and where.tb_frame.f_code.co_filename == OWN_FILE:
            where = where.tb_next
        traceback.print_exception(type(error), error, where)
        return None, "".join(traceback.format_exception_only(type(error), error)).strip()


def context(about: "list[str]") -> Context:
    """The texts behind a message by their names."""
    session_id, space, created_by, seconds = about
    return Context(session_id=session_id, space=space, created_by=created_by, timestamp=int(seconds))


# ── the protocol ──────────────────────────────────────────────────────────────────────────────────────────
def question(asked: int) -> "list[str]":
    """The texts of the next question; ends the program when there will be none."""
    body = read(asked, SIZE.unpack(read(asked, SIZE.size))[0])
    texts: list[str] = []
    at = 0
    while at < len(body):
        size = SIZE.unpack_from(body, at)[0]
        at += SIZE.size
        texts.append(body[at : at + size].decode("utf-8", "replace"))
        at += size
    return texts


def read(number: int, size: int) -> bytes:
    """So many bytes."""
    data = b""
    while len(data) < size:
        piece = os.read(number, size - len(data))
        if not piece:
            sys.exit(0)
        data += piece
    return data


def refuse(asked: int, says: int, reason: str) -> "NoReturn":
    """Answer the first message with the reason why there is no handler, then end."""
    question(asked)
    tell(says, b"?", reason)
    sys.exit(1)


def tell(says: int, kind: bytes, text: str) -> None:
    """Say one answer, behind all that was logged."""
    for stream in (sys.stdout, sys.stderr):
        if not stream.closed:
            stream.flush()
    data = text.encode("utf-8", "replace")
    write(says, ANSWER.pack(kind, len(data)) + data)


if __name__ == "__main__":
    main()
