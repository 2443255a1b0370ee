"""What an upstream is called with: a provider's key, or OAuth tokens that are renewed. ``repr`` shows none of it."""

import re
from datetime import datetime, timedelta
from typing import Any, Final, cast
from urllib.parse import urlsplit

import msgspec

RENEW_BEFORE: Final = timedelta(seconds=60)
MAX_CHARACTERS: Final = 16_384
PLAIN: Final = re.compile(rf"[!-~]{{1,{MAX_CHARACTERS}}}")
"""What can stand in a header: printable ASCII without white space."""

_LOCAL: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_LONGEST_LIFE_S: Final = 10 * 365 * 86_400


class ApiKey(msgspec.Struct, frozen=True, tag="key"):
    """A key that the provider gave."""

    key: str

    def __repr__(self) -> str:
        return "ApiKey(...)"


class OAuth(msgspec.Struct, frozen=True, tag="oauth"):
    """OAuth tokens of one account. Without ``access_token`` or ``expires_at`` the first call renews them."""

    refresh_token: str
    token_url: str
    client_id: str
    client_secret: str | None = None
    access_token: str | None = None
    expires_at: datetime | None = None

    def __repr__(self) -> str:
        return f"OAuth({self.client_id!r}, expires_at={self.expires_at})"

    def is_due(self, now: datetime) -> bool:
        """Whether it should be renewed."""
        return self.access_token is None or self.expires_at is None or now >= self.expires_at - RENEW_BEFORE

    def is_over(self, now: datetime) -> bool:
        """Whether there is no access token that still counts."""
        return self.access_token is None or self.expires_at is None or now >= self.expires_at


Credential = ApiKey | OAuth


class RenewalFailed(Exception):
    """The token endpoint gave no new tokens. ``error`` and ``description`` are its words (RFC 6749, 5.2), or ours."""

    def __init__(self, error: str, description: str, *, is_final: bool) -> None:
        super().__init__(f"{error}: {description}")
        self.error = error
        self.description = description
        self.is_final = is_final
        """Trying again changes nothing: the account has to be authorised anew."""


def packed(credential: Credential) -> str:
    """A credential as the text that is sealed."""
    return msgspec.json.encode(credential).decode()


def unpacked(text: str) -> Credential:
    """What ``packed`` made."""
    return msgspec.json.decode(text, type=Credential)  # pyright: ignore[reportReturnType, reportArgumentType, reportCallIssue]


def is_safe_token_url(url: str) -> bool:
    """HTTPS, or plain HTTP on this machine: refresh tokens travel there."""
    try:
        parts = urlsplit(url)
        is_plain = parts.port != 0 and not (parts.query or parts.fragment or parts.username or parts.password)
    except ValueError:
        return False
    is_safe = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOCAL)
    return bool(parts.hostname) and is_plain and is_safe


def renewed(tokens: OAuth, status: int, body: bytes, now: datetime) -> OAuth:
    """The tokens with what the token endpoint answered (RFC 6749, 5.1); a refresh token that it does not give stays.

    Raises:
        RenewalFailed: it refused, or its answer holds no access token.
    """
    answer = _object(body)
    token = answer.get("access_token")
    if status == 200 and isinstance(token, str) and PLAIN.fullmatch(token):  # noqa: PLR2004  success
        fresh, life_s = answer.get("refresh_token"), answer.get("expires_in")
        seconds = float(life_s) if isinstance(life_s, int | float) and 0 < life_s < _LONGEST_LIFE_S else 3600.0
        return msgspec.structs.replace(
            tokens,
            access_token=token,
            refresh_token=fresh if isinstance(fresh, str) and fresh else tokens.refresh_token,
            expires_at=now + timedelta(seconds=seconds),
        )
    raise _refusal(status, answer)


def _refusal(status: int, answer: dict[str, Any]) -> RenewalFailed:
    error, description = answer.get("error"), answer.get("error_description")
    if isinstance(error, dict):  # some providers answer with their API's own error
        told = cast("dict[str, Any]", error)
        error, description = told.get("type"), told.get("message")
    is_final = status in {400, 401, 403}
    return RenewalFailed(
        error[:200] if isinstance(error, str) and error else ("invalid_grant" if is_final else "server_error"),
        description[:1000] if isinstance(description, str) and description else f"The token endpoint answered {status}",
        is_final=is_final,
    )


def _object(body: bytes) -> dict[str, Any]:
    try:
        value: object = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}
