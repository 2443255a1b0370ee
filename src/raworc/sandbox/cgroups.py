"""A sandbox's place in the control groups: how it is limited, counted, frozen and found empty.

Version 1 (one folder a controller) and version 2 (one folder) alike, nested below our own group where the kernel
lets us, so that limits set on us stay in force. Not being allowed any is normal: then resource limits of the
process remain, and ``doctor`` says so. Format and semantics: the kernel's ``admin-guide/cgroup-v1`` and
``admin-guide/cgroup-v2``. Files of the kernel's own tree are read and written whole.
"""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from raworc.sandbox.driver import Limits

Version = Literal[1, 2]

CONTROLLERS: Final = ("memory", "pids", "cpu")
_FREEZER: Final = "freezer"
_UNIFIED: Final = "unified"
_CPU_PERIOD_US: Final = 100_000
_MEBIBYTE: Final = 1_048_576
SPARE_PIDS: Final = 8
"""Above the limit that commands meet: bwrap, the guest, and the shell with which a bomb can be stopped."""


@dataclass(frozen=True)
class Group:
    """One sandbox's folders: by controller in version 1, ``{"unified": folder}`` in version 2."""

    version: Version
    folders: dict[str, str]

    @property
    def process_files(self) -> list[str]:
        """What lists the pids in it, and takes the pid of who is to join."""
        return [f"{folder}/cgroup.procs" for folder in self.folders.values()]


@dataclass(frozen=True)
class Parents:
    """Where groups may be made on this host, and which of ``CONTROLLERS`` work there."""

    version: Version
    folders: dict[str, str]
    controllers: tuple[str, ...]

    def create(self, name: str, limits: Limits) -> Group:
        """Make the folders of one sandbox with its limits set.

        Raises:
            OSError: the kernel refused; nothing is left behind.
        """
        group = Group(self.version, {key: f"{folder}/raworc-{name}" for key, folder in self.folders.items()})
        try:
            for folder in group.folders.values():
                Path(folder).mkdir()
            for path, value in _limit_files(group, limits, self.controllers):
                Path(path).write_text(value, encoding="ascii")
        except OSError:
            remove(group)
            raise
        return group


def detect() -> Parents | None:
    """What this process may use here, tried out and not guessed; None when it may use nothing."""
    mounts = _mounts()
    own = _own_paths()
    folders = {
        controller: str(mounts[controller].joinpath(own[controller]))
        for controller in (*CONTROLLERS, _FREEZER)
        if controller in mounts and controller in own and _may_create(mounts[controller] / own[controller])
    }
    if folders:
        return Parents(1, folders, tuple(name for name in CONTROLLERS if name in folders))
    if _UNIFIED in mounts and _UNIFIED in own:
        return _unified(mounts[_UNIFIED], own[_UNIFIED], CONTROLLERS)
    return None


def join(group: Group | None, pid: int) -> None:
    """Put a process into it; children that it has by then stay where they are.

    Raises:
        OSError: the process has gone.
    """
    for path in group.process_files if group else ():
        Path(path).write_text(str(pid), encoding="ascii")


def oom_kills(group: Group | None) -> int:
    """How often the kernel has killed a process in it for memory; 0 where that is not counted."""
    if group is None:
        return 0
    path = (
        f"{group.folders.get('memory')}/memory.oom_control" if group.version == 1 else f"{_only(group)}/memory.events"
    )
    for line in _read(path).splitlines():
        key, _, value = line.partition(" ")
        if key == "oom_kill":
            return int(value)
    return 0


def processes_now(group: Group | None) -> int:
    """How many processes and threads are in it; 0 where that is not counted."""
    return _pids(group, "current")


def most_processes(group: Group | None) -> int:
    """How many there have been at once since it was made; 0 where that is not counted (before Linux 6.11)."""
    return _pids(group, "peak")


def can_freeze(group: Group | None) -> bool:
    """Whether :func:`freeze` works on it."""
    return group is not None and (group.version == 2 or _FREEZER in group.folders)  # noqa: PLR2004  a version


def freeze(group: Group, *, frozen: bool) -> None:
    """Stop or continue every process in it.

    Raises:
        OSError: the group is gone.
    """
    if group.version == 1:
        path, value = f"{group.folders[_FREEZER]}/freezer.state", "FROZEN" if frozen else "THAWED"
    else:
        path, value = f"{_only(group)}/cgroup.freeze", "1" if frozen else "0"
    Path(path).write_text(value, encoding="ascii")


def processes(group: Group) -> set[int]:
    """Host pids in it, of any of its folders. A group that is gone has none."""
    return {int(pid) for file in group.process_files for pid in _read(file).split()}


