"""What is set in a sandbox: secrets give way to the gateway, unless their space turned it off."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raworc.domain.environment import MAX_BYTES, Given, environment, is_off
from raworc.errors import Unavailable

GATEWAY = {
    "anthropic": {"ANTHROPIC_BASE_URL": "door", "ANTHROPIC_API_KEY": "token"},
    "openai": {"OPENAI_BASE_URL": "door/v1", "OPENAI_API_KEY": "token"},
}
OURS = GATEWAY["anthropic"] | GATEWAY["openai"]
PLACE = {"RAWORC_SPACE": "lab", "RAWORC_AGENT": "scout"}
NAMES = st.sampled_from([*OURS, *PLACE, "A", "B", "PATH"])
SECRETS = st.dictionaries(NAMES, st.sampled_from(["x", "y", ""]))


@given(SECRETS, SECRETS)
def test_no_secret_takes_the_place_of_a_gateway_variable(space: dict[str, str], agent: dict[str, str]):
    made = environment(Given(space, agent), GATEWAY, PLACE)
    assert made == {**space, **agent, **OURS, **PLACE}


@given(SECRETS, SECRETS)
def test_with_the_gateway_off_a_provider_is_reached_by_secrets_or_by_us_never_by_half_of_each(space, agent):
    made, secrets = environment(Given(space, agent, is_off=True), GATEWAY, PLACE), {**space, **agent}
    for variables in GATEWAY.values():
        found = {name: made[name] for name in variables if name in made}
        named = {name: secrets[name] for name in variables if name in secrets}
        assert found == (named or variables)
    assert {name: made[name] for name in PLACE} == PLACE


def test_what_no_process_could_be_started_with_is_told_without_a_value():
    environment(Given({"A": "x" * (MAX_BYTES - 2000)}), GATEWAY, PLACE)
    with pytest.raises(Unavailable, match="remove some") as caught:
        environment(Given({"A": "x" * (MAX_BYTES // 2)}, {"B": "x" * (MAX_BYTES // 2)}), GATEWAY, PLACE)
    assert "xx" not in str(caught.value)


def test_only_the_word_turns_it_off():
    assert is_off({"gateway": "off"})
    assert not any(is_off(settings) for settings in ({}, {"gateway": False}, {"gateway": "on"}, {"gateway": ["off"]}))


def test_values_are_not_shown_by_accident():
    assert "hidden" not in repr(Given({"A": "hidden"}, {"B": "hidden"}))
