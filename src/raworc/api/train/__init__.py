"""The train contract: its routes. Their paths begin at the root (``is_root``), as its document has them."""

from typing import Final

from raworc.api.routes import Route
from raworc.api.train import audit, conversations, events, keys, requests, upstreams, usage

ROUTES: Final[tuple[Route, ...]] = (
    *keys.ROUTES,
    *upstreams.ROUTES,
    *usage.ROUTES,
    *requests.ROUTES,
    *conversations.ROUTES,
    *events.ROUTES,
    *audit.ROUTES,
)
