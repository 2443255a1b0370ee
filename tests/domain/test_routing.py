import json
import time
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raworc.domain.routing import MAX_KEYWORDS, ROUTING_INSTRUCTION, Question, Routes, by_words, names_offered


@dataclass(frozen=True)
class Agent:
    name: str
    routes: tuple[Any, ...] = ()
    purpose: str | None = None
    description: str | None = None
    instructions: str | None = None
    space: str = "default"


def said(text: str) -> dict[str, Any]:
    return {"content": [{"type": "text", "content": text}]}


def chosen(message: str, *routes: list[Any]) -> str | None:
    found = Routes.of([Agent(f"a{n}", tuple(entries)) for n, entries in enumerate(routes)]).chosen(said(message))
    return found and found.name


@pytest.mark.parametrize(
    ("message", "routes", "name"),
    [
        ("hello", [[], []], None),
        ("hello", [[{"pattern": "bye"}], [{"pattern": "^hel+o$"}]], "a1"),
        ("hello", [[{"pattern": "hello"}], [{"pattern": "hello", "weight": 2}]], "a1"),
        ("hello", [[{"pattern": "hello", "weight": 0.5}], [{"keywords": ["hello"]}]], "a1"),
        ("hello", [[{"pattern": "hello", "weight": -1}], [{"pattern": "bye", "weight": 9}]], "a0"),
        ("hello", [[{"pattern": "hello", "weight": 10**400}], [{"pattern": "hello", "weight": 5}]], "a0"),
        ("hello", [[{"pattern": "hello"}], [{"pattern": "hello", "weight": None}]], "a0"),
        ("hello", [[{"pattern": "bye"}, {"pattern": "h", "weight": 1}], [{"pattern": "h", "weight": 1.5}]], "a1"),
        ("Hello", [[{"pattern": "hello"}], [{"pattern": "(?i)hello"}]], "a1"),
        ("my Invoice, please", [[{"keywords": ["bill", "invoice"]}]], "a0"),
        ("my invoices", [[{"keywords": ["invoice"]}]], None),
        ("pay it\n back", [[{"keywords": ["pay it  back"]}]], "a0"),
        ("a.c", [[{"keywords": ["abc"]}], [{"keywords": ["a.c"]}]], "a1"),
        ("abc", [[{"keywords": ["a.c"]}]], None),
        ("I know C++ well", [[{"keywords": ["c++"]}]], "a0"),
        ("我要退款吧", [[{"keywords": ["退款"]}]], "a0"),
        ("ÜBER", [[{"keywords": ["über"]}]], "a0"),
    ],
)
def test_the_heaviest_rule_that_matches_says_who_answers(message: str, routes: list[list[Any]], name: str | None):
    assert chosen(message, *routes) == name


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ("/support", "it is no object with either a 'pattern' or 'keywords'"),
        (None, "it is no object with either a 'pattern' or 'keywords'"),
        ({"weight": 1}, "it is no object with either a 'pattern' or 'keywords'"),
        ({"pattern": "x", "keywords": ["x"]}, "it is no object with either a 'pattern' or 'keywords'"),
        ({"pattern": 5}, "it has no 'pattern'"),
        ({"pattern": "("}, "its pattern cannot be read: missing ): ("),
        ({"pattern": "(x)\\1"}, "its pattern cannot be read: invalid escape sequence: \\1"),
        ({"pattern": "x" * 1001}, "its pattern is longer than 1000 characters"),
        ({"pattern": "x", "weight": "2"}, "its 'weight' is no number"),
        ({"pattern": "x", "weight": True}, "its 'weight' is no number"),
        ({"keywords": "x"}, "its 'keywords' are no list of texts"),
        ({"keywords": []}, "its 'keywords' are no list of texts"),
        ({"keywords": ["x", 1]}, "its 'keywords' are no list of texts"),
        ({"keywords": [" "]}, "its 'keywords' are no list of texts"),
        ({"keywords": ["x"] * (MAX_KEYWORDS + 1)}, "it has more than 100 'keywords'"),
        ({"keywords": ["xy" * 100_000]}, "its pattern cannot be read: pattern too large - compile failed"),
    ],
)
def test_a_rule_that_says_nothing_is_noted_and_the_others_count(entry: Any, why: str):
    routes = Routes.of([Agent("a", (entry,)), Agent("b", ({"pattern": "x"},))])
    assert routes.remarks == [f"'routes.0' of agent 'a' is ignored: {why}"]
    assert routes.chosen(said("x")) == Agent("b", ({"pattern": "x"},))


@pytest.mark.parametrize("pattern", ["(a|a)*$", "(a+)+$", "(.*)*=", "((a{1,30}){1,30})?$"])
def test_no_pattern_and_no_message_runs_away(pattern: str):
    began = time.monotonic()
    assert chosen("a" * 60_000 + "b", [{"pattern": pattern}, {"pattern": "nothing"}], [{"keywords": ["a"]}]) in {
        "a0",
        None,
    }
    assert time.monotonic() - began < 5


