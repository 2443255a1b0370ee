"""What calls cost: every kind of token apart, at the call's own time, and nothing invented."""

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import genai_prices
import pytest
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import CalcPrice, ModelPrice
from hypothesis import given
from hypothesis import strategies as st

from raworc.domain.prices import PRICE_VERSION, Price, price
from raworc.domain.usage import Usage

AT = datetime(2026, 1, 15, 12, tzinfo=UTC)
MILLION = 1_000_000
COUNT = st.integers(0, 1_000_000_000)


@pytest.mark.parametrize(
    ("used", "dollars"),
    [
        (Usage(input_tokens=MILLION), "5"),
        (Usage(output_tokens=MILLION), "25"),
        (Usage(cache_read_input_tokens=MILLION), "0.5"),
        (Usage(cache_creation_input_tokens=MILLION), "6.25"),
        (Usage(cache_creation_input_tokens=MILLION, cache_creation_5m_input_tokens=MILLION), "6.25"),
        (Usage(cache_creation_input_tokens=MILLION, cache_creation_1h_input_tokens=MILLION), "10"),
        (Usage(1, 1, 0, 2, 3, 1), "0.0000730"),
    ],
)
def test_each_kind_of_token_has_its_price(used: Usage, dollars: str) -> None:
    assert price("claude-opus-4-5-20251101", used, AT) == Price(Decimal(dollars), PRICE_VERSION)


def test_the_price_is_that_of_the_call_s_time() -> None:
    used = Usage(input_tokens=MILLION)
    before = price("o3", used, datetime(2025, 6, 1, tzinfo=UTC)).cost_usd
    assert (before, price("o3", used, AT).cost_usd) == (Decimal(10), Decimal(2))


@pytest.mark.parametrize("model", [None, "", "scripted", "claude-unheard-of-7", "x" * 255, "a\nb", "../.."])
def test_no_known_price_is_not_zero(model: str | None) -> None:
    assert price(model, Usage(input_tokens=5), AT) == Price(None, None)


@given(st.builds(Usage, COUNT, COUNT, COUNT, COUNT, COUNT, COUNT), st.sampled_from(["claude-opus-4-5", "gpt-4o", "o3"]))
def test_any_figures_have_a_price_that_can_be_stored(used: Usage, model: str) -> None:
    cost = price(model, used, AT).cost_usd
    assert cost is not None
    assert 0 <= cost < MILLION**2


def by_the_table(model: str, used: Usage, at: datetime) -> Price:
    """The same by the table's own sum."""
    written = max(
        used.cache_creation_input_tokens, used.cache_creation_5m_input_tokens + used.cache_creation_1h_input_tokens
    )
    counted = genai_prices.Usage(
        input_tokens=used.input_tokens + written + used.cache_read_input_tokens,
        output_tokens=used.output_tokens,
        cache_write_tokens=written,
        cache_write_1h_tokens=used.cache_creation_1h_input_tokens,
        cache_read_tokens=used.cache_read_input_tokens,
    )
    try:
        found = genai_prices.calc_price(counted, model, genai_request_timestamp=at)
    except (LookupError, ValueError):
        return Price()
    return Price(found.total_price.quantize(Decimal("1e-12")).normalize() + 0, PRICE_VERSION)


MODELS = sorted({model.id for provider in get_snapshot().providers for model in provider.models})


@pytest.mark.parametrize("part", range(8))
def test_prices_are_those_of_the_table_whatever_was_used_and_when(part: int) -> None:
    dice = random.Random(part)  # noqa: S311  a seed makes the run repeatable
    figures = (0, 0, 7, 1_000, 32_000, 32_001, 128_001, 199_999, 200_000, 200_001, 272_001, 1_000_000)
    for model in MODELS[part::8]:
        for _ in range(6):
            used = Usage(*(dice.choice(figures) for _ in range(6)))
            at = datetime(2023, 1, 1, tzinfo=UTC) + timedelta(minutes=dice.randrange(4 * 366 * 24 * 60))
            assert price(model, used, at) == by_the_table(model, used, at), (model, used, at)


def test_the_table_s_own_sum_is_asked_a_few_times_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes longer than all else that is done to record a call."""
    asked: list[object] = []
    plain = ModelPrice.calc_price

    def counted(prices: ModelPrice, usage: object) -> CalcPrice:
        asked.append(usage)
        return plain(prices, usage)

    monkeypatch.setattr(ModelPrice, "calc_price", counted)
    for number in range(1, 1_000):
        price("claude-sonnet-4-20250514", Usage(number, 2 * number, cache_read_input_tokens=number % 7), AT)
    assert len(asked) < 50
