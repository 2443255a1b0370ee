"""Which of the documented contracts answers a request: they share ``/api/v0``, and each has paths of its own.

Asked for is what the path's prefix names, else the header ``Raworc-Contract``, else the contract that the token was
issued under, else the server's default. Where that one does not have the operation, the newest that has it answers.
Nothing is ever guessed from a body.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Final, TypeGuard, cast, get_args

from starlette.routing import compile_path
from starlette.types import Scope

from raworc.api.routes import Contract, Route

CONTRACTS: Final[tuple[Contract, ...]] = get_args(Contract)
BASE: Final = "/api/v0/"
_PREFIXED: Final = re.compile(rf"/({'|'.join(CONTRACTS)})(?={BASE})")
_Shape = tuple[str, int]


class Contracts:
    """The operations of every contract, by method and number of segments.

    ``claimed`` tells the contract of a token, None for what is no token of ours.
    """

    def __init__(self, routes: Sequence[Route], default: Contract, claimed: Callable[[str], str | None]) -> None:
        self.default: Contract = default
        self._claimed = claimed
        self._closed: dict[Contract, dict[_Shape, list[re.Pattern[str]]]] = {
            contract: defaultdict(list) for contract in CONTRACTS
        }
        self._open: dict[Contract, dict[str, list[re.Pattern[str]]]] = {
            contract: defaultdict(list) for contract in CONTRACTS
        }
        self._methods = sorted({route.method for route in routes})
        for route in routes:
            if not route.is_root:
                self._add(route)

    def asked(self, scope: Scope, named: str | None) -> Contract:
        """The contract that a request asks for; ``named``: what its prefix or header says."""
        wanted = named or self._claimed(bearer_of(scope))
        return wanted if _is_contract(wanted) else self.default

    def serving(self, asked: Contract, method: str, path: str) -> Contract | None:
        """The contract that has this operation, ``asked`` before all others. ``path`` is without a prefix."""
        for contract in (asked, *CONTRACTS):
            if self._has(contract, method, path):
                return contract
        return None

    def methods(self, path: str) -> list[str]:
        """What any contract takes at a path."""
        return [method for method in self._methods if any(self._has(one, method, path) for one in CONTRACTS)]

    def _add(self, route: Route) -> None:
        path = "/api/v0" + route.path
        pattern, _, _ = compile_path(path)
        if ":file}" in path:
            self._open[route.contract][route.method].append(pattern)
        else:
            self._closed[route.contract][route.method, path.count("/")].append(pattern)

    def _has(self, contract: Contract, method: str, path: str) -> bool:
        patterns = self._closed[contract].get((method, path.count("/")), ())
        return any(pattern.match(path) for pattern in (*patterns, *self._open[contract].get(method, ())))


def split(path: str) -> tuple[Contract | None, str]:
    """The contract that a path's prefix names, and the path without it."""
    found = _PREFIXED.match(path)
    return (None, path) if found is None else (cast("Contract", found[1]), path[found.end() :])


def bearer_of(scope: Scope) -> str:
    """The bearer token that a request carries, or nothing."""
    header = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
    scheme, _, token = header.decode("latin-1").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _is_contract(name: str | None) -> TypeGuard[Contract]:
    return name in CONTRACTS
