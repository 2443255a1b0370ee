"""What a probe is and how it says that something got through. Runs inside the sandbox: standard library only."""

import ctypes
import errno
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Probe = tuple[str, Callable[[dict[str, Any]], None]]

libc = ctypes.CDLL(None, use_errno=True)
PR_GET_DUMPABLE = 3


class Escape(Exception):
    """A probe got further than it may; the text says how far."""


def denied(action: "Callable[[], object]", *numbers: int) -> None:
    """The action must fail with one of these errors (any, when none is given)."""
    try:
        answer = action()
    except OSError as error:
        if numbers and error.errno not in numbers:
            wanted = " or ".join(errno.errorcode.get(number, str(number)) for number in numbers)
            raise Escape("failed by " + errno.errorcode.get(error.errno or 0, str(error)) + ", not " + wanted) from None
        return
    raise Escape("succeeded: " + repr(answer)[:100])


def syscall(number: int, *arguments: object) -> int:
    """One system call by number; a failure is an OSError."""
    answer = libc.syscall(ctypes.c_long(number), *(_long(argument) for argument in arguments))
    if answer == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return answer


def _long(argument: object) -> object:
    return ctypes.c_long(argument) if isinstance(argument, int) else argument


def in_child(action: "Callable[[], object]") -> int:
    """How a child that does this ends: its exit status, or minus the signal that killed it."""
    pid = os.fork()
    if pid == 0:
        try:
            action()
        except OSError:
            os._exit(1)
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
