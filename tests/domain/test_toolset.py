import pytest

from raworc.domain.toolset import BUILTINS, toolset
from raworc.operator.tools import definition


@pytest.mark.parametrize(
    ("entries", "builtins", "remarks"),
    [
        ([], BUILTINS, []),
        (["output", "bash", "bash"], ("bash", "output"), []),
        ([{"type": "builtin", "name": "read_file"}], ("read_file",), []),
        (["fly"], (), ["'tools.0' is ignored: there is no built-in tool 'fly'"]),
        ([{"type": "builtin"}, "bash"], ("bash",), ["'tools.0' is ignored: it has no 'name'"]),
        ([{"type": "builtin", "name": 5}], (), ["'tools.0' is ignored: it has no 'name'"]),
        ([{"type": "telepathy"}], BUILTINS, ["'tools.0' is ignored: its type 'telepathy' is not known"]),
        (
            [None, 5, {}, ["bash"], {"name": "bash"}],
            BUILTINS,
            [f"'tools.{n}' is ignored: it is neither a name nor an object with a 'type'" for n in range(5)],
        ),
        (["x" * 100], (), [f"'tools.0' is ignored: there is no built-in tool '{'x' * 80}...'"]),
    ],
)
def test_entries_narrow_the_built_in_tools_and_never_widen_them(entries, builtins, remarks):
    found = toolset(entries)
    assert found.builtins == builtins
    assert list(found.remarks) == remarks


def test_what_there_is_nothing_to_search_in_is_not_offered():
    assert "search_knowledge" in toolset([]).builtins
    assert "search_knowledge" not in toolset([], knows=False).builtins
    assert toolset(["search_knowledge"], knows=False).builtins == ()


@pytest.mark.parametrize("name", BUILTINS)
def test_every_built_in_tool_is_described(name):
    told = definition(name)
    assert told["description"]
    assert told["input_schema"]["type"] == "object"


def test_the_output_tool_says_what_an_item_is():
    schema = definition("output")["input_schema"]
    assert schema["properties"]["items"]["items"] == {"$ref": "#/$defs/Item"}
    assert schema["$defs"]["Item"]["properties"]["type"]["enum"] == ["json", "markdown", "text", "url"]
