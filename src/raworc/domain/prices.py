"""What a model call costs, by the table of prices that the installed genai-prices brings along. No network.

Prices are those of the call's own time, of every kind of token apart: input, output, what was written into the cache
for five minutes or for an hour, and what was read from it.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

import genai_prices

from raworc.domain.usage import Usage
from raworc.domain.wires import Wire

PRICE_VERSION: Final = f"genai-prices {genai_prices.__version__}"
UNPAID: Final = "scripted"
"""The upstream that answers by a script, whatever model it is asked for: its calls have no price."""

_LISTS: Final[dict[Wire, str | None]] = {"anthropic": None, "openai": "openai"}
_PLACES: Final = Decimal("1e-12")  # the dearest sums of a column stay far from what Postgres can hold


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
    if not model:
        return Price()
    written = max(
        usage.cache_creation_input_tokens,
        usage.cache_creation_5m_input_tokens + usage.cache_creation_1h_input_tokens,
    )
    counted = genai_prices.Usage(
        input_tokens=usage.input_tokens + written + usage.cache_read_input_tokens,  # there, it is all that was read
        output_tokens=usage.output_tokens,
        cache_write_tokens=written,
        cache_write_1h_tokens=usage.cache_creation_1h_input_tokens,
        cache_read_tokens=usage.cache_read_input_tokens,
    )
    try:
        found = genai_prices.calc_price(counted, model, provider_id=_LISTS[wire], genai_request_timestamp=at)
    except (LookupError, ValueError):  # no such model, or no price for tokens of this kind
        return Price()
    return Price(found.total_price.quantize(_PLACES).normalize() + 0, PRICE_VERSION)


def is_known(model: str) -> bool:
    """Whether the table names this model."""
    try:
        genai_prices.calc_price(genai_prices.Usage(input_tokens=1), model)
    except LookupError:
        return False
    except ValueError:  # known, without a price for input
        return True
    return True
