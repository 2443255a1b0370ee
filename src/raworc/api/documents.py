"""What tells a person or a program how to use the API: the OpenAPI documents, and a page to browse them.

The page is Swagger UI from this package: no script of it stands in the page, and nothing is asked of another host.
"""

from collections.abc import Callable, Mapping
from functools import cache
from importlib import resources
from typing import Final

from fastapi import FastAPI
from starlette.responses import RedirectResponse, Response

from raworc.api.openapi import Document
from raworc.api.render import Json
from raworc.errors import NotFound

PATHS: Final = (
    "/api-docs/openapi.json",
    "/api-docs/{contract}/openapi.json",
    "/swagger-ui",
    "/swagger-ui/",
    "/swagger-ui/contracts.json",
    "/swagger-ui/{name}",
)
"""All that is served here: public, read only, and in no document."""

_TYPES: Final = {
    "index.html": "text/html",
    "page.css": "text/css",
    "page.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui-standalone-preset.js": "text/javascript",
    "favicon-32x32.png": "image/png",
}
_LOGO_STYLE: Final = "'sha256-RL3ie0nH+Lzz2YNqQN83mnU0J1ot4QL7b99vMdIX99w='"  # Swagger's logo brings its own
_HEADERS: Final = {
    "Content-Security-Policy": (
        f"default-src 'none'; script-src 'self'; style-src 'self' {_LOGO_STYLE}; "
        "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "max-age=3600",
}


def add_documents(app: FastAPI, documents: Mapping[str, Callable[[], Document]], *, default: str) -> None:
    """Serve ``documents`` by their contracts' names, and one of them by default. Each is made when first asked for."""
    answers = {contract: cache(_rendered(made)) for contract, made in documents.items()}

    async def unnamed() -> Response:
        return answers[default]()

    async def one(contract: str) -> Response:
        if contract not in answers:
            raise NotFound(f"No contract '{contract[:80]}' is served: there is {', '.join(answers)}")
        return answers[contract]()

    async def contracts() -> Response:
        return Json([{"name": contract, "url": f"/api-docs/{contract}/openapi.json"} for contract in answers])

    for path, handler in zip(PATHS, (unnamed, one, _slash, _page, contracts, _asset), strict=True):
        app.add_api_route(path, handler, include_in_schema=False)


def _rendered(made: Callable[[], Document]) -> Callable[[], Response]:
    return lambda: Json(made())


async def _slash() -> Response:
    return RedirectResponse("swagger-ui/")


async def _page() -> Response:
    return _file("index.html")


async def _asset(name: str) -> Response:
    return _file(name)


@cache
def _file(name: str) -> Response:
    if name not in _TYPES:
        raise NotFound(f"Nothing is served at '/swagger-ui/{name[:80]}'")
    content = resources.files("raworc.api").joinpath("swagger", name).read_bytes()
    return Response(content, media_type=_TYPES[name], headers=_HEADERS)
