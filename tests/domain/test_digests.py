"""Digests of what a model call says: what a client may change without saying something else, and what it may not."""

import pytest

from raworc.domain.digests import Fingerprint, continues, fingerprint, system_digest, text_digest


def user(content):
    return {"role": "user", "content": content}


def assistant(content):
    return {"role": "assistant", "content": content}


def text(said, **more):
    return {"type": "text", "text": said, **more}


USE = {"type": "tool_use", "id": "toolu_1", "name": "bash", "input": {"command": "ls", "timeout_s": 1}}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "a.txt"}
PICTURE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
PAPER = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}}

SAME = {
    "a text alone and a block of it": ("hello", [text("hello")]),
    "white space around it": ("hello", "  hello\n"),
    "line ends": ("a\nb", "a\r\nb"),
    "cache marks": ([text("hello")], [text("hello", cache_control={"type": "ephemeral"})]),
    "cache marks of a document": ([PAPER], [{**PAPER, "cache_control": {"type": "ephemeral"}}]),
    "citations of a document": ([PAPER], [{**PAPER, "citations": {"enabled": True}}]),
    "reminders": ("hello", "hello\n<system-reminder>\nbe brief\n</system-reminder>"),
    "a block that is only a reminder": ([text("hello")], [text("<SYSTEM-reminder>x</system-reminder>"), text("hello")]),
    "blank blocks": ([text("hello")], [text("hello"), text("  \n")]),
    "thinking": ([USE], [{"type": "thinking", "thinking": "hm", "signature": "s"}, USE]),
    "thinking that is hidden": ([USE], [{"type": "redacted_thinking", "data": "x"}, USE]),
    "the order of a tool's arguments": ([USE], [{**USE, "input": {"timeout_s": 1, "command": "ls"}}]),
    "a tool block sent twice": ([USE, text("x")], [USE, USE, text("x")]),
    "a tool's result as text and as block": ([RESULT], [{**RESULT, "content": [text("a.txt")]}]),
    "whether a tool failed": ([RESULT], [{**RESULT, "is_error": True}]),
}
OTHER = {
    "another text": ("hello", "hallo"),
    "white space within": ("a b", "a  b"),
    "one block and two": ([text("ab")], [text("a"), text("b")]),
    "another picture": ([PICTURE], [{**PICTURE, "source": {**PICTURE["source"], "data": "AAAB"}}]),
    "another tool": ([USE], [{**USE, "name": "sh"}]),
    "another use of the tool": ([USE], [{**USE, "id": "toolu_2"}]),
    "other arguments": ([USE], [{**USE, "input": {}}]),
    "another result": ([RESULT], [{**RESULT, "content": "b.txt"}]),
    "a reminder that is not closed": ("hello", "hello <system-reminder> be brief"),
    "a document": ([{"type": "document", "source": {"data": "1"}}], [{"type": "document", "source": {"data": "2"}}]),
}


@pytest.mark.parametrize("pair", SAME.values(), ids=SAME)
def test_says_the_same(pair):
    one, other = (fingerprint([user("before"), user(content)], None).whole for content in pair)
    assert one == other != fingerprint([user("before")], None).whole


@pytest.mark.parametrize("pair", OTHER.values(), ids=OTHER)
def test_says_something_else(pair):
    one, other = (fingerprint([user(content)], None).whole for content in pair)
    assert one != other


def test_who_says_it_counts():
    assert fingerprint([user("a")], None).whole != fingerprint([assistant("a")], None).whole


def test_other_roles_and_messages_that_say_nothing_are_passed_over():
    plain = fingerprint([user("a"), assistant("b")], None)
    more = [{"role": "system", "content": "s"}, user("a"), user("<system-reminder>r</system-reminder>"), assistant("b")]
    assert fingerprint(more, None) == plain
    assert len(plain.prefixes) == 2


def test_every_prefix_has_the_digest_of_a_request_that_ends_there():
    messages = [user("a"), assistant([USE]), user([RESULT]), assistant("b"), user("c")]
    prefixes = fingerprint(messages, None).prefixes
    assert [fingerprint(messages[:count], None).whole for count in range(1, 6)] == list(prefixes)
    assert len(set(prefixes)) == 5


