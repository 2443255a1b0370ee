import time
from decimal import Decimal

import pytest

from raworc.domain.guardrails import Guardrails, guardrails
from raworc.domain.output import Captured
from raworc.domain.patterns import NOT_SEARCHED, Pattern
from raworc.domain.turns import ToolUse

TEXT = {"type": "text", "text": "the answer is 42"}


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        (None, "it is no object with a 'type'"),
        ({"type": 5}, "it is no object with a 'type'"),
        ({"type": "bless"}, "its type 'bless' is not known"),
        ({"type": "block", "on": "input"}, "it has no 'pattern'"),
        ({"type": "block", "pattern": "x"}, "its 'on' is neither 'input' nor 'output'"),
        ({"type": "block", "on": "input", "pattern": "("}, "its pattern cannot be read: missing ): ("),
        ({"type": "redact", "pattern": "(?=x)"}, "its pattern cannot be read: invalid perl operator: (?="),
        ({"type": "redact", "pattern": "x" * 1001}, "its pattern is longer than 1000 characters"),
        ({"type": "redact", "pattern": "x*"}, "its pattern matches the empty text, which is everywhere"),
        ({"type": "deny_commands", "pattern": ["rm"]}, "it has no 'pattern'"),
        ({"type": "deny_tools", "tools": "bash"}, "it has no list of names 'tools'"),
        ({"type": "deny_tools", "tools": [1]}, "it has no list of names 'tools'"),
        ({"type": "approve_tools", "tools": []}, "it has no list of names 'tools'"),
        ({"type": "max_turn_tokens", "limit": 0}, "its 'limit' is no number of at least 1"),
        ({"type": "max_turn_tokens", "limit": True}, "its 'limit' is no number of at least 1"),
        ({"type": "max_turn_cost_usd", "limit": 0}, "its 'limit' is no number above 0"),
        ({"type": "max_turn_cost_usd", "limit": "1"}, "its 'limit' is no number above 0"),
    ],
)
def test_an_entry_that_says_nothing_is_noted_and_changes_nothing(entry, why):
    found = guardrails([entry])
    assert found.remarks == (f"'guardrails.0' is ignored: {why}",)
    assert found == Guardrails()


@pytest.mark.parametrize(
    ("pattern", "given", "blocked"),
    [
        ("(?i)secret", {"content": [{"type": "text", "content": "a SECRET plan"}]}, True),
        ("secret", {"text": "secret"}, True),
        ("content|type", {"content": [{"type": "text", "content": "hello"}]}, False),
        ("\ud800", {"text": "\ud800"}, True),
    ],
)
def test_what_an_input_rule_looks_at(pattern, given, blocked):
    rules = guardrails([{"type": "block", "on": "input", "pattern": pattern}])
    assert (rules.blocked_input(given) is not None) == blocked
    assert rules.blocked_output([TEXT]) is None


@pytest.mark.parametrize(
    ("blocks", "blocked"),
    [
        ([TEXT], True),
        ([{"type": "text", "text": "4"}, {"type": "text", "text": "2"}], True),
        ([{"type": "thinking", "thinking": "42", "signature": "s"}], True),
        ([{"type": "tool_use", "id": "1", "name": "output", "input": {"items": [{"content": "42"}]}}], True),
        ([{"type": "tool_use", "id": "42", "name": "bash", "input": {"command": "id"}}], False),
        ([{"type": "thinking", "thinking": "", "signature": "42"}], False),
        ([], False),
    ],
)
def test_what_an_output_rule_looks_at(blocks, blocked):
    rules = guardrails([{"type": "block", "on": "output", "pattern": "42"}])
    assert (rules.blocked_output(blocks) is not None) == blocked
    assert rules.blocked_input({"text": "42"}) is None
    assert rules.cleaned(Captured("41")) == Captured("41")
    assert rules.cleaned(Captured("a", "42", 7)) is None


def test_every_match_is_struck_out_wherever_it_stands():
    rules = guardrails([{"type": "redact", "pattern": "k-[0-9]+"}, {"type": "redact", "pattern": "ü+"}])
    shown = rules.shown({"type": "tool_call", "id": "k-1", "tool": "bash", "args": {"k-2": ["k-3", 5, "üüx"]}})
    struck = {"[redacted]": ["[redacted]", 5, "[redacted]x"]}
    assert shown == {"type": "tool_call", "id": "k-1", "tool": "bash", "args": struck}
    assert rules.cleaned(Captured("k-1 k-22", "k-3", 9)) == Captured("[redacted] [redacted]", "[redacted]", 9)


@pytest.mark.parametrize(
    ("name", "args", "denied"),
    [
        ("bash", {"command": "sudo rm -rf /"}, True),
        ("bash", {"command": "ls"}, False),
        ("bash", {"command": 5}, False),
        ("bash", None, False),
        ("write_file", {"command": "rm -rf"}, True),
        ("git__push", {}, True),
        ("git__pull", {}, False),
        ("read_file", {"command": "rm -rf"}, False),
    ],
)
def test_what_is_denied(name, args, denied):
    rules = guardrails(
        [
            {"type": "deny_commands", "pattern": "rm -rf"},
            {"type": "deny_tools", "tools": ["write_file"]},
            {"type": "deny_tools", "tools": ["*__push"]},
        ]
    )
    assert (rules.denied(ToolUse("1", name, args)) is not None) == denied


def test_the_lowest_limit_of_tokens_counts():
    rules = guardrails([{"type": "max_turn_tokens", "limit": limit} for limit in (900, 100.0, 500)])
    assert rules.spent(99) is None
    ended = rules.spent(100)
    assert ended is not None
    assert ended.code == "token_limit"
    assert Guardrails().spent(10**9) is None


def test_the_lowest_limit_of_cost_counts():
    rules = guardrails([{"type": "max_turn_cost_usd", "limit": limit} for limit in (2, 0.25, 1e9)])
    assert rules.overspent(Decimal("0.2499")) is None
    ended = rules.overspent(Decimal("0.25"))
    assert ended is not None
    assert (ended.code, ended.message) == (
        "cost_limit",
        "A guardrail allows 0.25 USD a turn, and this one has cost 0.25",
    )
    assert Guardrails().overspent(Decimal(10**9)) is None


@pytest.mark.parametrize("pattern", ["(x+x+)+y", "(a|aa)+$", "(.*)*b", "[ab]*a[ab]{400}c"])
def test_no_pattern_runs_away(pattern):
    began = time.monotonic()
    Pattern.of(pattern).is_in("x" * 500_000 + "a" * 100_000 + "!")
    assert time.monotonic() - began < 2


def test_too_many_places_to_look_at_hide_the_whole_text():
    """Each of these matches is found by reading to the end."""
    assert Pattern.of("a[^z]*z|a").struck("a" * 400_000) == NOT_SEARCHED


@pytest.mark.parametrize(
    ("name", "args", "asks"),
    [
        ("bash", {"command": "ls"}, True),
        ("good__add", {}, True),
        ("read_file", {"path": "x"}, False),
        ("bash", {"command": "sudo ls"}, False),
        ("good__drop", None, False),
        ("BASH", {}, False),
    ],
)
def test_a_person_is_asked_about_named_tools_unless_they_are_denied_anyway(name, args, asks):
    rules = guardrails(
        [
            {"type": "approve_tools", "tools": ["bash", "good__*"]},
            {"type": "deny_tools", "tools": ["*__drop"]},
            {"type": "deny_commands", "pattern": "^sudo"},
        ]
    )
    assert rules.asks(ToolUse("1", name, args)) == asks
    assert not guardrails([]).asks(ToolUse("1", name, args))
