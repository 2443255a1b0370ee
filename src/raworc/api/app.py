"""The API as one ASGI application: contract, request id, log line and error body around FastAPI's routes."""

import traceback
from collections.abc import Sequence
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
from raworc.api.direct import Direct, DirectRoutes
from raworc.api.documents import add_documents
from raworc.api.exchange import Exchange
from raworc.api.metrics import ROUTES as METRICS_ROUTES
from raworc.api.openapi import describe
from raworc.api.parts import ApiParts
from raworc.api.problems import from_framework, from_validation, internal_error, problem
from raworc.api.routes import Route
from raworc.api.system import ROUTES as SYSTEM_ROUTES
from raworc.errors import BadRequest, RaworcError
from raworc.metrics import Metrics

CONTRACT: Final = "agents"
ROUTES: Final = (*AGENT_ROUTES, *SYSTEM_ROUTES, *METRICS_ROUTES)
_PREFIX: Final = f"/{CONTRACT}/api/"

log = structlog.get_logger()


def create_api(parts: ApiParts) -> "Api":
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
    add_documents(app, {CONTRACT: lambda: describe(app, ROUTES)})
    return Api(app, parts.telemetry.metrics, DirectRoutes(app, ROUTES))


def add_routes(app: FastAPI, routes: Sequence[Route]) -> None:
    """Serve a table of routes, in its order. ``{path:file}`` takes everything, newlines too."""
    register_url_convertor("file", _FilePath())
    for route in routes:
        app.add_api_route(
            route.full_path,
            route.handler,
            methods=[route.method],
            response_model=route.answer,
            operation_id=route.handler.__name__,
        )


class _FilePath(PathConvertor):
    regex = r"[\s\S]*"


class Api:
    """What surrounds every request of the API."""

    def __init__(self, app: ASGIApp, metrics: Metrics, direct: DirectRoutes | None = None) -> None:
        self._app = app
        self._metrics = metrics
        self._direct = direct

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; whatever goes wrong in it ends here."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        prefix = CONTRACT if scope["path"].startswith(_PREFIX) else None
        if prefix is not None:
            scope = {**scope, "path": scope["path"].removeprefix(f"/{prefix}")}
        current = exchange.begin(scope, prefix=prefix)
        sending = _noting(current, send)
        try:
            await self._serve(scope, receive, sending)
        except Exception as error:  # noqa: BLE001  one request's defect must not reach another one
            log.error(  # noqa: TRY400  a traceback shows the message, which may hold what a caller sent
                "request failed", request_id=current.request_id, error=type(error).__name__, at=_frames(error)
            )
            if current.status == 0:
                await _answer(scope, internal_error())(scope, receive, sending)
        finally:
            self._note(current, scope)

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

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if "\0" in scope["path"] or b"%00" in scope["query_string"]:
            refusal = BadRequest("The address holds a NUL character, which nothing here is named with")
            await _answer(scope, refusal)(scope, receive, send)
        elif self._direct and (direct := self._direct.find(scope)):
            await (await _answered(direct, Request(scope, receive)))(scope, receive, send)
        else:
            await self._app(scope, receive, send)


async def _answered(direct: Direct, request: Request) -> Response:
    try:
        return await direct(request)
    except RaworcError as error:
        return _answer(request.scope, error)


def _noting(current: Exchange, send: Send) -> Send:
    headers = [(b"raworc-contract", CONTRACT.encode()), (b"x-request-id", current.request_id.encode())]

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            current.status = message["status"]
            message["headers"] = [*message["headers"], *headers]
        await send(message)

    return sending


def _frames(error: BaseException) -> list[str]:
    """Where it happened, without its message."""
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)]


def _answer(scope: Scope, error: RaworcError) -> Response:
    request = Request(scope)
    return problem(error, request_id=exchange.of(scope).request_id, accept=request.headers.get("accept", ""))


async def _refused(request: Request, error: Exception) -> Response:
    return _answer(request.scope, error if isinstance(error, RaworcError) else internal_error())


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
