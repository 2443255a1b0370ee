"""Cross-origin requests: what a browser has to be told before pages of other origins may use the API.

Starlette's middleware decides; a question that it refuses gets the one error body. Tokens travel in a header that such
pages set themselves, so no credentials of the browser's are ever admitted.
"""

from typing import Final

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp

from raworc.domain.origins import Origins
from raworc.errors import BadRequest

_METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")
_SENT: Final = ("Authorization", "Idempotency-Key", "Last-Event-ID", "Raworc-Contract")
_SHOWN: Final = (
    "Content-Disposition",
    "Idempotent-Replayed",
    "Raworc-Contract",
    "Raworc-Notice",
    "Retry-After",
    "WWW-Authenticate",
    "X-Raworc-File-Size",
    "X-Request-Id",
)


class Cors(CORSMiddleware):
    """``app`` as pages of ``origins`` may use it."""

    def __init__(self, app: ASGIApp, origins: Origins) -> None:
        super().__init__(
            app,
            allow_origins=origins.allowed,
            allow_methods=_METHODS,
            allow_headers=_SENT,
            expose_headers=_SHOWN,
            max_age=600,
        )

    def preflight_response(self, request_headers: Headers) -> Response:
        """The answer to a browser's question before a request.

        Raises:
            BadRequest: such a request may not be made.
        """
        answer = super().preflight_response(request_headers)
        if answer.status_code != 200:  # noqa: PLR2004  OK
            raise BadRequest(bytes(answer.body).decode())
        return answer
