"""The spaces contract: its routes in the order in which they are tried."""

from typing import Final

from raworc.api.login import FAILS, Me, Token, login, me
from raworc.api.routes import Route, of_contract
from raworc.api.spaces import agents, builds, deployments, messages, secrets, sessions, spaces
from raworc.api.system import EVERYWHERE
from raworc.api.tenants import accounts, bindings, roles

ROUTES: Final[tuple[Route, ...]] = of_contract(
    "spaces",
    (
        *EVERYWHERE,
        Route("POST", "/auth/login", login, Token, fails=FAILS),
        Route("GET", "/auth/me", me, Me),
        *spaces.ROUTES,
        *secrets.ROUTES,
        *deployments.ROUTES,
        *agents.ROUTES,
        *builds.ROUTES,
        *sessions.ROUTES,
        *messages.ROUTES,
        *accounts.ROUTES,
        *roles.ROUTES,
        *bindings.ROUTES,
    ),
)
