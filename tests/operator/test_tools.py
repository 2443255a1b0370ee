"""What an agent's list of tools changes, and the tool that delivers a result."""

import re
from types import SimpleNamespace
from typing import Any

import pytest

from operating import World, kinds, only
from prompts import bash, tool
from raworc.domain.turns import ToolUse
from raworc.operator.tools import run

pytestmark = pytest.mark.anyio
NOWHERE: Any = SimpleNamespace()


async def test_only_the_named_tools_are_there_and_what_means_nothing_is_noted_once(place: World):
    async with place.operator():
        await place.create(tools=["list_files", {"type": "builtin", "name": "output"}, {"type": "fax"}])
        turn = await place.ask("\n".join([bash("id"), tool("list_files")]))
        refused, listed = [segment for segment in turn.segments if segment["type"] == "tool_result"]
        assert (refused["output"], refused["is_error"]) == (
            "Unknown tool 'bash'. The tools are: list_files, output",
            True,
        )
        assert listed["is_error"] is False
        assert kinds(turn).count("note") == 1
        assert only(turn, "note")["text"] == "'tools.2' is ignored: its type 'fax' is not known"
    request = next(frame.data for frame in place.gate.frames() if b'"messages"' in frame.data)
    assert re.findall(rb'"name":"(\w+)","description"', request) == [b"list_files", b"output"]


async def test_what_the_output_tool_delivers_is_the_answer(place: World):
    items = [
        {"type": "markdown", "title": "Report", "content": "# Done"},
        {"type": "json", "content": {"rows": [1, None]}},
        {"type": "url", "content": "https://example.org/"},
        {"type": "text", "content": "last"},
    ]
    async with place.operator():
        await place.create()
        turn = await place.ask(tool("output", items=items))
        assert turn.output_content == [{"title": None, **item} for item in items]
        assert only(turn, "tool_result")["output"] == {"items": turn.output_content}
        assert only(turn, "final")["text"] == "delivered 4 items"


@pytest.mark.parametrize(
    ("items", "said"),
    [
        ([], "Bad arguments for 'output': Expected `array` of length >= 1 - at `$.items`"),
        ([{"type": "text"}], "Bad arguments for 'output': Object missing required field `content` - at `$.items[0]`"),
        ([{"type": "text", "content": 5}], "The content of item 0 must be a text, as its type is 'text'"),
        ([{"type": "url", "content": "javascript:x"}], "The content of item 0 must be an http or https address"),
    ],
)
async def test_what_is_no_result_is_refused(items: list[object], said: str):
    output = await run(ToolUse("1", "output", {"items": items}), NOWHERE, ["output"])
    assert (output.text.head, output.is_error, output.content) == (said, True, None)
