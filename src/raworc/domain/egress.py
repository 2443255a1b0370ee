"""Which hosts a sandbox may reach through its egress proxy. Nothing named, nothing reached."""

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import urlsplit

from raworc.errors import BadRequest

_PORTS: Final = frozenset({80, 443})
_HOST: Final = re.compile(r"[a-z0-9_]([a-z0-9._-]{0,252}[a-z0-9_])?|[0-9a-f:.]+", re.ASCII)
_TRANSLATED: Final = tuple(map(ipaddress.ip_network, ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32")))
"""IPv6 addresses that stand for IPv4 ones, which may be of any kind."""


@dataclass(frozen=True)
class Place:
    """A host, in lower case, and a port; None: those of http and https."""

    host: str
    port: int | None = None

    def covers(self, host: str, port: int) -> bool:
        """Whether a connection goes there."""
        return host == self.host and (port in _PORTS if self.port is None else port == self.port)


@dataclass(frozen=True)
class Reach:
    """``named`` places may lie anywhere, who runs the server has said so; ``public`` ones on the open internet only."""

    named: frozenset[Place] = frozenset()
    public: frozenset[Place] = frozenset()

    def allows(self, host: str, port: int) -> bool:
        """Whether a connection may be made at all."""
        return self.trusts(host, port) or any(place.covers(host, port) for place in self.public)

    def trusts(self, host: str, port: int) -> bool:
        """Whether it may be made to an address of any kind."""
        return any(place.covers(host, port) for place in self.named)

    def and_public(self, host: str | None, port: int) -> "Reach":
        """With one more place that a stranger named."""
        return self if host is None else replace(self, public=self.public | {Place(plain(host), port)})


def reach_of(hosts: str, urls: Iterable[str] = ()) -> Reach:
    """What a list of ``host`` and ``host:port`` between commas names, and what addresses lead to.

    Raises:
        BadRequest: it cannot be read; the message says which word.
    """
    words = [word.strip() for word in hosts.split(",") if word.strip()]
    return Reach(frozenset([*map(_place, words), *(_of_url(url) for url in urls)]))


def plain(host: str) -> str:
    """A host as it is compared."""
    return host.lower().rstrip(".")


def is_public(address: str) -> bool:
    """Whether an address is on the open internet, and not of this machine, its networks or its cloud."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address) and (found.ipv4_mapped or any(found in net for net in _TRANSLATED)):
        return False
    return found.is_global and not found.is_multicast and not found.is_reserved


def has_credentials(url: str) -> bool:
    """Whether an address holds a user or a password."""
    return "@" in urlsplit(url).netloc


def _place(word: str) -> Place:
    try:
        parts = urlsplit(f"//{word}")
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port = "", None
    if not _HOST.fullmatch(host) or _differs(word, host, port):
        raise BadRequest(f"'RAWORC_BUILD_HOSTS' must be hosts between commas ('host' or 'host:port'), not '{word}'")
    return Place(plain(host), port)


def _differs(word: str, host: str, port: int | None) -> bool:
    """Whether something else stands in ``word``, as a path or a user does."""
    shown = f"[{host}]" if ":" in host else host
    return word.lower() != (shown if port is None else f"{shown}:{port}")


def _of_url(url: str) -> Place:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or (80 if parts.scheme == "http" else 443)
    except ValueError:
        host, port = "", 0
    if not host:
        raise BadRequest(f"'{url}' is no address of a package index or a git server")
    return Place(plain(host), port)
