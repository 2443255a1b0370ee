"""The bubblewrap command line of a sandbox: what is mounted, what is unshared, what is taken away.

Options go through ``--args FD`` (a process list shows nothing of them) and files through descriptors. bwrap
itself gets an empty environment: it runs outside, and a variable like LD_PRELOAD that an agent may choose must
never reach it. Commands get their environment from the guest.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from raworc.sandbox.driver import FOLDERS_INSIDE

GUEST_FOLDER: Final = "/run/raworc/raworc/sandbox/guest"
PYTHON: Final = "/usr/bin/python3"
INSIDE_UID: Final = 1000
_MEBIBYTE: Final = 1_048_576
_MAX_SHM_MB: Final = 64

_NAMESPACES: Final = (
    *("--unshare-user", "--disable-userns", "--unshare-pid", "--unshare-ipc"),
    *("--unshare-uts", "--unshare-net", "--unshare-cgroup-try"),
    *("--uid", str(INSIDE_UID), "--gid", str(INSIDE_UID), "--hostname", "agent"),
    *("--die-with-parent", "--new-session", "--as-pid-1", "--cap-drop", "ALL"),
)
_SHARED_ETC_FOLDERS: Final = ("/etc/alternatives", "/etc/ssl/certs")
_SHARED_ETC_FILES: Final = (
    *("/etc/ld.so.cache", "/etc/localtime", "/etc/protocols", "/etc/services", "/etc/ssl/openssl.cnf"),
)
"""The parts of the host's ``/etc`` that programs of its ``/usr`` need and that say nothing about the host.

Files are copied in, which is quicker than a mount each.
"""

SYNTHETIC_ETC: Final = {
    "/etc/passwd": b"root:x:0:0:root:/root:/usr/sbin/nologin\nagent:x:1000:1000::/agent:/bin/bash\n"
    b"nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    "/etc/group": b"root:x:0:\nagent:x:1000:\nnogroup:x:65534:\n",
    "/etc/hosts": b"127.0.0.1 localhost agent\n::1 localhost\n",
    "/etc/nsswitch.conf": b"passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n",
}

BASE_ENV: Final = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/agent",
    "LANG": "C.UTF-8",
    "TERM": "xterm-256color",
    "TMPDIR": "/tmp",  # noqa: S108  the sandbox's own
}
"""What every command finds beside the agent's own variables, which win but for these names."""


@dataclass(frozen=True)
class Recipe:
    """What differs from one sandbox to the next. ``workspace`` and each of ``folders`` is an absolute host path."""

    workspace: str
    memory_mb: int
    info_fd: int
    seccomp_fd: int | None
    folders: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def shm_mb(self) -> int:
        """The size of ``/dev/shm``: together with ``/tmp`` at most half of the memory, which both live in."""
        return max(1, min(_MAX_SHM_MB, self.memory_mb // 8))

    @property
    def tmp_mb(self) -> int:
        """The size of ``/tmp``."""
        return max(1, self.memory_mb // 2 - self.shm_mb)


def etc_files() -> dict[str, bytes]:
    """Files of ``/etc`` inside, by path: ours, and copies of the host's that are there."""
    copied = {path: Path(path).read_bytes() for path in _SHARED_ETC_FILES if Path(path).is_file()}
    return {**copied, **SYNTHETIC_ETC}


def options(recipe: Recipe, guest: dict[str, bytes], as_descriptor: Callable[[bytes], int]) -> list[str]:
    """All of bwrap's options. ``as_descriptor`` makes an inherited descriptor that reads the given bytes."""
    made = [*_NAMESPACES, *_system()]
    for path in _SHARED_ETC_FOLDERS:
        made += ["--ro-bind-try", path, path]
    for path, content in etc_files().items():
        made += ["--perms", "0444", "--file", str(as_descriptor(content)), path]
    made += ["--proc", "/proc", "--dev", "/dev"]
    made += ["--perms", "1777", "--size", str(recipe.shm_mb * _MEBIBYTE), "--tmpfs", "/dev/shm"]  # noqa: S108  inside
    made += ["--perms", "1777", "--size", str(recipe.tmp_mb * _MEBIBYTE), "--tmpfs", "/tmp"]  # noqa: S108  inside
    for name, source in guest.items():
        made += ["--perms", "0444", "--ro-bind-data", str(as_descriptor(source)), f"{GUEST_FOLDER}/{name}"]
    made += ["--bind", recipe.workspace, "/agent", "--chdir", "/agent"]
    for name, folder in recipe.folders.items():
        made += ["--ro-bind", folder, f"{FOLDERS_INSIDE}/{name}"]
    made += ["--remount-ro", "/dev", "--remount-ro", "/"]  # both are memory that no limit of ours would bound
    if recipe.seccomp_fd is not None:
        made += ["--seccomp", str(recipe.seccomp_fd)]
    return [*made, "--info-fd", str(recipe.info_fd)]


def guest_command(guest: dict[str, bytes], pids: int) -> list[str]:
    """What runs as pid 1: the system's Python, deaf to PYTHON* variables and site packages."""
    main = next(name for name in guest if name.startswith("guest."))
    return [PYTHON, "-I", "-S", "-B", f"{GUEST_FOLDER}/{main}", str(pids)]


def _system() -> list[str]:
    """``/usr`` and its aliases in the root, links where the host has links."""
    made = ["--ro-bind", "/usr", "/usr"]
    for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
        path = Path("/") / name
        if path.is_symlink():
            made += ["--symlink", str(path.readlink()).lstrip("/"), f"/{name}"]
        elif path.is_dir():
            made += ["--ro-bind", str(path), str(path)]
    return made
