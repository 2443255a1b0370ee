"""Asking a token endpoint for new tokens: RFC 6749, section 6; as JSON where the provider wants it so."""

import asyncio
from ssl import SSLContext
from typing import Final
from urllib.parse import urlencode, urlsplit

import msgspec

from raworc.domain.credentials import OAuth, RenewalFailed
from raworc.wire.client import Client, Target, Timeouts, UpstreamError

_WITHIN_S: Final = 15.0
_MOST_BYTES: Final = 65_536
_TIMEOUTS: Final = Timeouts(connect_s=5.0, first_byte_s=_WITHIN_S, idle_s=_WITHIN_S)


async def ask(tokens: OAuth, *, as_json: bool, trust: SSLContext | None = None) -> tuple[int, bytes]:
    """Status and body of the token endpoint's answer, or of its first 64 KiB.

    Raises:
        RenewalFailed: it cannot be reached, or does not answer in time.
    """
    parts = urlsplit(tokens.token_url)
    is_tls = parts.scheme == "https"
    target = Target(parts.hostname or "", parts.port or (443 if is_tls else 80), tls=is_tls)
    fields = {"grant_type": "refresh_token", "refresh_token": tokens.refresh_token, "client_id": tokens.client_id}
    if tokens.client_secret is not None:
        fields["client_secret"] = tokens.client_secret
    body = msgspec.json.encode(fields) if as_json else urlencode(fields).encode()
    kind = b"application/json" if as_json else b"application/x-www-form-urlencoded"
    client = Client(target, timeouts=_TIMEOUTS, trust=trust)
    try:
        async with asyncio.timeout(_WITHIN_S):
            return await _answer(client, parts.path or "/", [(b"content-type", kind)], body)
    except (UpstreamError, TimeoutError) as error:
        told = str(error) or f"no answer within {_WITHIN_S:g} s"
        raise RenewalFailed("temporarily_unavailable", f"The token endpoint: {told}", is_final=False) from None
    finally:
        await client.close()


async def _answer(client: Client, path: str, headers: list[tuple[bytes, bytes]], body: bytes) -> tuple[int, bytes]:
    accepting = [*headers, (b"accept", b"application/json"), (b"accept-encoding", b"identity")]
    response = await client.open("POST", path, accepting, body)
    pieces, size = list[bytes](), 0
    try:
        async for piece in response.chunks():
            pieces.append(piece)
            size += len(piece)
            if size >= _MOST_BYTES:
                break
    finally:
        await response.close()
    return response.status, b"".join(pieces)
