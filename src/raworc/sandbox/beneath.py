"""Paths inside a workspace, opened so that no link and no race can lead out of it.

``openat2(RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS)`` lets the kernel refuse what leaves the folder, at the moment
of opening; checks of a path beforehand lose races. Links that name ``/agent/...`` (true inside the sandbox) are
resolved by us, component by component, and the result is opened beneath all the same. See openat2(2).
"""

import ctypes
import errno
import os
import re
import struct
from collections import deque
from pathlib import Path
from typing import Final

from raworc.sandbox.driver import BadPath, NoSuchFile

_OPENAT2: Final = 437
_RESOLVE_NO_MAGICLINKS, _RESOLVE_BENEATH = 0x02, 0x08
_MOST_TRIES: Final = 64
_MOST_LINKS: Final = 40
MAX_PATH_BYTES: Final = 4096
MAX_NAME_BYTES: Final = 255
AGENT: Final = "/agent"
_SHOWN_BYTE: Final = re.compile(r"\\x([89a-f][0-9a-f])")

_libc: Final = ctypes.CDLL(None, use_errno=True)


def open_root(workspace: Path) -> int:
    """A descriptor of the workspace folder itself.

    Raises:
        NoSuchFile: there is no workspace.
    """
    try:
        return os.open(workspace, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        raise NoSuchFile("The workspace does not exist") from None


def open_beneath(root: int, path: str, flags: int, mode: int = 0) -> int:
    """``openat2`` below ``root``; "" is the root itself. EAGAIN (a rename nearby) is tried again.

    Raises:
        OSError: as openat2(2); EXDEV when the path leads out, also by an absolute link.
    """
    raw = encoded(path) or b"."
    if b"\0" in raw:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    how = struct.pack("QQQ", flags | os.O_CLOEXEC, mode, _RESOLVE_BENEATH | _RESOLVE_NO_MAGICLINKS)
    for _ in range(_MOST_TRIES):
        descriptor = _libc.syscall(_OPENAT2, root, raw, how, len(how))
        if descriptor >= 0:
            return descriptor
        if ctypes.get_errno() not in (errno.EAGAIN, errno.EINTR):
            break
    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def is_supported() -> bool:
    """Whether this kernel (5.6 or later) has openat2 and lets us call it."""
    root = os.open("/", os.O_PATH | os.O_CLOEXEC)
    try:
        os.close(open_beneath(root, "", os.O_PATH))
    except OSError:
        return False
    finally:
        os.close(root)
    return True


def components(path: str) -> list[str]:
    """The names of a relative path as a caller gave it; none for the root.

    Raises:
        BadPath: it is absolute, not in its plainest form, or longer than a path may be.
    """
    if not path:
        return []
    names = path.split("/")
    if "\0" in path or any(name in ("", ".", "..") for name in names):
        raise BadPath(f"'{shown(path)}' is not a relative path within the workspace")
    raw = [encoded(name) for name in names]
    if sum(map(len, raw)) + len(raw) > MAX_PATH_BYTES or max(map(len, raw)) > MAX_NAME_BYTES:
        raise BadPath(f"'{shown(path)[:100]}...' is longer than a path may be")
    return names


def resolve(root: int, names: list[str]) -> list[str]:
    """The same place without links: what is missing stays as it is. For links that are absolute inside.

    Raises:
        BadPath: a link leads out of ``/agent``, or in circles.
    """
    todo, done, links = deque(names), list[str](), 0
    while todo:
        name = todo.popleft()
        if name in ("", "."):
            continue
        if name == "..":
            if not done:
                raise BadPath(f"'{shown('/'.join(names))}' leads out of the workspace")
            done.pop()
            continue
        target = _link_target(root, "/".join([*done, name]))
        if target is None:
            done.append(name)
            continue
        links += 1
        if links > _MOST_LINKS:
            raise BadPath(f"'{shown('/'.join(names))}' is a link that leads in circles")
        if target.startswith("/"):
            if target != AGENT and not target.startswith(f"{AGENT}/"):
                raise BadPath(f"'{shown('/'.join(names))}' is a link out of the workspace")
            target, done = target.removeprefix(AGENT), []
        todo.extendleft(reversed(target.split("/")))
    return done


def encoded(name: str) -> bytes:
    """A name's bytes on disk; lone surrogates are the bytes that they stand for."""
    return name.encode("utf-8", "surrogateescape") if _is_escaped(name) else name.encode("utf-8", "surrogatepass")


def shown(name: str) -> str:
    r"""A name as text that every encoder takes: bytes that are not UTF-8 become ``\xNN``."""
    return encoded(name).decode("utf-8", "backslashreplace")


def unshown(path: str) -> str | None:
    r"""The path that :func:`shown` may have shown this way, None when there is no ``\xNN`` in it."""
    if not _SHOWN_BYTE.search(path):
        return None
    return _SHOWN_BYTE.sub(lambda match: chr(0xDC00 + int(match[1], 16)), path)


def _is_escaped(name: str) -> bool:
    return all("\udc80" <= char <= "\udcff" for char in name if "\ud800" <= char <= "\udfff")


def _link_target(root: int, path: str) -> str | None:
    """Where a link points, None for anything else and for what is not there."""
    try:
        link = open_beneath(root, path, os.O_PATH | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        return os.readlink("", dir_fd=link)
    except OSError:
        return None
    finally:
        os.close(link)
