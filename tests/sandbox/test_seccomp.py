"""The filter is run by a small interpreter of its own here: what it decides is looked at, not how it is built."""

import errno
import re
import struct
from pathlib import Path
from typing import get_args

import pytest

from raworc.sandbox.seccomp import Arch, host_arch, instructions, program
from raworc.sandbox.syscalls import ABSENT, JUDGED, NEWEST_REVIEWED, REFUSED

ARCHES: tuple[Arch, ...] = get_args(Arch)
AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
ALLOW, KILL = 0x7FFF0000, 0x80000000
HEADERS = {
    "x86_64": (Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"), r"#define __NR_(\w+)\s+(\d+)"),
    "aarch64": (Path("/usr/include/asm-generic/unistd.h"), r"#define __NR(?:3264)?_(\w+)\s+(\d+)\s*$"),
}


def decide(arch: Arch, number: int, *arguments: int, audit: int | None = None) -> int:
    """What the filter answers for a call; a struct seccomp_data is number, arch, address, six arguments."""
    given = [argument & (2**64 - 1) for argument in (*arguments, *[0] * (6 - len(arguments)))]
    data = struct.pack("<iIQ6Q", number, AUDIT[arch] if audit is None else audit, 0, *given)
    code, at, value = instructions(arch), 0, 0
    while True:
        operation, if_true, if_false, operand = code[at]
        at += 1
        match operation:
            case 0x20:
                value = struct.unpack_from("<I", data, operand)[0]
            case 0x54:
                value &= operand
            case 0x06:
                return operand
            case 0x15 | 0x35 | 0x45:
                passed = {0x15: value == operand, 0x35: value >= operand, 0x45: bool(value & operand)}[operation]
                at += if_true if passed else if_false
            case _:
                raise AssertionError(f"unknown instruction {operation:#x}")


def failing(number: int) -> int:
    return 0x00050000 | number


def number(name: str, arch: Arch) -> int:
    found = {**REFUSED, **ABSENT, **JUDGED}[name][ARCHES.index(arch)]
    assert found is not None
    return found


@pytest.mark.parametrize("arch", ARCHES)
def test_the_numbers_are_the_kernels(arch: Arch):
    path, pattern = HEADERS[arch]
    if not path.exists():
        pytest.skip("no kernel headers here")
    real = {match[1]: int(match[2]) for line in path.read_text().splitlines() if (match := re.match(pattern, line))}
    column = ARCHES.index(arch)
    ours = {name: both[column] for name, both in {**REFUSED, **ABSENT, **JUDGED}.items()}
    known = {name: found for name, found in ours.items() if name in real}
    assert len(known) > 60
    assert known == {name: real[name] for name in known}
    newer = {name: found for name, found in ours.items() if name not in real and found is not None}
    assert all(found > 440 for found in newer.values()), "only calls newer than the headers may be missing there"


@pytest.mark.parametrize("arch", ARCHES)
def test_each_table_has_its_answer(arch: Arch):
    for table, answer in ((REFUSED, failing(errno.EPERM)), (ABSENT, failing(errno.ENOSYS))):
        for name, both in table.items():
            found = both[ARCHES.index(arch)]
            assert found is None or decide(arch, found) == answer, name


@pytest.mark.parametrize("arch", ARCHES)
def test_everyday_calls_pass_and_unknown_ones_do_not_exist(arch: Arch):
    for everyday in {"x86_64": (0, 1, 9, 57, 59, 231), "aarch64": (63, 64, 222, 221, 94)}[arch]:
        assert decide(arch, everyday) == ALLOW
    assert decide(arch, NEWEST_REVIEWED) == ALLOW
    for unknown in (NEWEST_REVIEWED + 1, 500, 10_000):
        assert decide(arch, unknown) == failing(errno.ENOSYS)


@pytest.mark.parametrize("arch", ARCHES)
def test_another_abi_is_killed(arch: Arch):
    assert decide(arch, 1, audit=0x40000003) == KILL
    if arch == "x86_64":
        assert decide(arch, 0x40000000 | 39) == KILL


@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize(
    ("name", "arguments", "answer"),
    [
        ("clone", (17,), ALLOW),
        ("clone", (0x003D0F00,), ALLOW),
        ("clone", (0x10000000 | 17,), failing(errno.EPERM)),
        ("clone", (0x00020000,), failing(errno.EPERM)),
        ("ioctl", (0, 0x5401), ALLOW),
        ("ioctl", (0, 0x5412), failing(errno.EPERM)),
        ("ioctl", (0, 0x5412 | 1 << 32), failing(errno.EPERM)),
        ("ioctl", (0, 0x541C), failing(errno.EPERM)),
        ("prlimit64", (0, 7), ALLOW),
        ("prlimit64", (1, 7), failing(errno.EPERM)),
        ("personality", (0xFFFFFFFF,), ALLOW),
        ("personality", (0x0040000,), failing(errno.EPERM)),
        ("socketpair", (1, 1), ALLOW),
        ("socketpair", (30, 1), failing(errno.EAFNOSUPPORT)),
        ("socket", (1, 5, 0), ALLOW),
        ("socket", (2, 1 | 0o2000000, 6), ALLOW),
        ("socket", (10, 2, 17), ALLOW),
        ("socket", (2, 3, 1), failing(errno.EPERM)),
        ("socket", (2, 1, 132), failing(errno.EPROTONOSUPPORT)),
        ("socket", (16, 3, 0), ALLOW),
        ("socket", (16, 3, 9), failing(errno.EAFNOSUPPORT)),
        ("socket", (40, 1, 0), failing(errno.EAFNOSUPPORT)),
        ("socket", (38, 5, 0), failing(errno.EAFNOSUPPORT)),
    ],
)
def test_arguments_are_judged(arch: Arch, name: str, arguments: tuple[int, ...], answer: int):
    assert decide(arch, number(name, arch), *arguments) == answer


@pytest.mark.parametrize("arch", ARCHES)
def test_the_program_is_what_the_kernel_takes(arch: Arch):
    code = program(arch)
    assert len(code) == 8 * len(instructions(arch)) < 8 * 4096
    length = len(instructions(arch))
    for at, (operation, if_true, if_false, _) in enumerate(instructions(arch)):
        assert 0 <= if_true <= 255
        assert 0 <= if_false <= 255
        if operation in (0x15, 0x35, 0x45):
            assert at + 1 + max(if_true, if_false) < length


def test_this_machine_has_a_table():
    assert host_arch() in ARCHES