def asked(*candidates: Agent, text: str = "hi", last: Agent | None = None) -> dict[str, Any]:
    question = Question.about(candidates, said(text), last)
    assert question.system.startswith(ROUTING_INSTRUCTION)
    return {**json.loads(question.system.removeprefix(ROUTING_INSTRUCTION)), "text": question.text}


def test_a_model_is_told_names_purposes_and_who_answered_last():
    pay, build = Agent("pay", purpose="invoices"), Agent("build", description="\n".join(["code"] * 100))
    told = asked(pay, build, Agent("other", instructions="Be kind"), Agent("none"), last=build)
    assert told == {
        "agents": [
            {"name": "pay", "purpose": "invoices"},
            {"name": "build", "purpose": " ".join(["code"] * 60)},
            {"name": "other", "purpose": "Be kind"},
            {"name": "none", "purpose": ""},
        ],
        "answered_last": "build",
        "text": "hi",
    }


def test_agents_of_one_name_and_one_called_none_are_told_apart_by_their_spaces():
    agents = Agent("pay"), Agent("pay", space="eu"), Agent("NONE"), Agent("build")
    question = Question.about(agents, said("hi"), None)
    assert list(question.names) == ["default/pay", "eu/pay", "default/NONE", "build"]
    assert question.chosen("eu/pay") is agents[1]
    assert question.chosen("NONE") is None


@pytest.mark.parametrize(
    ("answer", "name"),
    [("pay", "pay"), (" pay\n", "pay"), ("NONE", None), ("Pay", None), ("pay.", None), ("", None), ("pay build", None)],
)
def test_only_one_exact_name_is_an_answer(answer: str, name: str | None):
    found = Question.about([Agent("pay"), Agent("build")], said("hi"), None).chosen(answer)
    assert (found and found.name) == name


def test_of_a_long_message_a_model_is_asked_with_its_beginning_and_its_end():
    text = asked(Agent("a"), text="b" * 5000 + "e" * 5000)["text"]
    assert len(text) < 4100
    assert text.startswith("bbb")
    assert text.endswith("eee")


@pytest.mark.parametrize("system", ["", "Be kind", ROUTING_INSTRUCTION, ROUTING_INSTRUCTION + '\n{"agents": [1]}'])
def test_other_texts_offer_no_names(system: str):
    assert names_offered(system) is None


@pytest.mark.parametrize(
    ("message", "name"),
    [
        ("please refund the payment", "pay"),
        ("Compile it", "build"),
        ("INVOICES", "pay"),
        ("the agent for you and me", None),  # all of them are agents, and the rest says nothing
        ("something else", None),
        ("refund what you compile", "pay"),
        ("", None),
    ],
)
def test_words_decide_by_what_only_some_of_the_agents_are_for(message: str, name: str | None):
    pay = Agent("pay", purpose="The agent for refunds and invoices", description="payments")
    build = Agent("build", description="An agent who can compile code for you")
    found = by_words([pay, build], said(message))
    assert (found and found.name) == name


_LETTERS = st.text("ab cß退(+", max_size=6)
_ENTRIES = st.one_of(
    st.fixed_dictionaries({"pattern": _LETTERS}, optional={"weight": st.one_of(st.integers(-3, 3), st.none())}),
    st.fixed_dictionaries(
        {"keywords": st.lists(_LETTERS, max_size=3)}, optional={"weight": st.floats(allow_nan=False)}
    ),
    st.recursive(
        st.none() | st.booleans() | _LETTERS, lambda inner: st.lists(inner) | st.dictionaries(_LETTERS, inner)
    ),
)
_AGENTS = st.builds(
    Agent,
    name=st.sampled_from(["a", "b", "NONE"]),
    routes=st.lists(_ENTRIES, max_size=3).map(tuple),
    purpose=st.none() | _LETTERS,
    description=st.none() | _LETTERS,
    instructions=st.none() | _LETTERS,
)


@given(st.lists(_AGENTS, max_size=4), _LETTERS)
def test_whatever_users_write_somebody_of_theirs_or_nobody_answers(agents: list[Agent], message: str):
    """And every entry either is a rule or is noted."""
    routes = Routes.of(agents)
    assert len(routes.rules) + len(routes.remarks) == sum(len(agent.routes) for agent in agents)
    assert routes.chosen(said(message)) in [None, *agents]
    assert by_words(agents, said(message)) in [None, *agents]
    question = Question.about(agents, said(message), None)
    assert names_offered(question.system) == list(question.names)


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=6))
def test_of_matching_rules_none_is_heavier_than_the_chosen_and_none_as_heavy_comes_before(weights: list[int]):
    agents = [Agent(str(n), ({"pattern": "x", "weight": weight},)) for n, weight in enumerate(weights)]
    found = Routes.of(agents).chosen(said("x"))
    assert found is not None
    assert weights.index(max(weights)) == int(found.name)
