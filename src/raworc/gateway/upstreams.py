"""One upstream as a call meets it: where it is, what it is called with, and which headers go along."""

import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from raworc.clock import now
from raworc.domain.credentials import ApiKey, Credential, OAuth, RenewalFailed
from raworc.domain.upstreams import ProviderName
from raworc.domain.wires import Wire
from raworc.errors import Unavailable
from raworc.gateway.callers import Refused
from raworc.wire.client import Client, Headers, Reach, Target
from raworc.wire.eager import in_task
from raworc.wire.heading import Header, Heading

_KEPT_HERE: Final = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer transfer-encoding"
    b" upgrade expect host content-length accept-encoding x-raworc-request-id".split()
)
_OURS: Final = (b"msl-", b"raworc-")
_CREDENTIALS: Final = frozenset({b"authorization", b"x-api-key", b"api-key"})
_NOTHING: Final = frozenset[bytes]()
_DROPPED: Final = {without: _KEPT_HERE | without for without in (_NOTHING, _CREDENTIALS)}
_VERSION: Final = "/v1"
_BETA: Final = b"anthropic-beta"
_OAUTH_BETA: Final = b"oauth-2025-04-20"
_ANTHROPIC_OAUTH: Final = "sk-ant-oat"


@dataclass
class Call:
    """One request to a provider in the shapes of ``wire``. ``path`` carries the query; ``heading`` is the client's.

    ``body`` is empty once the answer began: nobody needs it any more.
    """

    request_id: uuid.UUID
    wire: Wire
    method: str
    path: str
    heading: Heading
    body: bytes
    train_id: str
    model: str | None
    stream: bool


class Answer(Protocol):
    """A provider's answer whose head has come; ``headers`` have lower-case names.

    Errors while reading it are ``wire.client.UpstreamError``.
    """

    status: int
    headers: list[Header]

    @property
    def ready(self) -> bool:
        """True when the next piece of the body, or its end, is there already."""
        ...

    @property
    def whole(self) -> bool:
        """True when no piece of the body is missing but those that are there already."""
        ...

    def hand_on(self, take: Callable[[bytes], bool]) -> None:
        """Let ``take`` have each piece that comes while its reader waits, but for the last; False: it must wait."""
        ...

    def next_chunk(self) -> Awaitable[bytes]:
        """The next piece of the body, none at its end."""
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
        """Send the call and wait for the answer's head.

        Raises:
            wire.client.UpstreamError: there is none.
            Refused: there is nothing to call it with.
        """
        ...


class Renewing(Protocol):
    """Where OAuth tokens are renewed; see ``services.renewals``."""

    async def renewed(self, upstream_id: str, held: OAuth, /) -> OAuth:
        """Tokens that count, once for all who ask. Raises RenewalFailed, or DatabaseUnavailable."""
        ...


@dataclass
class Address:
    """An upstream's address and its connections. ``is_whole``: its path stands in the place of ``/v1``."""

    client: Client
    is_whole: bool

    @classmethod
    def of(cls, url: str, provider: ProviderName, reach: Reach) -> "Address":
        """As the provider's own SDK reads ``url``: Anthropic's ends before ``/v1``, OpenAI's after it or its like.

        A ``/v1`` at its end is never doubled. Raises ValueError: it is no address.
        """
        base = url.rstrip("/").removesuffix(_VERSION)
        target = Target.parse(base)
        is_whole = provider == "openai" and bool(target.prefix) and not url.rstrip("/").endswith(_VERSION)
        return cls(Client(target, timeouts=reach.timeouts, trust=reach.trust), is_whole)

    def path(self, asked: str) -> str:
        """The path to ask for."""
        return asked.removeprefix(_VERSION) if self.is_whole else asked


