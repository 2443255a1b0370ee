"""Where a request comes from when a proxy stands in between, and whose word about it counts.

Only ``X-Forwarded-For`` and ``X-Forwarded-Proto`` of a trusted proxy are believed. RFC 7239's ``Forwarded`` is not
read: a proxy that writes one of the two passes the other on as it came, and then anybody could write it.
"""

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Self

from raworc.errors import BadRequest

FORWARDED_FOR: Final = b"x-forwarded-for"
FORWARDED_PROTO: Final = b"x-forwarded-proto"
SIGNS: Final = frozenset({FORWARDED_FOR, FORWARDED_PROTO, b"forwarded", b"x-real-ip", b"via"})
"""Whoever sends one of these is a proxy, or wants to look like one: never a program that speaks for itself."""

_MAX_HOPS: Final = 32

Header = tuple[bytes, bytes]
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True)
class Proxies:
    """The addresses and networks whose forwarding headers are believed; none by default."""

    networks: tuple[Network, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """From addresses and networks (``10.0.0.0/8``) with commas between them.

        Raises:
            BadRequest: one of them is neither.
        """
        return cls(tuple(_network(item.strip()) for item in text.split(",") if item.strip()))

    def trust(self, address: str | None) -> bool:
        """Whether the program at this address is one of the proxies."""
        found = _address(address) if address and self.networks else None
        return found is not None and any(found in network for network in self.networks)

    def client(self, headers: Iterable[Header]) -> str | None:
        """Whom a trusted proxy speaks for: the last address that is not a proxy's itself.

        What stands before that one was written by it, and proves nothing. None: the proxy does not say.
        """
        told = b",".join(value for name, value in headers if name == FORWARDED_FOR).decode("latin-1")
        nearest: str | None = None
        for part in reversed(told.rsplit(",", _MAX_HOPS)[-_MAX_HOPS:]):
            found = _address(_without_port(part.strip()))
            if found is None:
                return nearest
            nearest = str(found)
            if not self.trust(nearest):
                return nearest
        return nearest


def is_loopback(address: str | None) -> bool:
    """Whether this is an address of this very machine."""
    found = _address(address) if address else None
    return found is not None and found.is_loopback


def plain(address: str) -> str:
    """An address in its one spelling: IPv4 that a socket for both families shows as IPv6 is IPv4 again."""
    found = _address(address)
    return str(found) if found is not None else address


def scheme(headers: Sequence[Header]) -> str | None:
    """``http`` or ``https``, as the nearest proxy was asked; None when it does not say."""
    told = [value for name, value in headers if name == FORWARDED_PROTO]
    last = told[-1].rpartition(b",")[2].strip().lower().decode("latin-1") if told else None
    return last if last in {"http", "https"} else None


def _network(text: str) -> Network:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise BadRequest(
            f"'--proxy-headers': '{text}' is neither an address nor a network; write '127.0.0.1' or '10.0.0.0/8'"
        ) from None


def _address(text: str) -> Address | None:
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found


def _without_port(text: str) -> str:
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text
