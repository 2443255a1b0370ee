import json
import shlex
from dataclasses import dataclass

import pytest

from raworc.domain.routing import Question
from raworc.domain.summary import SUMMARY_INSTRUCTION, begun, continuing
from raworc.gateway.script import BadScript, count_tokens, script


def user(*content: object) -> dict:
    return {"role": "user", "content": content[0] if len(content) == 1 else list(content)}


def text(value: str) -> dict:
    return {"type": "text", "text": value}


def result(value: object, number: int = 1) -> dict:
    return {"type": "tool_result", "tool_use_id": f"toolu_{number}", "content": value}


def called(*names: str) -> dict:
    return {"role": "assistant", "content": [{"type": "tool_use", "id": n, "name": n, "input": {}} for n in names]}


def say(*messages: dict) -> list[dict]:
    return script({"messages": list(messages)}).content


def inputs(content: list[dict]) -> list[tuple[str, object]]:
    return [(block["name"], block["input"]) for block in content]


THREE = "First:\n```bash\necho 1\n```\nthen\n```sh\necho 2\n\n```\n```python\nprint('3')\n```\ndone"


def test_each_block_is_one_call_in_order() -> None:
    asked = user(THREE)
    assert inputs(say(asked)) == [("bash", {"command": "echo 1"})]
    assert inputs(say(asked, called("bash"), user([result("1")]))) == [("bash", {"command": "echo 2\n"})]
    third = say(asked, called("bash"), user([result("1")]), called("bash"), user([result("2")]))
    assert inputs(third) == [("bash", {"command": "python3 -c " + shlex.quote("print('3')")})]


@pytest.mark.parametrize(
    ("offered", "called"),
    [((), "bash"), (("Read", "Bash"), "Bash"), (("Bash", "bash"), "bash"), (("shell",), "bash")],
)
def test_commands_go_to_the_tool_as_the_client_spells_it(offered: tuple[str, ...], called: str) -> None:
    tools = [{"name": name, "input_schema": {"type": "object"}} for name in offered]
    said = script({"messages": [user(THREE)], "tools": tools}).content
    assert inputs(said) == [(called, {"command": "echo 1"})]


def test_after_the_last_block_the_outputs_are_the_answer() -> None:
    asked = user("```bash\na\n```\n```bash\nb\n```")
    end = say(asked, called("x"), user([result("one\n")]), called("y"), user([result([text("two"), text("2")])]))
    assert end == [text("one\n\ntwo\n2")]


def test_only_results_after_the_newest_prompt_count() -> None:
    messages = [
        user("```bash\nold\n```"),
        called("bash"),
        user([result("old"), text("```bash\nnew\n```")]),
    ]
    assert inputs(say(*messages)) == [("bash", {"command": "new"})]


def test_tools_are_called_at_once() -> None:
    calls = [{"name": "bash", "input": {"command": "a"}}, {"name": "read_file", "input": {"path": "b"}}]
    asked = user(f"```tools\n{json.dumps(calls)}\n```\n```tool\n{json.dumps(calls[1])}\n```")
    content = say(asked)
    assert inputs(content) == [("bash", {"command": "a"}), ("read_file", {"path": "b"})]
    assert len({block["id"] for block in content}) == 2
    both = user([result("A", 1), result("B", 2)])
    assert inputs(say(asked, called("bash", "read_file"), both)) == [("read_file", {"path": "b"})]
    assert say(asked, called("bash", "read_file"), both, called("read_file"), user([result("C")])) == [text("A\nB\nC")]


def test_a_longer_fence_holds_a_shorter_one() -> None:
    assert inputs(say(user("````bash\ncat <<E\n```\nE\n````"))) == [("bash", {"command": "cat <<E\n```\nE"})]


@pytest.mark.parametrize("prompt", ["hello", "```json\n{}\n```", "```bash\nnever closed", "a ```bash b``` c"])
def test_any_other_prompt_is_repeated(prompt: str) -> None:
    assert say(user(prompt)) == [text(f"You said: {prompt}")]