class Provider:
    """A provider over HTTP. Our ``credential`` takes the place of the client's.

    ``upstream_id`` and ``renewing`` matter to OAuth tokens.
    """

    def __init__(
        self, name: str, address: Address, credential: Credential | None, upstream_id: str, renewing: Renewing
    ) -> None:
        self.name = name
        self._address = address
        self._credential = credential
        self._id = upstream_id
        self._renewing = renewing
        self._lines_on: dict[Wire, Callable[[Heading], bytes]] = {
            "anthropic": lambda heading: self._lines(heading, "anthropic"),
            "openai": lambda heading: self._lines(heading, "openai"),
        }

    async def open(self, call: Call) -> Answer:
        """See ``Upstream``."""
        credential = self._credential
        if isinstance(credential, OAuth) and credential.is_over(now()):
            credential = self._credential = await self._renewed(credential)
        if isinstance(credential, OAuth):
            lines = self._lines(call.heading, call.wire)  # they change with its tokens
        else:
            lines = call.heading.once(self._lines_on[call.wire])
        return await self._address.client.send(call.method, self._address.path(call.path), lines, call.body)

    def _lines(self, heading: Heading, wire: Wire) -> bytes:
        headers = passed_on(heading.listed, without=_CREDENTIALS)
        _add_credential(headers, self._credential, wire)
        return self._address.client.lines(headers)

    async def _renewed(self, held: OAuth) -> OAuth:
        await in_task()
        try:
            return await self._renewing.renewed(self._id, held)
        except RenewalFailed as failed:
            raise Refused(401, f"The OAuth tokens of upstream '{self.name}' cannot be renewed: {failed}") from None
        except Unavailable as error:
            raise Refused(
                529, f"Cannot renew the OAuth tokens of upstream '{self.name}' now: {error}", headers=[_SOON]
            ) from None


class Passthrough:
    """A provider over HTTP that the client calls with a credential of its own."""

    def __init__(self, name: str, address: Address) -> None:
        self.name = name
        self._address = address

    async def open(self, call: Call) -> Answer:
        """See ``Upstream``."""
        lines = call.heading.once(self._lines)
        return await self._address.client.send(call.method, self._address.path(call.path), lines, call.body)

    def _lines(self, heading: Heading) -> bytes:
        return self._address.client.lines(passed_on(heading.listed))


class Lost:
    """An upstream whose credential nobody can open any more."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def open(self, call: Call) -> Answer:
        """See ``Upstream``."""
        raise Refused(
            503, f"The {call.wire} credential of upstream '{self.name}' cannot be opened: store it again"
        ) from None


_SOON: Final = (b"retry-after", b"1")


def passed_on(given: Headers, *, without: frozenset[bytes] = _NOTHING) -> list[Header]:
    """The client's headers but those of this hop, ours, and those ``without``."""
    names = connection_names(given)
    dropped = _KEPT_HERE | names | without if names else _DROPPED[without]
    headers = [header for header in given if header[0] not in dropped and not header[0].startswith(_OURS)]
    headers.append((b"accept-encoding", b"identity"))  # so that answers stay readable
    return headers


def connection_names(headers: Sequence[Header]) -> frozenset[bytes]:
    """The headers (lower-case names) that ``Connection`` declares to be for this hop only."""
    named = [value for name, value in headers if name == b"connection"]
    return frozenset(part.strip().lower() for value in named for part in value.split(b",")) if named else frozenset()


def _add_credential(headers: list[Header], credential: Credential | None, wire: Wire) -> None:
    match credential:
        case None:
            return
        case ApiKey(key) if wire == "anthropic" and not key.startswith(_ANTHROPIC_OAUTH):
            headers.append((b"x-api-key", key.encode()))
            return
        case ApiKey(key):
            token = key
        case OAuth():
            token = credential.access_token or ""
    headers.append((b"authorization", b"Bearer " + token.encode()))
    if wire == "anthropic" and not any(name == _BETA and _OAUTH_BETA in value for name, value in headers):
        headers.append((_BETA, _OAUTH_BETA))  # without it Anthropic takes no such token
