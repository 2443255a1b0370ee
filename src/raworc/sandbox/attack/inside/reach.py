"""Probes of what can be seen and changed: the host's files, the guest, other processes, privileges."""

import ctypes
import errno
import os
import shutil
import stat
import subprocess

from raworc.sandbox.attack.inside.verdict import Escape, denied, in_child, libc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from raworc.sandbox.attack.inside.verdict import Probe

ABSENT = (
    *("/etc/shadow", "/etc/gshadow", "/etc/sudoers", "/etc/ssh", "/etc/hostname", "/etc/fstab", "/root", "/home"),
    *("/boot", "/var", "/srv", "/media", "/mnt", "/opt", "/sys", "/run/docker.sock", "/var/run/docker.sock"),
    *("/run/postgresql", "/run/systemd", "/run/user", "/run/dbus", "/oldroot", "/newroot", "/lost+found"),
    *("/dev/mem", "/dev/kmsg", "/dev/kvm", "/dev/fuse", "/dev/vsock", "/dev/net/tun", "/dev/vda", "/dev/sda"),
    *("/dev/loop-control", "/dev/mapper", "/dev/console", "/dev/port", "/dev/userfaultfd"),
)
READ_ONLY = ("/x", "/usr/x", "/etc/x", "/bin/x", "/lib/x", "/dev/x", "/run/x", "/run/raworc/x", "/usr/bin/bash")
NOT_WRITTEN = (errno.EROFS, errno.ENOENT, errno.EACCES)
KERNEL_FILES = (
    *("/proc/sys/kernel/core_pattern", "/proc/sys/vm/overcommit_memory", "/proc/sys/net/ipv4/ip_forward"),
    *("/proc/sysrq-trigger", "/proc/sys/kernel/hostname", "/proc/sys/fs/binfmt_misc/register", "/proc/irq/0/x"),
)
OF_PID_1 = ("mem", "environ", "maps", "fd/3", "root/etc/passwd", "cwd/x", "exe", "io", "syscall", "stack", "auxv")


def probes(context: "dict[str, Any]") -> "Iterator[Probe]":
    """All of them, the host's own secrets included."""
    for path in (*ABSENT, *context["host_paths"]):
        yield f"seeing {path}", lambda _, path=path: denied(lambda: os.lstat(path), errno.ENOENT)
    for path in READ_ONLY:
        yield (
            f"writing {path}",
            lambda _, path=path: denied(lambda: os.open(path, os.O_WRONLY | os.O_CREAT), *NOT_WRITTEN),
        )
    for path in KERNEL_FILES:
        yield f"writing {path}", lambda _, path=path: denied(lambda: _write(path, b"x"))
    for name in OF_PID_1:
        yield f"reading /proc/1/{name}", lambda _, name=name: denied(lambda: _read(f"/proc/1/{name}"))
    yield from OTHERS


def _write(path: str, data: bytes) -> int:
    descriptor = os.open(path, os.O_WRONLY)
    try:
        return os.write(descriptor, data)
    finally:
        os.close(descriptor)


