"""A route as a row of a table: what is served where, what it answers, and how it may fail.

The tables of the routes' modules are the whole of what this server serves; ``app.py`` adds them to FastAPI,
``openapi.py`` documents them, and ``tests/house/test_routes.py`` walks them.
"""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Literal

from starlette.responses import Response

from raworc.errors import RaworcError

Method = Literal["GET", "POST", "PUT", "DELETE"]
Handler = Callable[..., Coroutine[Any, Any, Response]]


@dataclass(frozen=True)
class Route:
    """One operation. ``path`` is below ``/api/v0``, or from the root where ``is_root``.

    ``answer`` is the type of its JSON answer, ``media_type`` is what else it may answer with; neither: its answer
    is empty. ``fails`` names what its service raises besides what every such route may (see ``openapi.py``).
    """

    method: Method
    path: str
    handler: Handler
    answer: Any = None
    fails: tuple[type[RaworcError], ...] = ()
    media_type: str | None = None
    is_root: bool = False

    @property
    def full_path(self) -> str:
        """The path as FastAPI serves it."""
        return self.path if self.is_root else "/api/v0" + self.path
