"""The agents contract: its routes in the order in which they are tried, the busiest first."""

from typing import Final

from raworc.api.agents import (
    access,
    agents,
    approvals,
    blocklist,
    context,
    events,
    files,
    operators,
    published,
    requests,
    responses,
    secrets,
    states,
)
from raworc.api.routes import Route

ROUTES: Final[tuple[Route, ...]] = (
    *agents.ROUTES,
    *responses.ROUTES,
    *states.ROUTES,
    *context.ROUTES,
    *approvals.ROUTES,
    *published.ROUTES,
    *secrets.ROUTES,
    *events.ROUTES,
    *files.ROUTES,
    *requests.ROUTES,
    *access.ROUTES,
    *operators.ROUTES,
    *blocklist.ROUTES,
)
