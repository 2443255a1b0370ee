"""Id tokens of OpenID Connect: signature, issuer, audience and times, as Core 3.1.3.7 and RFC 8725 ask.

The token chooses nothing: algorithms come from the configuration and must be the key's, keys come from the issuer's
own address, and no header of the token that names a key or an address is read.
"""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast

import jwt

from raworc.domain.identities import MAX_SUBJECT_CHARACTERS, Identity, Oidc, OneUse, texts
from raworc.domain.text import is_plain
from raworc.wire.identities.fetching import Fetcher
from raworc.wire.identities.keys import IssuerKeys
from raworc.wire.identities.verifier import Rejected, check_size

_REQUIRED: Final = ("exp", "iat", "iss", "aud", "sub")
_LATEST: Final = 32_503_680_000  # the year 3000: times beyond cannot all be written down
_TYPES: Final = ("jwt", "application/jwt")
_REASONS: Final[tuple[tuple[type[jwt.PyJWTError], str], ...]] = (
    (jwt.ExpiredSignatureError, "it has expired"),
    (jwt.ImmatureSignatureError, "it counts in the future only"),
    (jwt.InvalidAudienceError, "it is for another audience"),
    (jwt.InvalidIssuerError, "it is of another issuer"),
    (jwt.MissingRequiredClaimError, "a claim is missing that every id token has"),
)


class OidcVerifier:
    """Proves id tokens of one issuer."""

    def __init__(self, provider: Oidc, fetcher: Fetcher, keys: IssuerKeys | None = None) -> None:
        self._provider = provider
        self._fetcher = fetcher
        self._keys = keys or IssuerKeys(provider, fetcher)

    async def verify(self, token: str) -> Identity:
        """As ``Verifier`` says."""
        key_id, algorithm = self._header(check_size(token))
        seen = await self._keys.current()
        claims = self._claims(token, algorithm, seen.suitable(key_id, algorithm))
        if claims is None and (newer := await self._keys.newer(seen)) is not None:
            claims = self._claims(token, algorithm, newer.suitable(key_id, algorithm))
        if claims is None:
            raise Rejected("no key of the issuer has signed it")
        self._check_parties(claims)
        subject = claims["sub"]
        if not 0 < len(subject) <= MAX_SUBJECT_CHARACTERS or not is_plain(subject):
            raise Rejected("its subject is empty or too long")
        return Identity(self._provider.issuer, subject, claims, self._one_use(token, claims["exp"]))

    async def close(self) -> None:
        """Let connections go."""
        await self._fetcher.close()

    def _one_use(self, token: str, ends_at: object) -> OneUse | None:
        """What is signed names the token: ``jti`` need not be there, and a signature may be written in several ways."""
        if not self._provider.once:
            return None
        signed = token.rpartition(".")[0]
        digest = hashlib.sha256(f"{self._provider.issuer}\0{signed}".encode()).digest()
        until = datetime.fromtimestamp(min(int(cast("int", ends_at)), _LATEST), UTC)
        return OneUse(digest, until + timedelta(seconds=self._provider.leeway_s))

    def _header(self, token: str) -> tuple[str | None, str]:
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError:
            raise Rejected("it is no JSON Web Token") from None
        algorithm = header.get("alg")
        if algorithm not in self._provider.algorithms:
            raise Rejected("its algorithm is not one of those that are allowed")
        if str(header.get("typ", "jwt")).lower() not in _TYPES:
            raise Rejected("it is a token of another type")
        return header.get("kid"), algorithm

    def _claims(self, token: str, algorithm: str, keys: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
        """What the token says, or None when none of these keys has signed it."""
        for key in keys:
            try:
                return self._decoded(token, jwt.PyJWK(dict(key), algorithm))
            except (jwt.InvalidSignatureError, jwt.InvalidKeyError, jwt.PyJWKError, jwt.InvalidAlgorithmError):
                continue
            except jwt.PyJWTError as error:
                known = (reason for kind, reason in _REASONS if isinstance(error, kind))
                raise Rejected(next(known, "a claim of it is malformed")) from None
        return None

    def _decoded(self, token: str, key: jwt.PyJWK) -> dict[str, Any]:
        options = cast("Any", {"require": list(_REQUIRED), "enforce_minimum_key_length": True})
        return jwt.decode(
            token,
            key,
            algorithms=[key.algorithm_name],
            audience=texts(self._provider.audience),
            issuer=self._provider.issuer,
            leeway=self._provider.leeway_s,
            options=options,
        )

    def _check_parties(self, claims: Mapping[str, Any]) -> None:
        """A token for several must have been given to one of us."""
        audience = claims["aud"]
        several = isinstance(audience, list) and len(cast("list[object]", audience)) > 1
        if several and claims.get("azp") not in texts(self._provider.audience):
            raise Rejected("it is for several audiences and was not given to this one")
