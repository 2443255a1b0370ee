import pytest

from raworc.domain.toolset import BUILTINS, McpServer, tool_name, toolset
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


EITHER = "a server needs either the 'command' that starts it or the 'url' where it listens"
INSIDE = "the 'url' of a server is one that is reached from inside the sandbox, as 'http://127.0.0.1:9000/mcp'"
HEADERS = "the 'headers' of a server are an object of names and texts, and name nothing that HTTP itself sets"


def test_a_server_is_started_or_listens():
    headers = {"Authorization": "Bearer x", "X-Empty": ""}
    listening = {"type": "mcp", "name": "b", "url": "http://[::1]:9000/mcp?x=1", "headers": headers}
    found = toolset([{"type": "mcp", "name": "a", "command": "x"}, listening])
    assert found.remarks == ()
    assert found.servers == (
        McpServer("a", "x"),
        McpServer("b", url="http://[::1]:9000/mcp?x=1", headers=tuple(headers.items())),
    )


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ({"command": "x"}, "the 'name' of a server is 1 to 32 letters, digits, '-' or '_'"),
        ({"name": "a b", "command": "x"}, "the 'name' of a server is 1 to 32 letters, digits, '-' or '_'"),
        ({"name": "a", "command": " "}, EITHER),
        ({"name": "a", "command": "x", "url": "http://x"}, EITHER),
        ({"name": "a", "url": 5}, EITHER),
        *(
            ({"name": "a", "url": url}, INSIDE)
            for url in (
                "https://127.0.0.1/mcp",
                "file:///etc/passwd",
                "http://",
                "http://me:word@127.0.0.1/",
                "http://127.0.0.1:99999/",
                "http://127.0.0.1:0/",
                "http://127.0.0.1/a b",
                "http://127.0.0.1/\n",
                "http://[::1",
                "http://x/" + "x" * 2000,
            )
        ),
        *(
            ({"name": "a", "url": "http://x", "headers": headers}, HEADERS)
            for headers in (
                ["a"],
                {"a b": "c"},
                {"a": 5},
                {"a": "b\r\nc: d"},
                {"Host": "x"},
                {"Accept-Encoding": "gzip"},
                {"": "x"},
                {f"a{n}": "b" for n in range(33)},
            )
        ),
        ({"name": "twice", "command": "x"}, "there is a server 'twice' already"),
    ],
)
def test_a_server_has_a_name_of_its_own_and_a_command(entry, why):
    first = {"type": "mcp", "name": "twice", "command": "x"}
    found = toolset([first, {"type": "mcp", **entry}])
    assert found.servers == (McpServer("twice", "x"),)
    assert found.remarks == (f"'tools.1' is ignored: {why}",)
    assert found.builtins == BUILTINS


def test_servers_are_counted():
    found = toolset([{"type": "mcp", "name": f"s{number}", "command": "x"} for number in range(9)])
    assert len(found.servers) == 8
    assert found.remarks == ("'tools.8' is ignored: there may be 8 servers at most",)


def test_names_of_tools_are_what_providers_take_and_differ():
    names: list[str] = []
    for tool in ("find", "find", "fünd it", "x" * 100, "x" * 101, ""):
        names.append(tool_name("web", tool, names))
    assert names[:3] == ["web__find", "web__find_2", "web__f_nd_it"]
    assert len(set(names)) == 6
    assert all(0 < len(name) <= 64 for name in names)
