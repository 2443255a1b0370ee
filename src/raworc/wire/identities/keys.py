"""The public keys of an issuer: fetched when they are needed, kept for a while, fetched anew when one is missing.

A key that is not there is looked for again at most every ten seconds, so tokens with made-up key ids cannot make us
ask more often, and an issuer that is away is asked as seldom. While it does not answer, keys that were fetched within
the last hour still count, and nobody waits for it who has some.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from raworc.domain.identities import Oidc, is_loopback, url_wrong
from raworc.wire.identities.fetching import Fetcher
from raworc.wire.identities.verifier import ProviderAway

_FRESH_S: Final = 300.0
_KEPT_S: Final = 3600.0
_APART_S: Final = 10.0
_MAX_KEYS: Final = 64
_FAMILIES: Final = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}


@dataclass(frozen=True)
class KeySet:
    """Keys as they are published (RFC 7517), and when they were fetched by the clock of this process, in seconds."""

    keys: Sequence[Mapping[str, Any]]
    fetched_at_s: float

    def suitable(self, key_id: str | None, algorithm: str) -> list[Mapping[str, Any]]:
        """The keys that may have signed with ``algorithm``: those of this id, where one is named."""
        family = _FAMILIES[algorithm[:2]]
        return [
            key
            for key in self.keys
            if key.get("kty") == family
            and key.get("use", "sig") == "sig"
            and key.get("alg", algorithm) == algorithm
            and "verify" in key.get("key_ops", ["verify"])
            and "d" not in key
            and (key_id is None or key.get("kid") == key_id)
        ]


class IssuerKeys:
    """The keys of one issuer."""

    def __init__(self, provider: Oidc, fetcher: Fetcher, clock: Callable[[], float] = time.monotonic) -> None:
        self._provider = provider
        self._fetcher = fetcher
        self._clock = clock
        self._known: KeySet | None = None
        self._asked_at_s = -_KEPT_S
        self._asking = asyncio.Lock()

    async def current(self) -> KeySet:
        """Keys that were fetched lately.

        Raises:
            ProviderAway: there are none, and the issuer does not answer, or did not a moment ago.
        """
        usable = self._usable()
        if usable is not None and (self._is_fresh(usable) or self._asking.locked() or self._was_asked_lately()):
            return usable
        async with self._asking:
            known = self._usable()
            if known is not None and (self._is_fresh(known) or self._was_asked_lately()):
                return known
            if self._was_asked_lately():
                raise ProviderAway("it did not answer a moment ago")
            try:
                return await self._fetch()
            except ProviderAway:
                if known is not None:
                    return known
                raise

    async def newer(self, seen: KeySet) -> KeySet | None:
        """Keys that were fetched after ``seen``; None when they were looked for only just now.

        Raises:
            ProviderAway: the issuer does not answer.
        """
        async with self._asking:
            if self._known is not None and self._known is not seen:
                return self._known
            return None if self._was_asked_lately() else await self._fetch()

    def _usable(self) -> KeySet | None:
        known = self._known
        return known if known is not None and self._clock() - known.fetched_at_s < _KEPT_S else None

    def _is_fresh(self, known: KeySet) -> bool:
        return self._clock() - known.fetched_at_s < _FRESH_S

    def _was_asked_lately(self) -> bool:
        return self._clock() - self._asked_at_s < _APART_S

    async def _fetch(self) -> KeySet:
        try:
            found = (await self._fetcher.get(self._provider.jwks_url or await self._discover())).get("keys")
        finally:
            self._asked_at_s = self._clock()
        if not isinstance(found, list):
            raise ProviderAway("the key set has no keys")
        listed = cast("list[object]", found)[:_MAX_KEYS]
        keys = [cast("dict[str, Any]", key) for key in listed if isinstance(key, dict)]
        self._known = KeySet(keys, self._clock())
        return self._known

    async def _discover(self) -> str:
        """Where the issuer says that its keys are (OpenID Connect Discovery)."""
        issuer = self._provider.issuer
        document = await self._fetcher.get(f"{issuer.removesuffix('/')}/.well-known/openid-configuration")
        if document.get("issuer") != issuer:
            raise ProviderAway("the discovery document is another issuer's")
        url = document.get("jwks_uri")
        if not isinstance(url, str) or url_wrong(url) or (is_loopback(url) and not is_loopback(issuer)):
            raise ProviderAway("the discovery document names no address for the keys that may be asked")
        return url
