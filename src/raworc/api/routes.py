"""A route as a row of a table: what is served where, what it answers, and how it may fail.

The tables of the routes' modules are the whole of what this server serves; ``app.py`` adds them to FastAPI,
``openapi.py`` documents them, and ``tests/house/test_routes.py`` walks them.
"""

from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from raworc.errors import RaworcError

Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
Contract = Literal["agents", "spaces", "organizations"]
"""The documented contracts that share ``/api/v0``, the newest first."""
Handler = Callable[..., Coroutine[Any, Any, Response]]


@dataclass(frozen=True)
class Route:
    """One operation of one contract. ``path`` is below ``/api/v0``, or from the root where ``is_root``.

    ``answer`` is the type of its JSON answer, ``media_type`` is what else it may answer with; neither: its answer
    is empty. ``status``: that of its success. ``fails`` names what its service raises besides what every such route
    may (see ``openapi.py``). ``refusal``: what 400 and 503 may say in the place of the one error body.
    """

    method: Method
    path: str
    handler: Handler
    answer: Any = None
    fails: tuple[type[RaworcError], ...] = ()
    media_type: str | None = None
    is_root: bool = False
    status: int = 200
    contract: Contract = "agents"
    refusal: type[BaseModel] | None = None

    @property
    def full_path(self) -> str:
        """The path as FastAPI serves it; ``contracts.py`` brings requests there."""
        return self.path if self.is_root else place(self.contract, "/api/v0" + self.path)


def of_contract(contract: Contract, routes: Iterable[Route]) -> tuple[Route, ...]:
    """The same routes as those of ``contract``."""
    return tuple(replace(route, contract=contract) for route in routes)


def place(contract: Contract, path: str) -> str:
    """Where FastAPI serves a path below ``/api/v0`` for one contract: the default one's stand without a prefix."""
    return path if contract == "agents" else f"/{contract}{path}"


def success_of(request: Request) -> int:
    """The status of success of the route that serves this request."""
    route = request.scope.get("route")
    return (route.status_code if isinstance(route, APIRoute) else None) or 200
