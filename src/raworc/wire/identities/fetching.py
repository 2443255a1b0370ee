"""Asking an identity provider: JSON, within bounds of time and size, at addresses of its configuration only.

No redirects, no compression, no cookies kept. Five seconds for everything, 512 KiB at most.
"""

import asyncio
import ssl
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, cast

import httpx2
import msgspec

from raworc.wire.identities.verifier import ProviderAway

_LIMIT_S: Final = 5.0
_MAX_BYTES: Final = 524_288
_CONNECTIONS: Final = 16


class Fetcher:
    """Asks one provider. ``ca_file`` is trusted besides the usual authorities.

    Raises:
        OSError, ssl.SSLError: ``ca_file`` cannot be read.
    """

    def __init__(self, *, ca_file: Path | None, is_local: bool) -> None:
        context = ssl.create_default_context()
        if ca_file is not None:
            context.load_verify_locations(ca_file)
        limits = httpx2.Limits(max_connections=_CONNECTIONS, max_keepalive_connections=2)
        self._http = httpx2.AsyncClient(
            verify=context,
            timeout=_LIMIT_S,
            limits=limits,
            follow_redirects=False,
            trust_env=not is_local,  # a proxy from the environment is for other machines' addresses
            headers={"accept": "application/json", "accept-encoding": "identity"},
        )

    async def get(self, url: str) -> dict[str, Any]:
        """The JSON object at an address. Raises ProviderAway for anything else."""
        return await self._object(httpx2.Request("GET", url))

    async def post(self, url: str, form: Mapping[str, str], headers: Mapping[str, str]) -> dict[str, Any]:
        """The JSON object that answers a form. Raises ProviderAway for anything else."""
        return await self._object(httpx2.Request("POST", url, data=dict(form), headers=dict(headers)))

    async def close(self) -> None:
        """Close every connection."""
        await self._http.aclose()

    async def _object(self, request: httpx2.Request) -> dict[str, Any]:
        request.headers.update(self._http.headers)
        try:
            async with asyncio.timeout(_LIMIT_S):
                found: object = msgspec.json.decode(await self._body(request))
        except TimeoutError:
            raise ProviderAway(f"no answer within {_LIMIT_S:.0f} seconds") from None
        except httpx2.HTTPError as error:
            raise ProviderAway(f"no answer ({type(error).__name__})") from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise ProviderAway("the answer is not JSON") from None
        if not isinstance(found, dict):
            raise ProviderAway("the answer is not a JSON object")
        return cast("dict[str, Any]", found)

    async def _body(self, request: httpx2.Request) -> bytes:
        answer = await self._http.send(request, stream=True)
        try:
            if answer.status_code != HTTPStatus.OK:
                raise ProviderAway(f"status {answer.status_code} was answered")
            if answer.headers.get("content-encoding", "identity") != "identity":
                raise ProviderAway("the answer is compressed, which was not asked for")
            body = bytearray()
            async for piece in answer.aiter_raw():
                body += piece
                if len(body) > _MAX_BYTES:
                    raise ProviderAway(f"the answer has more than {_MAX_BYTES} bytes")
            return bytes(body)
        finally:
            await answer.aclose()