def test_the_answer_goes_on_where_the_messages_end():
    asked = fingerprint([user("a")], [{"type": "thinking", "thinking": "hm"}, text("b"), USE])
    assert asked.answered == fingerprint([user("a"), assistant([text("b"), USE])], None).whole
    assert fingerprint([user("a")], []).answered is None


def test_a_repeated_tool_block_counts_once_in_the_whole_request():
    repeated = [user("a"), assistant([USE]), user([RESULT]), assistant([USE]), user([RESULT])]
    assert fingerprint(repeated, None).whole == fingerprint(repeated[:3], None).whole


def test_the_prompts_of_subtasks_are_found_by_the_message_that_begins_one():
    answer = [text("so"), {"type": "tool_use", "id": "t1", "name": "Agent", "input": {"prompt": " look around\r\n"}}]
    (task,) = fingerprint([user("a")], answer).tasks
    assert task.tool_use_id == "t1"
    assert fingerprint([user([text("look around"), text("<system-reminder>x</system-reminder>")])], None).prompt == (
        task.prompt
    )
    assert task.prompt == text_digest("look around")
    assert fingerprint([user("a"), assistant("b"), user("look around")], None).prompt is None


SUMMARY = "1. Primary request: " + "the user wants a parser, " * 10


@pytest.mark.parametrize(
    "opening",
    [
        f"This session is being continued.\nAnalysis:\nhm\n\nSummary:\n{SUMMARY}\nPlease continue.",
        [text("<system-reminder>x</system-reminder>"), text("continued"), text(f"so far:\n\n{SUMMARY}")],
    ],
)
def test_a_summary_is_known_in_the_message_that_goes_on_from_it(opening):
    told = fingerprint([user("a")], f"<analysis>hm</analysis>\n<summary>\n{SUMMARY}\n</summary>")
    assert continues(fingerprint([user(opening)], None).opening, told.summary)
    assert not continues(fingerprint([user("something else")], None).opening, told.summary)


def test_an_answer_without_tags_is_a_summary_only_when_one_was_asked_for():
    assert fingerprint([user("Please summarise the conversation")], SUMMARY).summary
    assert fingerprint([user("Write a parser")], SUMMARY).summary is None
    assert fingerprint([user("Please summarise the conversation")], "short").summary is None


def test_what_differs_from_call_to_call_in_a_system_prompt_does_not_count():
    plain = system_digest("You are useful.")
    assert system_digest([text("x-anthropic-billing-header: cc_version=1; cch=77\n"), text("You are useful.")]) == plain
    assert system_digest("You are useful.\n<system-reminder>Today is Monday</system-reminder>") == plain
    assert system_digest("You are useless.") != plain
    assert system_digest(None) is system_digest([]) is None


NONSENSE = [None, 7, "text", [None, 7, "x", []], [{"role": "user"}], [{"role": "user", "content": 7}], [{"role": []}]]


@pytest.mark.parametrize("messages", NONSENSE, ids=str)
def test_nonsense_says_nothing(messages):
    assert fingerprint(messages, messages) == Fingerprint()


def test_it_takes_odd_blocks_and_deep_ones():
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    odd = [{"type": "tool_use", "input": deep}, {"type": 7}, {"type": "tool_result", "content": [{"type": "text"}]}, {}]
    assert fingerprint([user(odd)], None).whole


@pytest.mark.parametrize("said", ["<system-reminder>" * 100_000, " " * 2_000_000 + "x", "</system-reminder>" * 100_000])
def test_long_messages_take_time_in_proportion(said):
    assert fingerprint([user(said)], said).whole  # a quadratic reading would take minutes: the time limit ends it


def test_half_a_pair_of_surrogates_is_text_like_any_other():
    half, other = fingerprint([user("\ud83d")], "x"), fingerprint([user("\ude00")], "x")
    assert half.whole != other.whole
    assert fingerprint([user("\ud83d"), assistant("x"), user("y")], []).prefixes[1] == half.answered
