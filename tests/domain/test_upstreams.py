"""Who serves a call: never the wrong wire, model or space; always the same account for a train, while it is there."""

from hypothesis import given
from hypothesis import strategies as st

from raworc.domain.upstreams import Offer, in_order, serves, serving, to_try

NAMES = st.sampled_from(["a", "b", "c", "d", "e", "f"])
MODELS = st.sampled_from(["claude-x", "claude-opus-1", "gpt-5", "gpt-oss:20b", "o3", "llama3:8b", "zeta"])
PATTERNS = st.sampled_from(["claude*", "*", "gpt-5", "llama*", "zeta"])
SPACES = st.sampled_from(["default", "one", "two"])
WIRES = st.sampled_from(["anthropic", "openai"])
OFFERS = st.lists(
    st.builds(
        Offer,
        name=NAMES,
        provider=st.sampled_from(["anthropic", "openai", "custom"]),
        models=st.lists(PATTERNS, max_size=2).map(tuple),
        spaces=st.none() | st.frozensets(SPACES, max_size=2),
        is_default=st.booleans(),
    )
    | st.builds(
        Offer,
        name=NAMES,
        provider=st.sampled_from(["anthropic", "openai"]),
        spaces=SPACES.map(lambda space: frozenset({space})),
        is_own=st.sampled_from([True]),
    ),
    max_size=6,
    unique_by=lambda offer: offer.name,
)


@given(OFFERS, WIRES, st.none() | MODELS, SPACES)
def test_only_those_who_can_serve_are_chosen_and_somebody_is_if_anybody_can(offers, wire, model, space):
    chosen = serving(offers, wire, model, space)
    able = [offer for offer in offers if serves(offer, wire, model) and offer.serves_space(space)]
    assert set(chosen) <= set(able)
    assert bool(chosen) == bool(able)
    own = {offer.provider for offer in offers if offer.is_own and offer.serves_space(space)}
    assert all(offer.is_own or offer.provider not in own for offer in chosen)
    assert len({offer.is_own for offer in chosen}) < 2
    for offer in chosen:
        assert offer.provider in {wire, "custom"}
        assert offer.spaces is None or space in offer.spaces


@given(OFFERS, NAMES, st.text(max_size=20))
def test_a_train_stays_where_it_is_while_others_come_and_go(offers, other, train):
    first = next(iter(in_order(offers, train)), None)
    fewer = [offer for offer in offers if offer.name != other]
    if first is not None and first.name != other:
        assert in_order(fewer, train)[0] == first
    assert in_order(offers[::-1], train) == in_order(offers, train)


@given(OFFERS, st.text(max_size=20))
def test_default_ones_come_first(offers, train):
    ordered = in_order(offers, train)
    assert sorted(ordered, key=lambda offer: not offer.is_default) == list(ordered)


@given(OFFERS, st.dictionaries(NAMES, st.floats(0, 10)), st.floats(0, 10))
def test_who_cools_down_is_spared_but_never_all_of_them(offers, until, at_s):
    ordered = in_order(offers, "train")
    tried = to_try(ordered, until, at_s)
    assert bool(tried) == bool(ordered)
    ready = [offer for offer in ordered if until.get(offer.name, 0) <= at_s]
    if ready:
        assert list(tried) == ready
    elif ordered:
        assert [offer.name for offer in tried] == [min(ordered, key=lambda offer: until[offer.name]).name]


def test_trains_are_spread_over_accounts():
    offers = [Offer(name, "anthropic") for name in "abcd"]
    firsts = [in_order(offers, f"train-{number}")[0].name for number in range(1000)]
    assert all(180 < firsts.count(name) < 320 for name in "abcd")


def test_a_provider_comes_before_those_who_take_any_name():
    anthropic, openai, ollama = Offer("a", "anthropic"), Offer("o", "openai"), Offer("l", "custom")
    every = [anthropic, openai, ollama]
    assert serving(every, "anthropic", "claude-x", "s") == (anthropic,)
    assert serving(every, "openai", "gpt-5", "s") == (openai,)
    assert serving(every, "openai", "llama3:8b", "s") == (ollama,)
    assert serving(every, "openai", "gpt-oss:20b", "s") == (ollama,)
    assert serving([anthropic, openai], "openai", "llama3:8b", "s") == (openai,)
    assert serving(every, "anthropic", None, "s") == (anthropic,)
    named = Offer("n", "custom", models=("claude-x",))
    assert set(serving([*every, named], "anthropic", "claude-x", "s")) == {anthropic, named}


def test_a_spaces_own_credential_wins_in_that_space_and_leaves_other_providers_alone():
    shared, local = Offer("anthropic", "anthropic", is_default=True), Offer("ollama", "custom", models=("llama*",))
    own = Offer("anthropic@lab", "anthropic", spaces=frozenset({"lab"}), is_own=True)
    offers = [shared, local, own, Offer("openai", "openai")]
    for model, wire, space, expected in [
        ("claude-x", "anthropic", "lab", "anthropic@lab"),
        ("claude-x", "anthropic", "default", "anthropic"),
        ("llama3", "anthropic", "lab", "ollama"),
        ("gpt-5", "openai", "lab", "openai"),
        (None, "anthropic", "lab", "anthropic@lab"),
    ]:
        assert [offer.name for offer in serving(offers, wire, model, space)] == [expected]
