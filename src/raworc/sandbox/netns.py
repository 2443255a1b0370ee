"""Opens a listener inside a sandbox's network namespace, from outside.

The socket belongs to the namespace it was made in, wherever its descriptor goes afterwards: nothing inside has to
run for it, can close it or can take its place. Must be called in a process with one thread (setns(2)).
"""

import ctypes
import fcntl
import os
import socket
from typing import Final

DOOR_PORT: Final = 8787
_BACKLOG: Final = 128
_NS_GET_USERNS: Final = 0xB701
_CLONE_NEWUSER, _CLONE_NEWNET = 0x1000_0000, 0x4000_0000
_IP_FREEBIND: Final = 15
_TIMEOUT_S: Final = 10.0

_libc: Final = ctypes.CDLL(None, use_errno=True)


def listen_inside(pid: int) -> int:
    """A descriptor that listens on 127.0.0.1:8787 in the network namespace of ``pid``.

    Raises:
        OSError: the process has gone, or we may not enter its namespaces.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        child = os.fork()
        if child == 0:
            _enter_and_listen(pid, theirs)
        theirs.close()
        ours.settimeout(_TIMEOUT_S)
        try:
            message, descriptors, _, _ = socket.recv_fds(ours, 256, 1, flags=socket.MSG_CMSG_CLOEXEC)
        finally:
            os.waitpid(child, 0)
    if not descriptors:
        raise OSError(f"cannot open the door inside: {message.decode(errors='replace') or 'its opener died'}")
    return descriptors[0]


def _enter_and_listen(pid: int, answer: socket.socket) -> None:
    """In the child: never returns. Joins the user namespace first unless root, who needs no right inside."""
    try:
        network = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        if os.geteuid() != 0:
            _join(fcntl.ioctl(network, _NS_GET_USERNS), _CLONE_NEWUSER)
        _join(network, _CLONE_NEWNET)
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)  # the loopback interface may not be up yet
        listener.bind(("127.0.0.1", DOOR_PORT))
        listener.listen(_BACKLOG)
        socket.send_fds(answer, [b"ok"], [listener.fileno()])
    except OSError as error:
        answer.send(str(error).encode()[:200])
    finally:
        os._exit(0)


def _join(namespace: int, kind: int) -> None:
    if _libc.setns(namespace, kind) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "setns")