def test_the_same_history_gives_the_same_answer_and_another_gives_other_ids() -> None:
    once, again = script({"messages": [user(THREE)]}), script({"messages": [user(THREE)]})
    assert once == again
    later = script({"messages": [user("hi"), {"role": "assistant", "content": "You said: hi"}, user(THREE)]})
    assert later.content[0]["id"] != once.content[0]["id"]


def test_a_summary_names_every_user_message() -> None:
    messages = [user("build a boat"), {"role": "assistant", "content": "ok"}, user(SUMMARY_INSTRUCTION)]
    assert say(*messages) == [text("Summary of 1 user messages:\n1. build a boat")]


def test_a_summary_of_a_summary_names_them_all() -> None:
    first = continuing("Summary of 2 user messages:\n1. build a boat\n2. paint it")
    messages = [user(first), {"role": "assistant", "content": "ok"}, user("sail\nit"), user(SUMMARY_INSTRUCTION)]
    assert say(*messages) == [text("Summary of 3 user messages:\n1. build a boat\n2. paint it\n3. sail it")]


def test_work_whose_beginning_was_summarised_goes_on() -> None:
    prompt = text("".join(f"```bash\necho {n}\n```\n" for n in range(3)))
    said = say(user(prompt, text(begun(1))))
    assert [block["input"] for block in said] == [{"command": "echo 1"}]
    assert say(user(prompt, text(begun(1))), user([result("1", 1)]), user([result("2", 2)])) == [text("1\n2")]


@dataclass(frozen=True)
class Agent:
    name: str
    space: str = "default"
    purpose = description = instructions = None
    routes = ()


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        ("ask pay-eu, or pay", "pay-eu"),
        ("pay, or build", "pay"),
        ("repay all builds", "NONE"),
        ("hello", "NONE"),
        ("```bash\npay\n```", "pay"),
    ],
)
def test_asked_who_answers_it_names_whom_the_prompt_names_first(prompt: str, answer: str) -> None:
    question = Question.about([Agent("pay"), Agent("pay-eu"), Agent("build")], {"text": prompt}, None)
    system = [{"type": "text", "text": question.system}]
    assert script({"system": system, "messages": [user(question.text)]}).content == [text(answer)]


def test_tokens_are_a_quarter_of_the_characters_rounded_up() -> None:
    said = script({"messages": [user("hello")], "system": "be good"})
    assert said.input_tokens == 3
    assert said.output_tokens == -(-len("You said: hello") // 4)
    assert count_tokens({"messages": [user("hello")]}) == 2


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 200},
        {"status": "x"},
        {"times": -1},
        {"headers": {"content-length": "5"}},
        {"headers": {"x": "a\nb"}},
        {"retry_after": -1},
        [],
    ],
)
def test_faults_that_nobody_could_commit(fault: object) -> None:
    with pytest.raises(BadScript, match="fault"):
        script({"messages": [user(f"```fault\n{json.dumps(fault)}\n```")]})


@pytest.mark.parametrize(
    "request_body",
    [
        {},
        {"messages": []},
        {"messages": "x"},
        {"messages": [1]},
        {"messages": [{"role": "robot", "content": "x"}]},
        {"messages": [{"role": "user"}]},
        {"messages": [{"role": "user", "content": 5}]},
        {"messages": [user("```tool\nnonsense\n```")]},
        {"messages": [user("```tools\n{}\n```")]},
        {"messages": [user('```tool\n{"input": {}}\n```')]},
    ],
)
def test_requests_that_no_provider_would_take(request_body: dict) -> None:
    with pytest.raises(BadScript):
        script(request_body)


@pytest.mark.parametrize("content", [[], [1, None], [{"type": "image"}], [{"type": "text"}], [{"type": "tool_result"}]])
def test_odd_content_is_no_crash(content: list) -> None:
    assert say(user(content))[0]["type"] == "text"
