"""What is typed at the shell or in a chat is taken apart as its writer meant it."""

import pytest

from raworc.cli.chat import prompts_of
from raworc.cli.lines import commands_of, is_complete, words_of

WORDS = {
    "as documented": ("/api agents?namespace=acme-corp", ["api", "agents?namespace=acme-corp"]),
    "JSON": ('/api POST agents {"name":"helper", "x": 1}', ["api", "POST", "agents", '{"name":"helper", "x": 1}']),
    "JSON without a method": ("api agents [1, 2]", ["api", "agents", "[1, 2]"]),
    "JSON over lines": ('/api agents {\n "a": "}"\n}', ["api", "agents", '{\n "a": "}"\n}']),
    "JSON quoted for a shell": ('api agents \'{"a": {"b": 1}}\'', ["api", "agents", '{"a": {"b": 1}}']),
    "options before": ("/api -H 'A: b c' PUT x {}", ["api", "-H", "A: b c", "PUT", "x", "{}"]),
    "method only": ("/api DELETE agents/helper", ["api", "DELETE", "agents/helper"]),
    "a command": ("agents list", ["agents", "list"]),
    "a next step as it was told": ("raworc login --url http://x", ["login", "--url", "http://x"]),
    "quotes": ("/ask demo 'list {the} files'", ["ask", "demo", "list {the} files"]),
    "a bracket that is no JSON": ("ask demo {x", ["ask", "demo", "{x"]),
    "a hash": ("ask demo #1", ["ask", "demo", "#1"]),
    "nothing": ("  ", []),
    "a slash": ("/", []),
}


@pytest.mark.parametrize(("text", "words"), WORDS.values(), ids=WORDS)
def test_a_command_is_taken_apart(text: str, words: list[str]):
    assert words_of(text) == words


OPEN = ['/api x {"a": [', '/api x {"a": "}', '/api x {"a": "\\"}', "ask demo 'x", 'ask demo "x\ny', "ask demo \\"]


@pytest.mark.parametrize("text", OPEN)
def test_what_is_open_goes_on(text: str):
    assert not is_complete(text)


@pytest.mark.parametrize("text", ['/api x {"a": "\\\\"}', "/api x {}}", "/api x {a}", "ask demo x", ""])
def test_what_is_closed_or_wrong_is_run(text: str):
    assert is_complete(text)


def test_a_script_is_cut_into_commands():
    lines = ["", "# note", "/status", '/api a {"x":', "", "1}", "ask demo 'one", "two'", "/api a {"]
    assert list(commands_of(lines)) == ["/status", '/api a {"x":\n\n1}', "ask demo 'one\ntwo'", "/api a {"]


def test_a_conversation_is_cut_into_prompts():
    lines = ["", "hello", "run:", "```bash", "ls", "", "```", "bye", "/quit", "not sent"]
    assert list(prompts_of(iter(lines))) == ["hello", "run:", "```bash\nls\n\n```", "bye"]
