"""Which upstreams a call may go to, and keeping what is known of them fresh.

What administrators change reaches every server process within about a second. While the database is away, what
was known last holds. Of a cool-down the process that met the 429 tells the others.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, Protocol

import structlog

from raworc.clock import now
from raworc.domain.credentials import OAuth, RenewalFailed
from raworc.domain.text import storable_text
from raworc.domain.upstreams import PASSTHROUGH, SCRIPTED, Offer, in_order, serves, serving, to_try
from raworc.domain.wires import Wire
from raworc.errors import Unavailable
from raworc.gateway.callers import Booking, Refused
from raworc.gateway.upstreams import Address, Lost, Passthrough, Provider, Renewing, Upstream
from raworc.services.upstream_uses import Use
from raworc.wire.client import Reach

_POLL_S: Final = 0.5
_MOST_REMEMBERED: Final = 10_000
_ACCOUNT: Final = b"msl-account"
_PROVIDERS_KEY: Final = b"bearer sk-"
_log = structlog.get_logger(__name__)


class Directory(Protocol):
    """Where upstreams are looked up; see ``services.upstream_uses``."""

    async def now(self, known: Mapping[str, Use], /) -> tuple[Use, ...]:
        """All there are, those of ``known`` that did not change as they are. Raises Unavailable."""
        ...

    async def cooling(self, met: Mapping[str, float], /) -> Mapping[str, float]:
        """Tell of upstreams that have had enough for so many seconds, and hear of all of them. Raises Unavailable."""
        ...


@dataclass(frozen=True)
class Addresses:
    """Where clients' own credentials go, by wire. ``is_configured``: somebody named one of them."""

    anthropic: str
    openai: str
    is_configured: bool = False


@dataclass(frozen=True)
class Route:
    """The upstreams to try, in this order, and who learns that one has had enough (a 429).

    ``first_wait_s``: before the first retry of one that fails; None: what it answers is the answer.
    """

    upstreams: tuple[Upstream, ...]
    cool: Callable[[str, float], None]
    first_wait_s: float | None

    @property
    def name(self) -> str:
        """Where the call goes first."""
        return self.upstreams[0].name


@dataclass
class _Known:
    """What was known at one moment."""

    uses: dict[str, Use] = field(default_factory=dict[str, Use])
    offers: tuple[Offer, ...] = ()
    providers: dict[str, Upstream] = field(default_factory=dict[str, Upstream])
    routes: dict[str, Route] = field(default_factory=dict[str, Route])  # to one of them alone
    addresses: dict[str, Address] = field(default_factory=dict[str, Address])
    serving: dict[tuple[Wire, str | None, str | None], tuple[Offer, ...]] = field(
        default_factory=dict[tuple[Wire, str | None, str | None], tuple[Offer, ...]]
    )
    has_shared: bool = False
    own_spaces: frozenset[str] = frozenset()

    def is_configured(self, space: str | None) -> bool:
        """Whether calls of this space have somewhere to go: another space's own credential is nothing to it."""
        return self.has_shared or space in self.own_spaces


