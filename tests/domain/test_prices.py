"""What calls cost: every kind of token apart, at the call's own time, and nothing invented."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
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
