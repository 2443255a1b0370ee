"""Which model an agent asks, and on which wire: its own word first, then what there are accounts for."""

import pytest

from raworc.domain.models import DEFAULT_CLAUDE, DEFAULT_GPT, Choice, Models
from raworc.domain.upstreams import Offer
from raworc.domain.wires import Wire

ANTHROPIC, OPENAI, OLLAMA = Offer("anthropic", "anthropic"), Offer("openai", "openai"), Offer("ollama", "custom")
CUSTOM_CLAUDE = Offer("bridge", "custom", ("claude*",))
ELSEWHERE = Offer("anthropic", "anthropic", spaces=frozenset())

MODELS: dict[str, tuple[str | None, str | None, tuple[Offer, ...], str]] = {
    "its own": ("own", "default", (ANTHROPIC,), "own"),
    "the installation's": (None, "default", (ANTHROPIC,), "default"),
    "a current Claude": (None, None, (OPENAI, ANTHROPIC), DEFAULT_CLAUDE),
    "a current GPT with only an OpenAI account": (None, None, (OPENAI,), DEFAULT_GPT),
    "GPT where the Anthropic account takes other models": (
        None,
        None,
        (OPENAI, Offer("a", "anthropic", ("claude-opus-*",))),
        DEFAULT_GPT,
    ),
    "not what the account does not take": (None, None, (Offer("o", "openai", ("gpt-4*",)),), "scripted"),
    "what the space's own account takes, not what the shared one does": (
        None,
        None,
        (Offer("o", "openai", ("gpt-4*",)), Offer("own", "openai", is_own=True)),
        DEFAULT_GPT,
    ),
    "nothing is known of a custom one": (None, None, (OLLAMA,), "scripted"),
    "none needed": (None, None, (), "scripted"),
}


@pytest.mark.parametrize(("own", "default", "offers", "expected"), MODELS.values(), ids=MODELS)
def test_which_model(own: str | None, default: str | None, offers: tuple[Offer, ...], expected: str):
    assert Models(default).choice(own, offers).model == expected
    assert Models(default, offers).choice(own, ()).model == expected


WIRES: dict[str, tuple[str, tuple[Offer, ...], Wire]] = {
    "Claude at Anthropic": ("claude-x", (ANTHROPIC, OPENAI), "anthropic"),
    "GPT at OpenAI": ("gpt-5", (ANTHROPIC, OPENAI), "openai"),
    "GPT with an Anthropic account only goes where it can": ("gpt-5", (ANTHROPIC,), "anthropic"),
    "Claude with an OpenAI account only goes where it can": ("claude-x", (OPENAI,), "openai"),
    "an account that was set up for the name": (
        "gpt-5",
        (OPENAI, Offer("a", "anthropic", ("gpt-5",))),
        "openai",  # both serve it best: its maker's
    ),
    "Claude behind a server of both wires": ("claude-x", (CUSTOM_CLAUDE,), "anthropic"),
    "another model behind a server of both wires": ("llama3:8b", (OLLAMA,), "openai"),
    "another model, and accounts that take any name": ("zeta", (ANTHROPIC, OPENAI), "openai"),
    "nobody serves it, so the maker's": ("gpt-5", (), "openai"),
    "nobody serves it, and nobody knows it": ("zeta", (), "anthropic"),
    "the built-in one": ("scripted-2", (OPENAI,), "anthropic"),
}


@pytest.mark.parametrize(("model", "offers", "expected"), WIRES.values(), ids=WIRES)
def test_on_which_wire(model: str, offers: tuple[Offer, ...], expected: Wire):
    assert Models().choice(model, offers) == Choice(model, expected)


def test_a_stored_upstream_hides_the_environments_of_the_same_name():
    assert Models(None, (ANTHROPIC,)).choice(None, (ELSEWHERE,)).model == "scripted"
    assert Models(None, (ANTHROPIC, OPENAI)).choice(None, (ELSEWHERE,)).model == DEFAULT_GPT
