"""The guest's other half: what turns a forked child into a command, and how a command is found and signalled.

Same rules as ``guest.py``: run by the system's Python inside the sandbox, the standard library's C parts only.
"""

import _ctypes
import os
import resource
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_signal: "Any" = __import__("_signal")  # 'signal' would import enum: a third of our start

LONGEST_ARGUMENT = 131_071
SCRIPT_FD = 9

PR_SET_DUMPABLE = 4
PR_GET_DUMPABLE = 3
_prctl = _ctypes.dlsym(_ctypes.dlopen("", 0), "prctl")


def prctl(option: int, value: int) -> int:
    """Call prctl without the Python half of ctypes."""
    return _ctypes.call_function(_prctl, (option, value, 0, 0, 0))


def hide() -> None:
    """Make our memory and descriptors ours alone; better not to serve than to serve in the open."""
    prctl(PR_SET_DUMPABLE, 0)
    if prctl(PR_GET_DUMPABLE, 0) != 0:
        os._exit(70)


def session_members(session: int) -> list[int]:
    """Processes of a command's session: its group, and groups that its children made (as ``timeout`` does)."""
    members: list[int] = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open("/proc/" + name + "/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != b"Z":
            members.append(int(name))
    return members


def signal_session(session: int, number: int) -> None:
    """Send a signal to all of a command; the group first, which the kernel does in one go."""
    try:
        os.killpg(session, number)
    except ProcessLookupError:
        pass
    for pid in session_members(session):
        try:
            if os.getpgid(pid) != session:
                os.kill(pid, number)
        except ProcessLookupError:
            continue


def become(script: bytes, env: bytes, ends: "tuple[int, int]", tell: int, limits: "tuple[int, int]") -> None:
    """In the child: turn into the command, within ``limits``: processes, and bytes of a file.

    ``ends`` are where it reads (-1: nothing) and where it writes. Never returns; a failure is told as an errno.
    """
    try:
        os.setsid()
        for number in range(1, _signal.NSIG):
            if number not in (_signal.SIGKILL, _signal.SIGSTOP, 32, 33):  # the last two are the C library's
                _signal.signal(number, _signal.SIG_DFL)
        given, output = ends
        os.dup2(os.open("/dev/null", os.O_RDONLY) if given < 0 else given, 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.dup2(tell, 3, inheritable=False)
        tell = 3
        os.closerange(4, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        prctl(PR_SET_DUMPABLE, 1)  # /proc/self/oom_score_adj is root's otherwise; nothing secret is left here
        adjust = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
        os.write(adjust, b"1000")  # memory runs out: the command dies, not the guest
        os.close(adjust)
        pids, file_bytes = limits
        resource.setrlimit(resource.RLIMIT_NPROC, (pids, pids))
        os.chdir("/agent")
        words, variables = arguments(script), dict(entry.split(b"=", 1) for entry in env.split(b"\0") if entry)
        if file_bytes < resource.getrlimit(resource.RLIMIT_FSIZE)[1]:  # only now: a long script is a file itself
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
        os.execve("/bin/bash", words, variables)  # noqa: S606  bash is the shell
    except OSError as error:
        os.write(tell, struct.pack("i", error.errno))
    finally:
        os._exit(126)


def arguments(script: bytes) -> "list[bytes]":
    """``bash -c script``; a script longer than one argument may be is sourced from memory, which reads the same."""
    if len(script) <= LONGEST_ARGUMENT:
        return [b"bash", b"-c", script]
    file = os.memfd_create("script", 0)
    os.write(file, b"exec %d<&-; " % SCRIPT_FD + script)
    os.lseek(file, 0, os.SEEK_SET)
    os.dup2(file, SCRIPT_FD, inheritable=True)
    os.close(file)
    return [b"bash", b"-c", b". /dev/fd/%d" % SCRIPT_FD]
