"""Access tokens of OAuth 2.0, which only their server can read: it is asked about each (RFC 7662).

What it answers is not kept, so a token that was revoked there opens nothing here from then on.
"""

import math
import time
from base64 import b64encode
from collections.abc import Mapping
from typing import Any, Final, cast
from urllib.parse import quote_plus

from raworc.domain.identities import MAX_SUBJECT_CHARACTERS, Identity, OAuth2, issuer_of, texts
from raworc.domain.text import is_plain
from raworc.wire.identities.fetching import Fetcher
from raworc.wire.identities.verifier import Rejected, check_size

_HINT: Final = "access_token"


class IntrospectionVerifier:
    """Asks one authorization server about tokens. ``secret``: ours there."""

    def __init__(self, provider: OAuth2, secret: str, fetcher: Fetcher) -> None:
        self._provider = provider
        self._secret = secret
        self._fetcher = fetcher

    async def verify(self, token: str) -> Identity:
        """As ``Verifier`` says."""
        form = {"token": check_size(token), "token_type_hint": _HINT}
        headers: dict[str, str] = {}
        if self._provider.client_auth == "basic":
            pair = f"{quote_plus(self._provider.client_id)}:{quote_plus(self._secret)}"  # RFC 6749, 2.3.1
            headers["authorization"] = f"Basic {b64encode(pair.encode()).decode()}"
        else:
            form |= {"client_id": self._provider.client_id, "client_secret": self._secret}
        said = await self._fetcher.post(self._provider.introspection_url, form, headers)
        if said.get("active") is not True:
            raise Rejected("its server says that it does not count")
        self._check_times(said)
        self._check_parties(said)
        subject = said.get("sub")
        if not isinstance(subject, str) or not 0 < len(subject) <= MAX_SUBJECT_CHARACTERS or not is_plain(subject):
            raise Rejected("its server does not say whose it is")
        return Identity(issuer_of(self._provider), subject, said)

    async def close(self) -> None:
        """Let connections go."""
        await self._fetcher.close()

    def _check_times(self, said: Mapping[str, Any]) -> None:
        """Servers tell times of tokens that count only, but need not tell any."""
        now, leeway_s = time.time(), self._provider.leeway_s
        if now > _seconds(said.get("exp"), math.inf) + leeway_s:
            raise Rejected("it has expired")
        if now < _seconds(said.get("nbf"), -math.inf) - leeway_s:
            raise Rejected("it counts in the future only")

    def _check_parties(self, said: Mapping[str, Any]) -> None:
        provider, audience = self._provider, said.get("aud")
        if provider.issuer is not None and said.get("iss", provider.issuer) != provider.issuer:
            raise Rejected("it is of another issuer")
        named = cast("list[object]", audience) if isinstance(audience, list) else [audience]
        if provider.audience and not any(item in named for item in texts(provider.audience)):
            raise Rejected("it is for another audience")
        if provider.clients and said.get("client_id") not in provider.clients:
            raise Rejected("it was given to another client")
        if not set(provider.scopes) <= set(str(said.get("scope", "")).split()):
            raise Rejected("a scope is missing that it must have")


def _seconds(value: object, absent: float) -> float:
    if value is None:
        return absent
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Rejected("a time of it is malformed")
    return float(value)