def kill(group: Group) -> None:
    """SIGKILL everything in it, frozen or not. Call again until :func:`processes` is empty."""
    with contextlib.suppress(OSError):
        if can_freeze(group):
            freeze(group, frozen=False)  # the frozen do not die before they are thawed (version 1)
    for pid in processes(group):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def remove(group: Group) -> bool:
    """Remove its folders; False while one is still in use (call again)."""
    removed = True
    for folder in group.folders.values():
        try:
            Path(folder).rmdir()
        except FileNotFoundError:
            continue
        except OSError:
            removed = False
    return removed


def sweep(parents: Parents, older_than_s: float) -> None:
    """Remove groups that nobody lives in, left by those who were killed before they could.

    The kernel refuses to remove one with processes, and a young one may be about to get some.
    """
    latest = time.time() - older_than_s
    for folder in parents.folders.values():
        for group in Path(folder).glob("raworc-*"):
            with contextlib.suppress(OSError):
                if group.stat().st_mtime < latest:
                    group.rmdir()


def _limit_files(group: Group, limits: Limits, controllers: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    quota = max(1000, int(limits.cpus * _CPU_PERIOD_US))
    memory = str(limits.memory_mb * _MEBIBYTE)
    pids = str(limits.pids + SPARE_PIDS)
    if group.version == 1:
        named = {
            "memory": (("memory.limit_in_bytes", memory), ("memory.memsw.limit_in_bytes", memory)),
            "pids": (("pids.max", pids),),
            "cpu": (("cpu.cfs_period_us", str(_CPU_PERIOD_US)), ("cpu.cfs_quota_us", str(quota))),
        }
    else:
        named = {
            "memory": (("memory.max", memory), ("memory.swap.max", "0")),
            "pids": (("pids.max", pids),),
            "cpu": (("cpu.max", f"{quota} {_CPU_PERIOD_US}"),),
        }
    for controller in controllers:
        folder = group.folders[controller] if group.version == 1 else _only(group)
        for name, value in named[controller]:
            path = f"{folder}/{name}"
            if "sw" not in name or Path(path).exists():  # a kernel without swap accounting has no such file
                yield path, value


def _unified(mount: Path, own: str, wanted: tuple[str, ...]) -> Parents | None:
    """The nearest group above us (ourselves included) that may have children with memory and pids limits.

    A group that holds processes cannot hand controllers down (``no internal process`` rule), so that is often
    the parent: below systemd the slice, which hands them to every service anyway.
    """
    for folder in (mount / own, *(mount / own).parents):
        if not folder.is_relative_to(mount) or not _may_create(folder):
            return None
        _hand_down(folder, wanted)
        usable = tuple(name for name in wanted if name in _read(f"{folder}/cgroup.subtree_control").split())
        if usable == wanted or {"memory", "pids"} <= set(usable):
            return Parents(2, {_UNIFIED: str(folder)}, usable)
    return None


def _hand_down(folder: Path, wanted: tuple[str, ...]) -> None:
    offered = _read(f"{folder}/cgroup.controllers").split()
    given = _read(f"{folder}/cgroup.subtree_control").split()
    for name in wanted:
        if name in offered and name not in given:
            with contextlib.suppress(OSError):  # EBUSY: it holds processes; EACCES: not ours
                (folder / "cgroup.subtree_control").write_text(f"+{name}", encoding="ascii")


def _may_create(folder: Path) -> bool:
    """Tried, because a read-only mount looks writable to root."""
    trial = folder / f"raworc-trial-{os.getpid()}"
    try:
        trial.mkdir()
        trial.rmdir()
    except OSError:
        return False
    return True


def _mounts() -> dict[str, Path]:
    """Mount point by controller (version 1) and ``unified``; mounts of a part of a tree are resolved to it."""
    found: dict[str, Path] = {}
    for line in _read("/proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        point = Path(before.split(" ")[4])
        if kind == "cgroup2":
            found.setdefault(_UNIFIED, point)
        elif kind == "cgroup":
            for option in options.split(","):
                found.setdefault(option, point)
    return found


def _own_paths() -> dict[str, str]:
    """Our own group by controller and ``unified``, relative to the mount point."""
    roots = {line.split(" ")[4]: line.split(" ")[3] for line in _read("/proc/self/mountinfo").splitlines()}
    points = {name: roots.get(str(point), "/") for name, point in _mounts().items()}
    own: dict[str, str] = {}
    for line in _read("/proc/self/cgroup").splitlines():
        _, names, path = line.split(":", 2)
        for name in names.split(",") if names else (_UNIFIED,):
            root = points.get(name, "/")
            own[name] = path.removeprefix(root).lstrip("/")
    return own


def _pids(group: Group | None, what: str) -> int:
    if group is None:
        return 0
    folder = group.folders.get("pids") if group.version == 1 else _only(group)
    said = _read(f"{folder}/pids.{what}").strip()
    return int(said) if said.isdigit() else 0


def _only(group: Group) -> str:
    return group.folders[_UNIFIED]


def _read(path: str) -> str:
    """The whole file; empty when it is gone or not for us."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError:
        return ""