def _read(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        return os.read(descriptor, 64)
    finally:
        os.close(descriptor)


def kernel_memory(_: "dict[str, Any]") -> None:
    denied(lambda: _read("/proc/kcore"))


def the_guests_memory(_: "dict[str, Any]") -> None:
    denied(lambda: _write("/proc/1/mem", b"\0" * 64))


def the_guests_descriptors(_: "dict[str, Any]") -> None:
    denied(lambda: os.listdir("/proc/1/fd"), errno.EACCES, errno.EPERM)


def the_guests_importance(_: "dict[str, Any]") -> None:
    denied(lambda: _write("/proc/1/oom_score_adj", b"1000"))


def own_importance(_: "dict[str, Any]") -> None:
    denied(lambda: _write("/proc/self/oom_score_adj", b"-1000"))


def own_user_map(_: "dict[str, Any]") -> None:
    denied(lambda: _write("/proc/self/uid_map", b"0 0 1"))


def become_root(_: "dict[str, Any]") -> None:
    if os.getuid() == 0 or os.geteuid() == 0:
        raise Escape("we are root")
    for change in (os.setuid, os.setgid, os.seteuid):
        denied(lambda change=change: change(0), errno.EPERM, errno.EINVAL)
    denied(lambda: os.setgroups([0]), errno.EPERM)


def set_user_id_programs(_: "dict[str, Any]") -> None:
    copy = "/agent/id-copy"
    shutil.copy("/usr/bin/id", copy)
    os.chmod(copy, stat.S_ISUID | stat.S_ISGID | 0o755)  # noqa: S103  what the probe is about
    for command in ([copy, "-u"], ["su", "-c", "id -u"], ["sudo", "-n", "id", "-u"]):
        if shutil.which(command[0]) is None:
            continue
        done = subprocess.run(  # noqa: S603  fixed programs, to see what they become
            command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=10, check=False
        )
        if done.stdout.strip() == "0":
            raise Escape(f"{command[0]} runs as root")
    os.unlink(copy)


def device_nodes(_: "dict[str, Any]") -> None:
    for mode, device in ((stat.S_IFCHR, os.makedev(1, 1)), (stat.S_IFBLK, os.makedev(254, 0))):
        denied(lambda mode=mode, device=device: os.mknod("/agent/node", mode | 0o666, device), errno.EPERM)


def links_out(_: "dict[str, Any]") -> None:
    for target in ("/etc/shadow", "/proc/1/root/etc/shadow", "/proc/self/root/../etc/shadow"):
        os.symlink(target, "/agent/out")
        try:
            denied(lambda: _read("/agent/out"))
        finally:
            os.unlink("/agent/out")
    denied(lambda: os.link("/usr/bin/bash", "/agent/bash"), errno.EXDEV, errno.EPERM)


def climbing_out(_: "dict[str, Any]") -> None:
    denied(lambda: os.open("/" + "../" * 50 + "root", os.O_RDONLY), errno.ENOENT)
    denied(lambda: os.chroot("/agent"), errno.EPERM)


def other_processes(context: "dict[str, Any]") -> None:
    """Only the guest and what this session started; none of the host's pids can be signalled."""
    if not 0 < len([name for name in os.listdir("/proc") if name.isdigit()]) < 20:
        raise Escape("foreign processes are visible")
    for pid in context["host_pids"]:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            continue
        if not os.path.exists(f"/proc/{pid}"):
            raise Escape(f"process {pid} of the host can be signalled")


def canaries(context: "dict[str, Any]") -> None:
    """A value that only the host's processes hold must not be in any environment or argument list."""
    canary = context["canary_backwards"][::-1].encode()
    for name in os.listdir("/proc"):
        for file in ("environ", "cmdline"):
            try:
                with open(f"/proc/{name}/{file}", "rb") as opened:
                    if name.isdigit() and canary in opened.read():
                        raise Escape(f"/proc/{name}/{file} holds the host's canary")
            except (OSError, NotADirectoryError):
                continue


def host_names_in_arguments(context: "dict[str, Any]") -> None:
    with open("/proc/1/cmdline", "rb") as file:
        shown = file.read()
    for path in context["host_paths"]:
        if path.encode() in shown:
            raise Escape(f"pid 1 shows {path}")


def names_in_mounts(context: "dict[str, Any]") -> None:
    """The workspace's host path is inherent to bind mounts; it must say no more than a UUID."""
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        mounts = [line.split()[3:5] for line in file]
    source = next(root for root, point in mounts if point == "/agent")
    if not source.endswith(context["session_id"]):
        raise Escape(f"the workspace is mounted from {source}")


def attach_to_a_process(_: "dict[str, Any]") -> None:
    def trace() -> None:
        if libc.ptrace(0, 0, 0, 0) == -1:
            raise OSError(ctypes.get_errno(), "ptrace")

    if in_child(trace) == 0:
        raise Escape("a process can be traced")


def signals_to_pid_1(_: "dict[str, Any]") -> None:
    """It must survive all of them; that it answers afterwards is checked outside."""
    for number in range(1, 65):
        try:
            os.kill(1, number)
        except OSError:
            continue


OTHERS: "list[Probe]" = [
    ("reading the kernel's memory", kernel_memory),
    ("writing the guest's memory", the_guests_memory),
    ("listing the guest's descriptors", the_guests_descriptors),
    ("making the guest the first to be killed", the_guests_importance),
    ("making ourselves the last to be killed", own_importance),
    ("mapping users", own_user_map),
    ("becoming root", become_root),
    ("set-user-id programs", set_user_id_programs),
    ("device nodes", device_nodes),
    ("links out of the workspace", links_out),
    ("climbing out of the root", climbing_out),
    ("other processes", other_processes),
    ("the host's environment and arguments", canaries),
    ("host paths in arguments", host_names_in_arguments),
    ("names in the mount table", names_in_mounts),
    ("tracing", attach_to_a_process),
    ("every signal to pid 1", signals_to_pid_1),
]
