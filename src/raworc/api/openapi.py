"""The OpenAPI 3.1 document of what is served: every status a route can give is declared, 422 is not.

FastAPI derives parameters and answers; bodies, permissions and errors are read here from the same dependencies
and rows that enforce them, so the document cannot drift.
"""

import http
from collections.abc import Iterator, Sequence
from typing import Any, Final, cast

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from fastapi.utils import create_model_field
from pydantic.json_schema import models_json_schema

from raworc.api.auth import Permission, SignedIn
from raworc.api.bodies import Body, JsonBody, RawBody
from raworc.api.once import Keyed
from raworc.api.routes import Route
from raworc.api.schemas import Problem
from raworc.errors import (
    BadRequest,
    Conflict,
    DatabaseUnavailable,
    Forbidden,
    NotFound,
    PayloadTooLarge,
    RateLimited,
    RaworcError,
    RequestTimeout,
    Unauthorized,
)

_REF: Final = "#/components/schemas/{model}"
_PROBLEM: Final = {"application/json": {"schema": {"$ref": _REF.format(model="Problem")}}}
_BEARER: Final = {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}

Document = dict[str, Any]


def describe(app: FastAPI, routes: Sequence[Route]) -> Document:
    """The document of ``routes``, which ``app`` serves, maybe among others."""
    served = {(method, r.path): r for r in app.routes if isinstance(r, APIRoute) for method in r.methods or ()}
    for route in routes:
        _tell_answer(served[route.method, route.full_path], route)
    wanted = list({id(r): r for route in routes if (r := served[route.method, route.full_path])}.values())
    document = get_openapi(title=app.title, version=app.version, routes=wanted, description=app.description)
    bodies: list[type[Any]] = [Problem]
    for route in routes:
        known = served[route.method, route.full_path]
        dependencies = list(dependencies_of(known.dependant))
        operation = document["paths"][known.path_format][route.method.lower()]
        _complete(operation, route, dependencies)
        bodies += [body.model for body in _bodies(dependencies)] + ([route.refusal] if route.refusal else [])
    _, definitions = models_json_schema([(model, "validation") for model in bodies], ref_template=_REF)
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    schemas |= definitions["$defs"]
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    components["securitySchemes"] = {"bearer": _BEARER}
    return document


def document_of(app: FastAPI, contract: str, routes: Sequence[Route]) -> Document:
    """The document of one contract, its paths as its clients write them; ``servers`` names its prefix."""
    document = describe(app, routes)
    prefix = f"/{contract}"
    if all(path.startswith(prefix) for path in document["paths"]):
        document["servers"] = [{"url": prefix}]
        document["paths"] = {path.removeprefix(prefix): item for path, item in document["paths"].items()}
    return document


def dependencies_of(dependant: Dependant) -> Iterator[object]:
    """What a handler's parameters depend on, all the way down."""
    for child in dependant.dependencies:
        yield child.call
        yield from dependencies_of(child)


def errors_of(route: Route, dependencies: Sequence[object]) -> list[type[RaworcError]]:
    """Every error that a route may answer with, by status."""
    found: list[type[RaworcError]] = [BadRequest, RaworcError, *route.fails]
    if "/api/" in route.full_path:
        found += [RateLimited]
    if any(isinstance(item, SignedIn | Permission) for item in dependencies):
        found += [Unauthorized, DatabaseUnavailable]
    if any(isinstance(item, Permission) for item in dependencies):
        found += [Forbidden, *([NotFound] if "{" in route.path else [])]
    if any(isinstance(item, Keyed) for item in dependencies):
        found += [Conflict]
    if any(isinstance(item, JsonBody | RawBody) for item in dependencies):
        found += [PayloadTooLarge, RequestTimeout]
    return sorted(found, key=lambda error: error.status)


def _tell_answer(served: APIRoute, route: Route) -> None:
    """As FastAPI does where a route is added: there it would build every model at every start of a server."""
    if route.answer is not None:
        name = f"Response_{served.unique_id}"
        served.response_field = create_model_field(name, route.answer, mode="serialization")


def _complete(operation: Document, route: Route, dependencies: Sequence[object]) -> None:
    operation["tags"] = [route.handler.__module__.rpartition(".")[2]]  # the noun that names the file
    responses: Document = operation["responses"]
    responses.pop("422", None)
    success: Document = responses[str(route.status)]
    if route.answer is None:
        success.pop("content", None)
    if route.media_type is not None:
        success.setdefault("content", {})[route.media_type] = {"schema": {"type": "string"}}
    for error in errors_of(route, dependencies):
        description = http.HTTPStatus(error.status).phrase
        responses[str(error.status)] = {"description": description, "content": _PROBLEM}
    if route.refusal is not None:
        either = [{"$ref": _REF.format(model=name)} for name in ("Problem", route.refusal.__name__)]
        for status in ("400", "503"):
            responses[status]["content"] = {"application/json": {"schema": {"anyOf": either}}}
    for body in _bodies(dependencies):
        operation["requestBody"] = _request_body(body)
    if any(isinstance(item, RawBody) for item in dependencies):
        operation["requestBody"] = {"required": False, "content": {"application/octet-stream": {"schema": {}}}}
    if any(isinstance(item, SignedIn | Permission) for item in dependencies):
        operation["security"] = [{"bearer": []}]


def _bodies(dependencies: Sequence[object]) -> list[JsonBody[Body]]:
    return [cast("JsonBody[Body]", item) for item in dependencies if isinstance(item, JsonBody)]


def _request_body(body: JsonBody[Body]) -> Document:
    schema = {"$ref": _REF.format(model=body.model.__name__)}
    required = any(field.is_required() for field in body.model.model_fields.values())
    return {"required": required, "content": {"application/json": {"schema": schema}}}
