"""The three places where servers listen, opened once and shared by every server process."""

import contextlib
import errno
import ipaddress
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from raworc.errors import BadRequest, Conflict
from raworc.settings import Settings

BACKLOG: Final = 2048


@dataclass(frozen=True)
class Listeners:
    """``public`` is the port, ``door`` where sandboxes' doors lead, ``model`` the operators' own way in."""

    public: socket.socket
    door: socket.socket
    model: socket.socket
    scheme: str = "http"

    @classmethod
    def inherited(cls, descriptors: tuple[int, int, int]) -> Self:
        """What a parent opened and passed on."""
        public, door, model = (socket.socket(fileno=descriptor) for descriptor in descriptors)
        return cls(public, door, model)

    @property
    def descriptors(self) -> tuple[int, int, int]:
        """To pass on to a child."""
        return self.public.fileno(), self.door.fileno(), self.model.fileno()

    @property
    def address(self) -> str:
        """``http://host:port`` of the port, ``https`` where it speaks TLS."""
        host, port = self.public.getsockname()[:2]
        return f"{self.scheme}://[{host}]:{port}" if ":" in host else f"{self.scheme}://{host}:{port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches the port: asked of the socket, not of the name it was opened by."""
        return ipaddress.ip_address(self.public.getsockname()[0].partition("%")[0]).is_loopback

    def all(self) -> list[socket.socket]:
        """The three."""
        return [self.public, self.door, self.model]

    def close(self) -> None:
        """Stop listening in this process."""
        for listener in self.all():
            listener.close()


def open_listeners(settings: Settings) -> Listeners:
    """Listen on the port and both sockets of the home.

    Raises:
        Conflict: somebody listens there already.
        BadRequest: this machine has no such address, or the port needs more rights.
    """
    public = _port(settings.host, settings.port)
    scheme = "http" if settings.tls_cert is None else "https"
    return Listeners(public, _private(settings.gateway_socket), _private(settings.model_socket), scheme)


def _port(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise BadRequest(f"'{host}' is no address to listen on: {error.strerror}") from error
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise Conflict(f"Port {port} on '{host}' is in use: choose another with '--port'") from error
        raise BadRequest(f"Cannot listen on '{host}' port {port}: {error.strerror}") from error
    return listener


def _private(path: Path) -> socket.socket:
    """A socket that only our own user (and root) may connect to. One left by a dead process is replaced."""
    if path.exists() and _answers(path):
        raise Conflict(f"Another server listens on '{path}': stop it first, or choose another '--home'")
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(before)
    listener.listen(BACKLOG)
    return listener


def _answers(path: Path) -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.connect(str(path))
        return True
    return False
