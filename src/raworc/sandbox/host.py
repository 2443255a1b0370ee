"""What this machine offers for isolation, found out by trying. Used before the first sandbox and by ``doctor``."""

import functools
import os
import platform
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from raworc.sandbox import beneath, cgroups, recipe, seccomp
from raworc.sandbox.driver import SandboxUnavailable

OLDEST_BWRAP: Final = (0, 8, 0)
"""The first with ``--disable-userns``; ``--size`` and ``--perms`` came before."""
OLDEST_PYTHON: Final = (3, 9)
_KERNEL_COUNTS_PER_NAMESPACE: Final = (5, 14)
_TIMEOUT_S: Final = 20
_NOBODY: Final = 65534


@dataclass(frozen=True)
class Missing:
    """Something without which there is no isolation here, and what cures it."""

    what: str
    cure: str


def bwrap_path() -> str | None:
    """bwrap, looked for where the system installs programs."""
    return shutil.which("bwrap", path=recipe.BASE_ENV["PATH"])


def missing() -> Missing | None:
    """The first thing that this host lacks, None when it can isolate. Tries it: takes about 50 ms."""
    if seccomp.host_arch() is None:
        return Missing(f"no system call filter for '{platform.machine()}'", "run on x86_64 or aarch64")
    if bwrap_path() is None:
        return Missing("bubblewrap is not installed", "run 'sudo apt-get install --yes bubblewrap'")
    if not Path(recipe.PYTHON).exists() or python_version() < OLDEST_PYTHON:
        return Missing(f"'{recipe.PYTHON}' is absent or old", "run 'sudo apt-get install --yes python3-minimal'")
    if bwrap_version() < OLDEST_BWRAP:
        return Missing(
            "bubblewrap is older than 0.8.0", "install bubblewrap 0.8.0 or later (Debian 12, Ubuntu 24.04 have it)"
        )
    if not beneath.is_supported():
        return Missing("the kernel has no openat2 or forbids it", "use Linux 5.6 or later, outside of old containers")
    refused = _namespaces_refused()
    return _namespace_cure(refused) if refused is not None else None


@functools.cache
def require() -> str:
    """The path of bwrap on a host that can isolate. Tried until it can, then remembered.

    Raises:
        SandboxUnavailable: it cannot; the message says what to do.
    """
    lacking = missing()
    bwrap = bwrap_path()
    if lacking is not None or bwrap is None:
        raise SandboxUnavailable(_text(lacking))
    return bwrap


def bwrap_version() -> tuple[int, ...]:
    """Of the installed bubblewrap."""
    return program_version(bwrap_path() or "bwrap")


def python_version() -> tuple[int, ...]:
    """Of the system's Python, which runs the guest."""
    return program_version(recipe.PYTHON)


def program_version(program: str) -> tuple[int, ...]:
    """What ``program --version`` says; ``(0,)`` when it says nothing or is not there."""
    try:
        done = subprocess.run(  # noqa: S603  asks a program of the system for its version
            [program, "--version"], capture_output=True, timeout=_TIMEOUT_S, check=False, text=True
        )
    except OSError:
        return (0,)
    return _numbers(done.stdout)


def counts_processes_per_sandbox() -> bool:
    """Whether RLIMIT_NPROC bounds one sandbox alone: one user each (root), or a kernel that counts by namespace."""
    return os.geteuid() == 0 or _numbers(os.uname().release) >= _KERNEL_COUNTS_PER_NAMESPACE


def group_parents() -> cgroups.Parents | None:
    """Where control groups may be made."""
    return cgroups.detect()


def _namespaces_refused() -> str | None:
    """What bwrap says when it may not make its namespaces, None when it may. As nobody where we are root."""
    nobody = _NOBODY if os.geteuid() == 0 else None
    trial = [
        *(bwrap_path() or "bwrap", "--unshare-user", "--disable-userns", "--unshare-pid", "--unshare-net"),
        *("--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try", "--uid", "1000", "--gid", "1000"),
        *("--ro-bind", "/usr", "/usr", "--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64"),
        *("--proc", "/proc", "--dev", "/dev", "--", "/usr/bin/true"),
    ]
    try:
        done = subprocess.run(  # noqa: S603  fixed arguments
            trial,
            env={},
            cwd="/",
            capture_output=True,
            timeout=_TIMEOUT_S,
            check=False,
            text=True,
            user=nobody,
            group=nobody,
            extra_groups=None if nobody is None else (),
        )
    except subprocess.TimeoutExpired:
        return "bwrap does not come to an end"
    except (OSError, subprocess.SubprocessError) as error:
        return f"bwrap could not be started: {error}"
    return None if done.returncode == 0 else done.stderr.strip() or f"bwrap ended with status {done.returncode}"


def _namespace_cure(refused: str) -> Missing:
    what = f"this user may not make namespaces ({refused})"
    for switch, wanted in {
        "kernel/apparmor_restrict_unprivileged_userns": "0",
        "kernel/unprivileged_userns_clone": "1",
    }.items():
        file = Path("/proc/sys") / switch
        if file.exists() and file.read_text(encoding="ascii").strip() != wanted:
            return Missing(what, f"run 'sudo sysctl -w {switch.replace('/', '.')}={wanted}'")
    most = Path("/proc/sys/user/max_user_namespaces")
    if most.exists() and most.read_text(encoding="ascii").strip() == "0":
        return Missing(what, "run 'sudo sysctl -w user.max_user_namespaces=15000'")
    return Missing(what, "in a container, start it with '--privileged' or run Raworc on the host")


def _text(lacking: Missing | None) -> str:
    if lacking is None:
        return "This host cannot isolate agents: bubblewrap has just gone"
    return f"This host cannot isolate agents: {lacking.what}. To cure it, {lacking.cure}"


def _numbers(text: str) -> tuple[int, ...]:
    found = re.search(r"\d+(\.\d+)+", text)
    return tuple(int(part) for part in found[0].split(".")) if found else (0,)
