"""Probes of the kernel's surface: every call that the filter closes, and the arguments that it judges."""

import ctypes
import errno
import fcntl
import os
import platform
import pty
import signal
import socket

from raworc.sandbox.attack.inside.verdict import Escape, denied, in_child, syscall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from raworc.sandbox.attack.inside.verdict import Probe

NOWHERE = -1
"""An address and a descriptor that are never valid: a call that reaches the kernel's own code fails by them."""
CLONE_FLAGS = {
    "NEWNS": 0x00020000,
    "NEWCGROUP": 0x02000000,
    "NEWUTS": 0x04000000,
    "NEWIPC": 0x08000000,
    "NEWUSER": 0x10000000,
    "NEWPID": 0x20000000,
    "NEWNET": 0x40000000,
}
FAMILIES = {
    "AX25": 3, "IPX": 4, "APPLETALK": 5, "X25": 9, "KEY": 15, "PACKET": 17, "RDS": 21, "CAN": 29, "TIPC": 30,
    "BLUETOOTH": 31, "ALG": 38, "NFC": 39, "VSOCK": 40, "KCM": 41, "SMC": 43, "XDP": 44,
}  # fmt: skip


def probes(context: "dict[str, Any]") -> "Iterator[Probe]":
    """All of them, for this machine's numbers."""
    for name, number in context["refused"].items():
        yield f"call {name}", lambda _, number=number: denied(lambda: _bad_call(number), errno.EPERM)
    for name, number in context["absent"].items():
        yield f"call {name}", lambda _, number=number: denied(lambda: _bad_call(number), errno.ENOSYS)
    for number in range(context["newest"] + 1, context["newest"] + 9):
        yield f"call {number}, not yet reviewed", lambda _, n=number: denied(lambda: _bad_call(n), errno.ENOSYS)
    for name, flag in CLONE_FLAGS.items():
        yield f"clone with {name}", lambda context, flag=flag: _clone(context["judged"]["clone"], flag)
    for name, family in FAMILIES.items():
        yield (
            f"socket family {name}",
            lambda _, family=family: denied(lambda: socket.socket(family, socket.SOCK_DGRAM), errno.EAFNOSUPPORT),
        )
    yield from OTHERS


def _bad_call(number: int) -> int:
    return syscall(number, NOWHERE, NOWHERE, NOWHERE, NOWHERE, NOWHERE, NOWHERE)


def _clone(number: int, flag: int) -> None:
    """With SIGCHLD only, this is a fork: the child ends at once."""

    def fork() -> int:
        pid = syscall(number, flag | signal.SIGCHLD, 0, 0, 0, 0)
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
        return pid

    denied(fork, errno.EPERM)


def raw_internet(_: "dict[str, Any]") -> None:
    denied(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1), errno.EPERM)
    denied(lambda: socket.socket(socket.AF_INET6, socket.SOCK_RAW, 58), errno.EPERM)


def rare_protocols(_: "dict[str, Any]") -> None:
    for kind, protocol in ((socket.SOCK_STREAM, 132), (socket.SOCK_STREAM, 262), (socket.SOCK_DGRAM, 136), (6, 33)):
        denied(lambda kind=kind, protocol=protocol: socket.socket(socket.AF_INET, kind, protocol))


def netlink_audit(_: "dict[str, Any]") -> None:
    for protocol in (4, 5, 9, 12, 15, 16):
        denied(lambda protocol=protocol: socket.socket(16, socket.SOCK_RAW, protocol), errno.EAFNOSUPPORT)


def tipc_pair(_: "dict[str, Any]") -> None:
    denied(lambda: socket.socketpair(30, socket.SOCK_STREAM), errno.EAFNOSUPPORT)  # pyright: ignore[reportArgumentType]


def type_into_a_terminal(_: "dict[str, Any]") -> None:
    """Also with high bits set, which the kernel ignores."""
    master, terminal = pty.openpty()
    ioctl = ctypes.CDLL(None, use_errno=True).ioctl
    for request in (0x5412, 0x5412 | 1 << 32, 0x541C, 0x5423):

        def push(request: int = request) -> int:
            answer = ioctl(terminal, ctypes.c_ulong(request), ctypes.byref(ctypes.c_int(0)))
            if answer == -1:
                raise OSError(ctypes.get_errno(), "ioctl")
            return answer

        denied(push, errno.EPERM)
    os.close(master)
    os.close(terminal)


def limits_of_pid_1(context: "dict[str, Any]") -> None:
    number = context["judged"]["prlimit64"]
    denied(lambda: syscall(number, 1, 7, 0, ctypes.byref(ctypes.create_string_buffer(16))), errno.EPERM)


def limits_of_a_neighbour_process(context: "dict[str, Any]") -> None:
    number = context["judged"]["prlimit64"]
    own = os.getppid()
    denied(lambda: syscall(number, own, 7, 0, ctypes.byref(ctypes.create_string_buffer(16))), errno.EPERM)


def odd_personality(context: "dict[str, Any]") -> None:
    denied(lambda: syscall(context["judged"]["personality"], 0x0040000), errno.EPERM)


def foreign_abi(_: "dict[str, Any]") -> None:
    """x32 calls on x86_64 are killed; other machines have none."""
    if platform.machine() != "x86_64":
        return
    ended = in_child(lambda: syscall(0x40000000 | 39))
    if ended not in (-signal.SIGSYS, 1):
        raise Escape(f"an x32 call ended with {ended}")


def the_filter_is_on(_: "dict[str, Any]") -> None:
    with open("/proc/self/status", encoding="ascii") as file:
        status = dict(line.split(":\t", 1) for line in file.read().splitlines() if ":\t" in line)
    if status["Seccomp"].strip() != "2" or status["NoNewPrivs"].strip() != "1":
        raise Escape("Seccomp " + status["Seccomp"] + ", NoNewPrivs " + status["NoNewPrivs"])


def no_capability(_: "dict[str, Any]") -> None:
    with open("/proc/self/status", encoding="ascii") as file:
        held = [line for line in file if line.startswith("Cap") and int(line.split()[1], 16)]
    if held:
        raise Escape(" ".join(held))


def inherited_descriptors(_: "dict[str, Any]") -> None:
    open_ones = {int(name) for name in os.listdir("/proc/self/fd")}
    for descriptor in open_ones - {0, 1, 2}:
        try:
            target = os.readlink(f"/proc/self/fd/{descriptor}")
        except FileNotFoundError:
            continue
        if not target.startswith("/proc/") and "/agent/" not in target:
            raise Escape(f"descriptor {descriptor} is {target}")


def controlling_terminal(_: "dict[str, Any]") -> None:
    denied(lambda: fcntl.ioctl(os.open("/dev/tty", os.O_RDWR), 0x5412, b"x"))


OTHERS: "list[Probe]" = [
    ("raw internet sockets", raw_internet),
    ("protocols that load modules", rare_protocols),
    ("netlink beyond routes", netlink_audit),
    ("socket pair of a rare family", tipc_pair),
    ("typing into a terminal", type_into_a_terminal),
    ("reading limits of pid 1", limits_of_pid_1),
    ("limits of another process", limits_of_a_neighbour_process),
    ("unusual personality", odd_personality),
    ("calls of another ABI", foreign_abi),
    ("filter and no-new-privileges are on", the_filter_is_on),
    ("capabilities", no_capability),
    ("inherited descriptors", inherited_descriptors),
    ("typing into the controlling terminal", controlling_terminal),
]
