"""Opens listeners inside a sandbox's network namespace, from outside.

A socket belongs to the namespace it was made in, wherever its descriptor goes afterwards: nothing inside has to
run for it, can close it or can take its place. Must be called in a process with one thread (setns(2)).
"""

import ctypes
import fcntl
import os
import socket
from collections.abc import Sequence
from typing import Final

DOOR_PORT: Final = 8787
EGRESS_PORT: Final = 8788
_BACKLOG: Final = 128
_NS_GET_USERNS: Final = 0xB701
_CLONE_NEWUSER, _CLONE_NEWNET = 0x1000_0000, 0x4000_0000
_IP_FREEBIND: Final = 15
_TIMEOUT_S: Final = 10.0

_libc: Final = ctypes.CDLL(None, use_errno=True)


class Opening:
    """A door being opened: begun by forking, so that the caller can do something else meanwhile."""

    def __init__(self, pid: int, ports: Sequence[int] = (DOOR_PORT,)) -> None:
        self._ports = ports
        self._answer, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._child = os.fork()
            if self._child == 0:
                _enter_and_listen(pid, ports, theirs)
        self._answer.settimeout(_TIMEOUT_S)

    def listeners(self) -> list[int]:
        """Descriptors that listen on 127.0.0.1 in the network namespace of the process, one a port. Call it once.

        Raises:
            OSError: the process has gone, or we may not enter its namespaces.
        """
        with self._answer:
            try:
                message, descriptors, _, _ = socket.recv_fds(
                    self._answer, 256, len(self._ports), flags=socket.MSG_CMSG_CLOEXEC
                )
            finally:
                os.waitpid(self._child, 0)
        if not descriptors:
            raise OSError(f"cannot open the door inside: {message.decode(errors='replace') or 'its opener died'}")
        return descriptors


def _enter_and_listen(pid: int, ports: Sequence[int], answer: socket.socket) -> None:
    """In the child: never returns. Joins the user namespace first unless root, who needs no right inside."""
    try:
        network = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        if os.geteuid() != 0:
            _join(fcntl.ioctl(network, _NS_GET_USERNS), _CLONE_NEWUSER)
        _join(network, _CLONE_NEWNET)
        listeners = [_listening(port) for port in ports]
        socket.send_fds(answer, [b"ok"], [listener.fileno() for listener in listeners])
    except OSError as error:
        answer.send(str(error).encode()[:200])
    finally:
        os._exit(0)


def _listening(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)  # the loopback interface may not be up yet
    listener.bind(("127.0.0.1", port))
    listener.listen(_BACKLOG)
    return listener


def _join(namespace: int, kind: int) -> None:
    if _libc.setns(namespace, kind) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "setns")
