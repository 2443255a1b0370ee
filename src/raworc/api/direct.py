"""A short way to the handlers that take nothing but the request, the caller, parts of the path and queries.

FastAPI resolves every parameter of every request anew, which costs as much as reading an agent does. What it knows
of such a handler's parameters is read once, here, and the handler is called with them: the same permission, the
same path, the same answer. Queries are read by FastAPI's own function, those that were given: the handler has the
same defaults. Routes with headers or bodies go FastAPI's way.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.dependencies.utils import request_params_to_args
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from raworc.api.auth import Permission, SignedIn
from raworc.api.problems import from_validation
from raworc.api.routes import Handler, Route

Guard = Permission | SignedIn


@dataclass(frozen=True)
class Direct:
    """One handler with the names of its parameters. ``guards``: those that give callers."""

    handler: Handler
    request_name: str | None
    guards: tuple[tuple[str, Guard], ...]
    dependant: Dependant

    async def __call__(self, request: Request) -> Response:
        """Its answer. Raises whatever a guard or the handler raises, and BadRequest for queries that cannot be read."""
        arguments: dict[str, Any] = dict(request.path_params)
        if self.request_name is not None:
            arguments[self.request_name] = request
        for name, guard in self.guards:
            arguments[name] = await guard(request)
        if self.dependant.query_params:
            arguments |= self._queries(request)
        return await self.handler(**arguments)

    def _queries(self, request: Request) -> dict[str, Any]:
        given = request.query_params
        wanted = [
            field for field in self.dependant.query_params if field.alias in given or field.field_info.is_required()
        ]
        values, errors = request_params_to_args(wanted, given)
        if errors:
            raise from_validation(RequestValidationError(errors))
        return values


@dataclass(frozen=True)
class _Candidate:
    route: APIRoute
    segments: int | None  # None: its last parameter takes any number of them
    direct: Direct | None


class DirectRoutes:
    """Which requests may take the short way. Routes are tried in the table's order, as FastAPI does."""

    def __init__(self, app: FastAPI, routes: Sequence[Route]) -> None:
        served = {(method, r.path): r for r in app.routes if isinstance(r, APIRoute) for method in r.methods or ()}
        self._app = app
        self._gets = [_candidate(served["GET", route.full_path]) for route in routes if route.method == "GET"]
        self._by_segments: dict[int, list[_Candidate]] = {}

    def find(self, scope: Scope) -> Direct | None:
        """The handler of a request, made ready to be called; None: FastAPI's way."""
        if scope["method"] != "GET":
            return None
        path: str = scope["path"]
        for candidate in self._candidates(path.count("/")):
            match = candidate.route.path_regex.match(path)
            if match is None:
                continue
            if candidate.direct is not None:
                scope["app"] = self._app
                scope["route"] = candidate.route
                scope["path_params"] = match.groupdict()
            return candidate.direct
        return None

    def _candidates(self, segments: int) -> list[_Candidate]:
        found = self._by_segments.get(segments)
        if found is None:
            found = [one for one in self._gets if one.segments in (None, segments)]
            if len(self._by_segments) < _MOST_SEGMENTS:  # who asks decides how many there are
                self._by_segments[segments] = found
        return found


_MOST_SEGMENTS = 32


def _candidate(route: APIRoute) -> _Candidate:
    is_open = ":file}" in route.path
    segments = None if is_open else route.path.count("/")
    return _Candidate(route, segments, None if is_open else _direct(route))


def _direct(route: APIRoute) -> Direct | None:
    dependant: Dependant = route.dependant
    given = (dependant.header_params, dependant.cookie_params, dependant.body_params)
    if any(given) or any(field.field_info.annotation is not str for field in dependant.path_params):
        return None
    guards = [(child.name, child.call) for child in dependant.dependencies]
    if not all(name and isinstance(call, Guard) for name, call in guards):
        return None
    return Direct(
        cast("Handler", dependant.call),
        dependant.request_param_name,
        cast("tuple[tuple[str, Guard], ...]", tuple(guards)),
        dependant,
    )
