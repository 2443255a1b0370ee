"""The API as one ASGI application: contract, request id, log line and error body around FastAPI's routes."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import Final

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.convertors import PathConvertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.routing import Route as StarletteRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from raworc import __version__
from raworc.api import exchange
from raworc.api.agents import ROUTES as AGENT_ROUTES
from raworc.api.contracts import BASE, Contracts, split
from raworc.api.cors import Cors
from raworc.api.denials import kept
from raworc.api.direct import Direct, DirectRoutes
from raworc.api.documents import add_documents
from raworc.api.exchange import Exchange
from raworc.api.metrics import ROUTES as METRICS_ROUTES
from raworc.api.openapi import document_of
from raworc.api.organizations import ROUTES as ORGANIZATIONS_ROUTES
from raworc.api.pace import Pace
from raworc.api.parts import ApiParts
from raworc.api.problems import from_framework, from_validation, internal_error, problem
from raworc.api.routes import Route, place
from raworc.api.spaces import ROUTES as SPACES_ROUTES
from raworc.api.system import ROUTES as SYSTEM_ROUTES
from raworc.api.train import ROUTES as TRAIN_ROUTES
from raworc.domain.origins import Origins
from raworc.errors import BadRequest, RateLimited, RaworcError
from raworc.logs import frames
from raworc.metrics import Metrics

TRAIN: Final = "train"
DOCUMENTS: Final[dict[str, tuple[Route, ...]]] = {
    "agents": (*AGENT_ROUTES, *SYSTEM_ROUTES, *METRICS_ROUTES),
    "spaces": SPACES_ROUTES,
    "organizations": ORGANIZATIONS_ROUTES,
    TRAIN: TRAIN_ROUTES,
}
"""The documented contracts and their routes."""
ROUTES: Final = tuple(route for routes in DOCUMENTS.values() for route in routes)
_OF_TRAIN: Final = re.compile(r"/api/(?!v0(/|$))|/(token-stats|health)$")

log = structlog.get_logger()


def create_api(parts: ApiParts, guards: "Guards | None" = None) -> "Api":
    """The API over ``parts``."""
    app = FastAPI(
        title="Raworc",
        version=__version__,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        exception_handlers={
            RaworcError: _refused,
            HTTPException: _framework_refused,
            RequestValidationError: _parameters_refused,
            Exception: _failed,
        },
    )
    app.state.parts = parts
    add_routes(app, ROUTES)
    documents = {name: partial(document_of, app, name, routes) for name, routes in DOCUMENTS.items()}
    add_documents(app, documents, default=parts.contract)
    contracts = Contracts(ROUTES, parts.contract, parts.accounts.contract_of)
    return Api(app, parts.telemetry.metrics, contracts, DirectRoutes(app, ROUTES), guards)


def add_routes(app: FastAPI, routes: Sequence[Route]) -> None:
    """Serve a table of routes, in its order. ``{path:file}`` takes everything, newlines too.

    Handlers give their answers as bytes; the models of these are for ``openapi.py``, which makes them when asked.
    """
    register_url_convertor("file", _FilePath())
    for route in routes:
        app.add_api_route(
            route.full_path,
            route.handler,
            methods=[route.method],
            response_model=None,
            status_code=route.status,
            operation_id=_operation_id(route),
        )


def _operation_id(route: Route) -> str:
    name = route.handler.__name__
    return name if route.contract == "agents" else f"{name}_of_{route.contract}"


class _FilePath(PathConvertor):
    regex = r"[\s\S]*"


@dataclass(frozen=True)
class Guards:
    """What is looked at before a request is served: whose page asks, and how often somebody does."""

    origins: Origins = field(default_factory=Origins)
    pace: Pace = field(default_factory=Pace)


class Api:
    """What surrounds every request of the API."""

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        contracts: Contracts,
        direct: DirectRoutes | None = None,
        guards: Guards | None = None,
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._contracts = contracts
        self._direct = direct
        guards = guards or Guards()
        self._pace = guards.pace
        self._entrance: ASGIApp = Cors(self._guarded, guards.origins) if guards.origins.allowed else self._guarded

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; whatever goes wrong in it ends here."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        prefix, path = split(scope["path"])
        scope = {**scope, "path": path}
        current = exchange.begin(scope, prefix=prefix)
        sending = _noting(current, send)
        try:
            await self._entrance(scope, receive, sending)
        except RaworcError as error:
            await _answer(scope, error)(scope, receive, sending)
        finally:
            self._note(current, scope)

    async def _guarded(self, scope: Scope, receive: Receive, send: Send) -> None:
        current = exchange.of(scope)
        try:
            await self._route(current, scope)(scope, receive, send)
        except Exception as error:  # noqa: BLE001  one request's defect must not reach another one
            log.error(  # noqa: TRY400  a traceback shows the message, which may hold what a caller sent
                "request failed", request_id=current.request_id, error=type(error).__name__, at=frames(error)
            )
            if current.status == 0:
                await _answer(scope, internal_error())(scope, receive, send)

    def _note(self, current: Exchange, scope: Scope) -> None:
        route = scope.get("route")
        path = route.path_format if isinstance(route, StarletteRoute) else None
        elapsed_ms = current.elapsed_ms
        self._metrics.request(scope["method"], path, current.status, elapsed_ms / 1000)
        log.info(
            "request",
            request_id=current.request_id,
            method=scope["method"],
            path=path,
            status=current.status,
            ms=elapsed_ms,
            account=current.account,
        )

    def _route(self, current: Exchange, scope: Scope) -> ASGIApp:
        """What serves a request; its path is then that of the contract which does."""
        path: str = scope["path"]
        if "\0" in path or b"%00" in scope["query_string"]:
            return _answer(scope, BadRequest("The address holds a NUL character, which nothing here is named with"))
        if path.startswith("/api/"):
            try:
                self._pace.count(scope)
            except RateLimited as error:
                return _answer(scope, error)
        if not path.startswith(BASE):
            current.contract = TRAIN if _OF_TRAIN.match(path) else self._contracts.default
            return self._serve
        asked = self._contracts.asked(scope, current.asked_contract)
        serving = self._contracts.serving(asked, scope["method"], path)
        current.contract = serving or asked
        if serving is not None:
            scope["path"] = place(serving, path)
            return self._serve
        allow = self._contracts.methods(path)
        status = HTTPStatus.METHOD_NOT_ALLOWED if allow else HTTPStatus.NOT_FOUND
        return _answer(scope, from_framework(HTTPException(status), method=scope["method"], path=path, allow=allow))

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._direct and (direct := self._direct.find(scope)):
            await (await _answered(direct, Request(scope, receive)))(scope, receive, send)
        else:
            await self._app(scope, receive, send)


async def _answered(direct: Direct, request: Request) -> Response:
    try:
        return await direct(request)
    except RaworcError as error:
        return _answer(request.scope, await kept(request, error))


def _noting(current: Exchange, send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            current.status = message["status"]
            contract, request_id = current.contract.encode(), current.request_id.encode()
            message["headers"] = [
                *message["headers"],
                (b"raworc-contract", contract),
                (b"x-request-id", request_id),
            ]
        await send(message)

    return sending


def _answer(scope: Scope, error: RaworcError) -> Response:
    request = Request(scope)
    return problem(error, request_id=exchange.of(scope).request_id, accept=request.headers.get("accept", ""))


async def _refused(request: Request, error: Exception) -> Response:
    known = error if isinstance(error, RaworcError) else internal_error()
    return _answer(request.scope, await kept(request, known))


async def _framework_refused(request: Request, error: Exception) -> Response:
    known = error if isinstance(error, HTTPException) else HTTPException(500)
    path = request.scope["path"]
    return _answer(request.scope, from_framework(known, method=request.method, path=path, allow=_allowed(request)))


async def _parameters_refused(request: Request, error: Exception) -> Response:
    return _answer(
        request.scope, from_validation(error) if isinstance(error, RequestValidationError) else internal_error()
    )


async def _failed(request: Request, _error: Exception) -> Response:
    return _answer(request.scope, internal_error())


def _allowed(request: Request) -> list[str]:
    methods: set[str] = set()
    for route in request.app.routes:
        if isinstance(route, StarletteRoute) and route.matches(request.scope)[0] is not Match.NONE:
            methods |= route.methods or set()
    return sorted(methods)
