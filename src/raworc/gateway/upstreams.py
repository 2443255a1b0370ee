"""Who serves a call: the provider with our credential, with the client's own, or the scripted model."""

import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from raworc.gateway.callers import CallerKind
from raworc.wire.client import Client, Headers, Target, Timeouts

PASSTHROUGH: Final = "passthrough"
_KEPT_HERE: Final = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer transfer-encoding"
    b" upgrade expect host content-length accept-encoding x-raworc-request-id".split()
)
_OURS: Final = (b"msl-", b"raworc-")
_CREDENTIALS: Final = frozenset({b"authorization", b"x-api-key"})


@dataclass(frozen=True)
class Call:
    """One request to a provider. ``path`` carries the query; ``headers`` are the client's."""

    request_id: uuid.UUID
    method: str
    path: str
    headers: Headers
    body: bytes
    train_id: str
    model: str | None
    stream: bool


class Answer(Protocol):
    """A provider's answer whose head has come. Errors while reading it are ``wire.client.UpstreamError``."""

    status: int
    headers: list[tuple[bytes, bytes]]

    @property
    def ready(self) -> bool:
        """True when the next piece of the body, or its end, is there already."""
        ...

    @property
    def whole(self) -> bool:
        """True when no piece of the body is missing but those that are there already."""
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes."""
        ...

    async def close(self) -> None:
        """Must be called by who opened it; ends an answer that is not whole."""
        ...


class Upstream(Protocol):
    """A provider. ``name`` is the account under which its calls are booked."""

    @property
    def name(self) -> str:
        """Shown as ``account_id``."""
        ...

    async def open(self, call: Call) -> Answer:
        """Send the call and wait for the answer's head. Raises ``wire.client.UpstreamError``."""
        ...


class Provider:
    """A provider over HTTP. With a ``credential`` it replaces the client's; without, the client's goes along."""

    def __init__(self, name: str, client: Client, credential: tuple[bytes, bytes] | None) -> None:
        self.name = name
        self._client = client
        self._credential = credential

    async def open(self, call: Call) -> Answer:
        """See ``Upstream``."""
        return await self._client.open(call.method, call.path, self._headers(call.headers), call.body)

    def _headers(self, given: Headers) -> list[tuple[bytes, bytes]]:
        dropped = _KEPT_HERE | connection_names(given)
        if self._credential is not None:
            dropped |= _CREDENTIALS
        headers = [header for header in given if header[0] not in dropped and not header[0].startswith(_OURS)]
        headers.append((b"accept-encoding", b"identity"))  # so that answers stay readable
        if self._credential is not None:
            headers.append(self._credential)
        return headers


class Upstreams:
    """Chooses who serves a call.

    ``provider`` is the configured one, if any; ``passthrough`` reaches the same address with the client's own
    credential. While nothing is configured, ``scripted`` serves every model; then only names that begin with it.
    """

    def __init__(self, scripted: Upstream, provider: Upstream | None, passthrough: Upstream | None) -> None:
        self._scripted = scripted
        self._provider = provider
        self._passthrough = passthrough

    def choose(self, caller: CallerKind, model: str | None) -> Upstream:
        """Who serves this model for this kind of caller."""
        real = self._passthrough if caller == PASSTHROUGH else self._provider
        if real is None or (model is not None and model.startswith("scripted")):
            return self._scripted
        return real


@dataclass(frozen=True)
class ProviderSettings:
    """The provider from the environment: its address, when one was named, and our key for it, when there is one."""

    base_url: str | None
    api_key: str | None
    default_url: str = "https://api.anthropic.com"


class Providers:
    """The upstreams of one server process and their connections. ``close()`` ends them."""

    def __init__(self, scripted: Upstream, settings: ProviderSettings, timeouts: Timeouts | None = None) -> None:
        self._client: Client | None = None
        provider = passthrough = None
        if settings.api_key or settings.base_url:
            self._client = Client(Target.parse(settings.base_url or settings.default_url), timeouts=timeouts)
            passthrough = Provider(PASSTHROUGH, self._client, None)
        if settings.api_key and self._client is not None:
            provider = Provider("anthropic", self._client, (b"x-api-key", settings.api_key.encode()))
        self.upstreams = Upstreams(scripted, provider, passthrough)

    async def close(self) -> None:
        """End every connection."""
        if self._client is not None:
            await self._client.close()


def connection_names(headers: Sequence[tuple[bytes, bytes]]) -> frozenset[bytes]:
    """The headers that ``Connection`` declares to be for this hop only."""
    named = [value for name, value in headers if name.lower() == b"connection"]
    return frozenset(part.strip().lower() for value in named for part in value.split(b",")) if named else frozenset()
