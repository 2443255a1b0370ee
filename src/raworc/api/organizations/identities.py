"""Logging in by the token of an identity provider."""

from typing import Annotated, Final

from fastapi import Depends
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from raworc.api.auth import address_of
from raworc.api.bodies import Body, JsonBody
from raworc.api.exchange import of
from raworc.api.login import FAILS, Token, token_of
from raworc.api.parts import parts_of
from raworc.api.routes import Contract, Route
from raworc.errors import Conflict, Forbidden, Unavailable
from raworc.services.identities import ExternalProof

_CONTRACT: Final[Contract] = "organizations"


class ExternalCredentials(Body):
    """A login by the word of an identity provider. How that one is asked is configured here, and never sent."""

    provider: str = Field(description="Name of a provider that this server is configured for")
    token: str = Field(description="Its id token (OpenID Connect), access token (OAuth 2.0) or SAML response (base64)")
    ttl_hours: float | None = Field(
        default=None, description="Life of the token, in hours; as the provider's configuration says where absent"
    )


async def login_external(
    request: Request, body: Annotated[ExternalCredentials, Depends(JsonBody(ExternalCredentials))]
) -> Response:
    """A token for whom an identity provider vouches for. It is issued under this contract unless another is named."""
    proof = ExternalProof(body.provider, body.token, address_of(request))
    contract = of(request.scope).asked_contract or _CONTRACT
    answer = await parts_of(request).tenants.identities.login(proof, contract=contract, ttl_hours=body.ttl_hours)
    return token_of(answer)


ROUTES: Final = (
    Route("POST", "/auth/external", login_external, Token, fails=(*FAILS, Forbidden, Conflict, Unavailable)),
)
