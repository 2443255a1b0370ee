"""The sandbox's system call filter: classic BPF written by number, so that no library must know a call's name.

Everything is allowed but what ``syscalls.py`` lists; calls newer than the newest reviewed one do not exist. A
program of another ABI (i386, x32) is killed. Rules on arguments read their low 32 bits, as the kernel does for
the values that are judged here. Layout of ``seccomp_data`` and of an instruction: seccomp(2), bpf(4).
"""

import errno
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from raworc.sandbox.syscalls import ABSENT, JUDGED, NEWEST_REVIEWED, REFUSED

Arch = Literal["x86_64", "aarch64"]
Instruction = tuple[int, int, int, int]

_AUDIT_ARCH: Final[dict[Arch, int]] = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32_BIT: Final = 0x4000_0000

_LOAD, _JUMP_EQUAL, _JUMP_AT_LEAST, _JUMP_ANY_BIT, _AND, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
_NUMBER_OFFSET, _ARCH_OFFSET, _FIRST_ARGUMENT_OFFSET = 0, 4, 16

_ALLOW: Final = 0x7FFF_0000
_KILL: Final = 0x8000_0000
_ERRNO: Final = 0x0005_0000

_NEW_NAMESPACES: Final = 0x7E02_0000
"""CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET}; CLONE_NEWTIME is not a flag of clone."""
_TERMINAL_INPUT: Final = (0x5412, 0x541C, 0x5423)
"""TIOCSTI and TIOCLINUX (typing into somebody's terminal), TIOCSETD (old line disciplines)."""
_PERSONALITIES: Final = (0x0, 0x8, 0x20000, 0x20008, 0xFFFF_FFFF)
"""Linux, Linux32, their uname26 variants, and the question which one it is."""
_AF_UNIX, _AF_INET, _AF_INET6, _AF_NETLINK = 1, 2, 10, 16
_SOCKET_TYPE_MASK: Final = 0xF
_STREAM_OR_DATAGRAM: Final = (1, 2)
_DEFAULT_TCP_UDP: Final = (0, 6, 17)


@dataclass(frozen=True)
class Values:
    """A call is allowed when argument ``index`` (masked) is one of ``allowed``, else fails with ``error``."""

    index: int
    allowed: tuple[int, ...]
    error: int
    mask: int | None = None


def host_arch() -> Arch | None:
    """The architecture of this machine, or None when there is no table for it."""
    machine = os.uname().machine
    return machine if machine in ("x86_64", "aarch64") else None


def program(arch: Arch) -> bytes:
    """The filter as an array of ``struct sock_filter``, for ``bwrap --seccomp``."""
    return b"".join(struct.pack("<HBBI", *instruction) for instruction in instructions(arch))


def instructions(arch: Arch) -> list[Instruction]:
    """The filter, one tuple ``(code, jump if true, jump if false, operand)`` an instruction."""
    column = 0 if arch == "x86_64" else 1
    code: list[Instruction] = [
        (_LOAD, 0, 0, _ARCH_OFFSET),
        (_JUMP_EQUAL, 1, 0, _AUDIT_ARCH[arch]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER_OFFSET),
    ]
    if arch == "x86_64":
        code += _when(_JUMP_AT_LEAST, _X32_BIT, [_return(_KILL)])
    for table, error in ((REFUSED, errno.EPERM), (ABSENT, errno.ENOSYS)):
        for numbers in table.values():
            number = numbers[column]
            if number is not None:
                code += _when(_JUMP_EQUAL, number, [_fail(error)])
    code += _when(_JUMP_AT_LEAST, NEWEST_REVIEWED + 1, [_fail(errno.ENOSYS)])
    for name, rule in _rules():
        number = JUDGED[name][column]
        if number is not None:
            code += _when(_JUMP_EQUAL, number, rule)
    return [*code, _return(_ALLOW)]


def _rules() -> Iterator[tuple[str, list[Instruction]]]:
    yield "clone", [_argument(0), *_when(_JUMP_ANY_BIT, _NEW_NAMESPACES, [_fail(errno.EPERM)]), _return(_ALLOW)]
    yield "ioctl", [_argument(1), *_refuse(_TERMINAL_INPUT, errno.EPERM), _return(_ALLOW)]
    yield "personality", [*_require(Values(0, _PERSONALITIES, errno.EPERM)), _return(_ALLOW)]
    yield "prlimit64", [*_require(Values(0, (0,), errno.EPERM)), _return(_ALLOW)]
    yield "socketpair", [*_require(Values(0, (_AF_UNIX,), errno.EAFNOSUPPORT)), _return(_ALLOW)]
    yield "socket", _socket()


def _socket() -> list[Instruction]:
    """UNIX; NETLINK_ROUTE; TCP and UDP over INET and INET6: no raw packets, no protocol that loads a module."""
    internet = [
        *_require(Values(1, _STREAM_OR_DATAGRAM, errno.EPERM, mask=_SOCKET_TYPE_MASK)),
        *_require(Values(2, _DEFAULT_TCP_UDP, errno.EPROTONOSUPPORT)),
        _return(_ALLOW),
    ]
    return [
        _argument(0),
        *_when(_JUMP_EQUAL, _AF_UNIX, [_return(_ALLOW)]),
        *_when(_JUMP_EQUAL, _AF_NETLINK, [*_require(Values(2, (0,), errno.EAFNOSUPPORT)), _return(_ALLOW)]),
        *_when(_JUMP_EQUAL, _AF_INET, internet),
        *_when(_JUMP_EQUAL, _AF_INET6, internet),
        _fail(errno.EAFNOSUPPORT),
    ]


def _when(test: int, operand: int, body: list[Instruction]) -> list[Instruction]:
    """Run ``body`` (which returns, or falls out of its end) when the accumulator passes the test."""
    return [(test, 0, len(body), operand), *body]


def _require(rule: Values) -> list[Instruction]:
    masked = [] if rule.mask is None else [(_AND, 0, 0, rule.mask)]
    tests = [(_JUMP_EQUAL, len(rule.allowed) - position, 0, value) for position, value in enumerate(rule.allowed)]
    return [_argument(rule.index), *masked, *tests, _fail(rule.error)]


def _refuse(values: tuple[int, ...], error: int) -> list[Instruction]:
    return [instruction for value in values for instruction in _when(_JUMP_EQUAL, value, [_fail(error)])]


def _argument(index: int) -> Instruction:
    return (_LOAD, 0, 0, _FIRST_ARGUMENT_OFFSET + 8 * index)


def _fail(error: int) -> Instruction:
    return _return(_ERRNO | error)


def _return(value: int) -> Instruction:
    return (_RETURN, 0, 0, value)