class Routing:
    """Chooses who serves a call. Use it within :meth:`kept`.

    While nothing is configured for a space, ``scripted`` serves every model; then only names that begin with it.
    """

    def __init__(
        self,
        scripted: Upstream,
        directory: Directory,
        renewing: Renewing,
        addresses: Addresses,
        *,
        reach: Reach | None = None,
        first_wait_s: float = 0.5,
    ) -> None:
        self._directory = directory
        self._renewing = renewing
        self._reach = reach = reach or Reach()
        self._first_wait_s = first_wait_s
        self._cool_until_s: dict[str, float] = {}
        self._untold: set[str] = set()  # cool-downs that other processes have not heard of
        self._known = _Known()
        self._scripted = Route((scripted,), self._cool, None)
        self._own: dict[Wire, Address] = {
            "anthropic": Address.of(addresses.anthropic, "anthropic", reach),
            "openai": Address.of(addresses.openai, "openai", reach),
        }
        self._passthrough = {
            wire: Route((Passthrough(PASSTHROUGH, address),), self._cool, first_wait_s)
            for wire, address in self._own.items()
        }
        self._names_an_address = addresses.is_configured
        self._renewals: set[asyncio.Task[None]] = set()

    def choose(self, booking: Booking, wire: Wire, model: str | None, headers: Mapping[bytes, bytes]) -> Route:
        """Whom to ask, one after the other.

        Raises:
            Refused: 403, the account that ``MSL-Account`` names is not this caller's; 404, nobody serves the call.
        """
        if model is not None and model.startswith(SCRIPTED):
            return self._scripted
        if booking.kind == PASSTHROUGH:
            return self._with_own_credential(wire, headers)
        account = headers.get(_ACCOUNT)
        if account is not None:
            return self._pinned(booking, wire, model, account.decode("latin-1"))
        if not self._known.is_configured(booking.space):
            return self._scripted
        offers = self._serving(wire, model, booking.space)
        if not offers:
            named = f"model '{storable_text(model[:100])}'" if model else "such calls"
            raise Refused(404, f"No upstream of space '{booking.space}' serves {named} on the {wire} wire")
        if len(offers) == 1:
            return self._known.routes[offers[0].name]
        tried = to_try(in_order(offers, booking.train_id), self._cool_until_s, time.monotonic())
        providers = self._known.providers
        return Route(tuple(providers[offer.name] for offer in tried), self._cool, self._first_wait_s)

    @asynccontextmanager
    async def kept(self) -> AsyncGenerator[None]:
        """Know the upstreams, and go on learning of them until the block ends; then end their connections."""
        await self.look()
        looking = asyncio.create_task(self._keep_looking(), name="upstreams")
        try:
            yield
        finally:
            tasks = [looking, *self._renewals]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for address in (*self._own.values(), *self._known.addresses.values()):
                await address.client.close()

    async def look(self) -> None:
        """See what has changed, and renew what is about to end."""
        at_s, untold = time.monotonic(), set(self._untold)
        met = {name: left for name in untold if (left := self._cool_until_s.get(name, at_s) - at_s) > 0}
        try:
            uses = await self._directory.now(self._known.uses)
            cooling = await self._directory.cooling(met)
        except Unavailable:
            return  # what was known last holds
        self._untold -= untold
        for name, left in cooling.items():
            self._cool_until_s[name] = max(self._cool_until_s.get(name, 0.0), at_s + left)
        if tuple(self._known.uses.values()) != uses:
            await self._learn(uses)
        for use in uses:
            if isinstance(use.credential, OAuth) and use.credential.is_due(now()):
                self._renew(use, use.credential)

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(_POLL_S)
            await self.look()

    async def _learn(self, uses: tuple[Use, ...]) -> None:
        """Connections of upstreams that stay where they are are kept; calls that run keep theirs in any case."""
        before, after = self._known, _known_of(uses)
        for use in uses:
            former = before.uses.get(use.id)
            stays = former is not None and (former.base_url, former.offer.provider) == (
                use.base_url,
                use.offer.provider,
            )
            address = before.addresses[use.id] if stays else Address.of(use.base_url, use.offer.provider, self._reach)
            after.addresses[use.id] = address
            after.providers[use.offer.name] = (
                before.providers[use.offer.name] if former is use else self._provider(use, address)
            )
        for name, provider in after.providers.items():
            after.routes[name] = Route((provider,), self._cool, self._first_wait_s)
        self._known = after
        kept = {id(address) for address in after.addresses.values()}
        for address in before.addresses.values():
            if id(address) not in kept:
                await address.client.close()

    def _provider(self, use: Use, address: Address) -> Upstream:
        if use.is_lost:
            return Lost(use.offer.name)
        return Provider(use.offer.name, address, use.credential, use.id, self._renewing)

    def _serving(self, wire: Wire, model: str | None, space: str | None) -> tuple[Offer, ...]:
        known = self._known
        key: tuple[Wire, str | None, str | None] = (wire, model, space)
        found = known.serving.get(key)
        if found is None:
            if len(known.serving) >= _MOST_REMEMBERED:
                known.serving.clear()
            found = known.serving[key] = serving(known.offers, wire, model, space)
        return found

    def _pinned(self, booking: Booking, wire: Wire, model: str | None, account: str) -> Route:
        if account == SCRIPTED and not self._known.is_configured(booking.space):
            return self._scripted
        offer = next((offer for offer in self._known.offers if offer.name == account), None)
        if offer is None or not offer.serves_space(booking.space):
            raise Refused(403, f"Space '{booking.space}' may not use account '{storable_text(account[:80])}'")
        if not serves(offer, wire, model):
            raise Refused(404, f"Account '{offer.name}' does not serve this model on the {wire} wire")
        return self._known.routes[offer.name]

    def _with_own_credential(self, wire: Wire, headers: Mapping[bytes, bytes]) -> Route:
        account = headers.get(_ACCOUNT)
        if account is not None and account != PASSTHROUGH.encode():
            raise Refused(403, "'MSL-Account' is for Raworc's own tokens and keys, not for a provider's credential")
        looks_own = headers.get(b"authorization", b"").lower().startswith(_PROVIDERS_KEY)
        if self._known.has_shared or self._names_an_address or looks_own:
            return self._passthrough[wire]
        return self._scripted

    def _cool(self, name: str, seconds: float) -> None:
        at_s = time.monotonic()
        if len(self._cool_until_s) > len(self._known.offers):
            self._cool_until_s = {known: until for known, until in self._cool_until_s.items() if until > at_s}
        self._cool_until_s[name] = at_s + seconds
        self._untold.add(name)

    def _renew(self, use: Use, held: OAuth) -> None:
        if any(task.get_name() == use.id for task in self._renewals):
            return
        task = asyncio.create_task(self._renewed(use, held), name=use.id)
        self._renewals.add(task)
        task.add_done_callback(self._renewals.discard)

    async def _renewed(self, use: Use, held: OAuth) -> None:
        try:
            await self._renewing.renewed(use.id, held)
        except RenewalFailed as failed:
            _log.warning("upstream_not_renewed", upstream=use.offer.name, error=failed.error)
        except Unavailable:
            pass  # tried again at the next look


def _known_of(uses: tuple[Use, ...]) -> _Known:
    own = frozenset(space for use in uses if use.offer.is_own for space in use.offer.spaces or ())
    return _Known(
        {use.id: use for use in uses},
        tuple(use.offer for use in uses),
        has_shared=any(not use.offer.is_own for use in uses),
        own_spaces=own,
    )
