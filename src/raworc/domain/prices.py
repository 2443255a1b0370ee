"""What a model call costs, by the table of prices that the installed genai-prices brings along. No network.

Prices are those of the call's own time, of every kind of token apart: input, output, what was written into the cache
for five minutes or for an hour, and what was read from it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import Final

import genai_prices
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import ModelInfo, ModelPrice, TieredPrices

from raworc.domain.usage import Usage
from raworc.domain.wires import Wire

PRICE_VERSION: Final = f"genai-prices {genai_prices.__version__}"
UNPAID: Final = "scripted"
"""The upstream that answers by a script, whatever model it is asked for: its calls have no price."""

_LISTS: Final[dict[Wire, str | None]] = {"anthropic": None, "openai": "openai"}
_PLACES: Final = Decimal("1e-12")  # the dearest sums of a column stay far from what Postgres can hold
_KINDS: Final = ("input_tokens", "output_tokens", "cache_write_tokens", "cache_write_1h_tokens", "cache_read_tokens")
_PROBE: Final = (100, 10, 10, 5, 10)
"""So many of each kind are priced to learn the price of one: none is more than what it is a part of."""

Counts = tuple[int, int, int, int, int]
"""Tokens, in the order of ``_KINDS``."""


@dataclass(frozen=True)
class Price:
    """``cost_usd`` is None where no price is known: that is not the same as nothing. ``version`` is the table's."""

    cost_usd: Decimal | None = None
    version: str | None = None


def price_of_call(account_id: str | None, model: str | None, usage: Usage | None, at: datetime, wire: Wire) -> Price:
    """What a call to an upstream ``account_id`` cost; ``usage`` is None where its answer does not say."""
    return Price() if account_id == UNPAID or usage is None else price(model, usage, at, wire)


def price(model: str | None, usage: Usage, at: datetime, wire: Wire = "anthropic") -> Price:
    """What ``usage`` of ``model`` cost at the time ``at``; on OpenAI's wire, by OpenAI's own list only."""
    listed = _listed(model, _LISTS[wire]) if model else None
    if listed is None:
        return Price()
    written = max(
        usage.cache_creation_input_tokens,
        usage.cache_creation_5m_input_tokens + usage.cache_creation_1h_input_tokens,
    )
    counts = (
        usage.input_tokens + written + usage.cache_read_input_tokens,  # there, it is all that was read
        usage.output_tokens,
        written,
        usage.cache_creation_1h_input_tokens,
        usage.cache_read_input_tokens,
    )
    cost = listed.cost(counts, at)
    return Price() if cost is None else Price(cost.quantize(_PLACES).normalize() + 0, PRICE_VERSION)


def is_known(model: str) -> bool:
    """Whether the table names this model."""
    try:
        genai_prices.calc_price(genai_prices.Usage(input_tokens=1), model)
    except LookupError:
        return False
    except ValueError:  # known, without a price for input
        return True
    return True


@dataclass(frozen=True)
class _Tariff:
    """What one token of each kind costs, and the call itself."""

    each: tuple[Decimal, ...]
    call: Decimal

    def cost(self, counts: Sequence[int]) -> Decimal:
        return self.call + sum((price * count for price, count in zip(self.each, counts, strict=True)), Decimal())


class _Listed:
    """A model of the table. Costs are sums of products: the factors are asked for once, because that is dear."""

    def __init__(self, model: ModelInfo) -> None:
        self._model = model
        self._steps: dict[int, list[int]] = {}  # of prices, by identity: from how much input on others hold
        self._tariffs: dict[tuple[int, int, tuple[bool, ...]], _Tariff | None] = {}

    def cost(self, counts: Counts, at: datetime) -> Decimal | None:
        """What so many tokens cost at that time; None where there is no price for a kind of them."""
        prices = self._model.get_prices(at)
        steps = self._steps.get(id(prices))
        if steps is None:
            steps = self._steps[id(prices)] = _steps(prices)
        above = max((step for step in steps if counts[0] > step), default=0)
        key = (id(prices), above, tuple(count > 0 for count in counts))
        if key not in self._tariffs:
            self._tariffs[key] = _tariff(prices, above, counts)
        tariff = self._tariffs[key]
        return None if tariff is None else tariff.cost(counts)


@lru_cache(maxsize=1_000)
def _listed(model: str, provider: str | None) -> _Listed | None:
    """None where the table has no such model."""
    try:
        return _Listed(get_snapshot().find_provider_model(model, None, provider, None)[1])
    except LookupError:
        return None


def _steps(prices: ModelPrice) -> list[int]:
    tiered = [value for value in vars(prices).values() if isinstance(value, TieredPrices)]
    return [tier.start for value in tiered for tier in value.tiers]


def _tariff(prices: ModelPrice, above: int, counts: Counts) -> _Tariff | None:
    """The tariff of calls with more than ``above`` tokens of input and of those kinds that ``counts`` has."""
    probe = [number if count else 0 for number, count in zip(_PROBE, counts, strict=True)]
    probe[0] += above if probe[0] else 0
    try:
        whole = _calculated(prices, probe)
        each: list[Decimal] = []
        for kind, number in enumerate(probe):
            more = [*probe[:kind], number + 1, *probe[kind + 1 :]]
            each.append(_calculated(prices, more) - whole if number else Decimal())
    except ValueError:  # no price for tokens of this kind
        return None
    return _Tariff(tuple(each), whole - _Tariff(tuple(each), Decimal()).cost(probe))


def _calculated(prices: ModelPrice, counts: Sequence[int]) -> Decimal:
    return prices.calc_price(genai_prices.Usage(**dict(zip(_KINDS, counts, strict=True))))["total_price"]
