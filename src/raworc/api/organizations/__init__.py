"""The organizations contract: its routes in the order in which they are tried."""

from typing import Final

from raworc.api.login import FAILS, Me, Token, login, me
from raworc.api.organizations import agents, approvals, identities, messages, sessions
from raworc.api.routes import Route, of_contract
from raworc.api.system import EVERYWHERE
from raworc.api.tenants import accounts, bindings, roles

ROUTES: Final[tuple[Route, ...]] = of_contract(
    "organizations",
    (
        *EVERYWHERE,
        Route("POST", "/auth/internal", login, Token, fails=FAILS),
        *identities.ROUTES,
        Route("GET", "/auth/me", me, Me),
        *agents.ROUTES,
        *sessions.ROUTES,
        *messages.ROUTES,
        *approvals.ROUTES,
        *accounts.NAMESPACED_ROUTES,
        *roles.ORGANIZATION_ROUTES,
        *bindings.GROUP_ROUTES,
    ),
)
