"""Any request of the documents by hand, against a running installation."""

import json
from pathlib import Path

import pytest

from raworc.cli.api import Call, read_call
from raworc.cli.stop import Stop
from raworc.client.transport import full_path
from stack import Stack
from terminal import Shell

JSON = "application/json"
CALLS = {
    "GET by itself": (["agents"], Call("GET", "agents")),
    "POST with JSON": (["agents", "{}"], Call("POST", "agents", b"{}", JSON)),
    "a method": (["delete", "agents/x"], Call("DELETE", "agents/x")),
    "a method and JSON": (["PUT", "agents/x", '{"a":1}'], Call("PUT", "agents/x", b'{"a":1}', JSON)),
    "a path named like a method": (["get"], Call("GET", "get")),
    "any JSON": (["x", '"text"'], Call("POST", "x", b'"text"', JSON)),
}


@pytest.mark.parametrize(("words", "call"), CALLS.values(), ids=CALLS)
def test_words_are_a_request(words: list[str], call: Call):
    assert read_call(words) == call


REFUSED = [
    (["agents", "{name: x}"], "the body is not JSON"),
    (["agents", "[" * 100_000], "the body is not JSON"),
    (["agents", "@/nowhere"], "cannot read '/nowhere': No such file"),
    (["agents", "{}", "more"], "do not know what 'more' is for: quote the JSON"),
    (["FETCH", "/agents"], "there is no method 'FETCH': it is one of GET, POST"),
]


@pytest.mark.parametrize(("words", "why"), REFUSED, ids=["words", "deep", "file", "too many", "method"])
def test_what_is_no_request_says_why(words: list[str], why: str):
    with pytest.raises(Stop, match=why):
        read_call(words)


PATHS = {
    "agents?limit=1": "/agents/api/v0/agents?limit=1",
    "/agents": "/agents/api/v0/agents",
    "health": "/agents/api/v0/health",
    "agents/api": "/agents/api/v0/agents/api",
    "/api/v0/agents": "/api/v0/agents",
    "agents/api/v0/agents": "/agents/api/v0/agents",
    "spaces/api/v0/spaces": "/spaces/api/v0/spaces",
    "livez": "/livez",
    "/v1/models": "/v1/models",
    "/v1x": "/agents/api/v0/v1x",
    "api-docs/openapi.json": "/api-docs/openapi.json",
    "http://elsewhere.example/x": "/agents/api/v0/http://elsewhere.example/x",
    "//elsewhere.example/x": "/agents/api/v0/elsewhere.example/x",
}


@pytest.mark.parametrize("path", PATHS)
def test_a_path_is_below_the_api_or_from_the_root_and_always_of_this_server(path: str):
    assert full_path(path) == PATHS[path]


def test_an_answer_is_readable_and_its_status_is_the_exit_code(person: Shell, worker: str):
    got = person.here("api", f"agents/{worker}")
    assert json.loads(got)["name"] == worker
    assert got.startswith('{\n  "name"')
    said = person.here("api", "agents/nobody", code=4)
    assert '"code": "NOT_FOUND"' in said
    assert "raworc: 404 Not Found" in said


def test_bodies_come_from_the_line_a_file_or_a_pipe(person: Shell, worker: str, tmp_path: Path):
    change = tmp_path / "change.json"
    change.write_text('{"description": "from a file"}')
    assert "from a file" in person.here("api", "PUT", f"agents/{worker}", f"@{change}")
    assert "from a pipe" in person.here("api", "put", f"agents/{worker}", "-", typed='{"description": "from a pipe"}')
    head = person.here("api", "-i", "-H", "Accept: text/plain", "health")
    assert head.startswith("HTTP/1.1 200 OK\n")
    assert head.endswith("\nOK")


def test_events_are_shown_as_they_come(person: Shell, worker: str):
    answer = json.loads(person.here("api", f"agents/{worker}/responses", '{"input": {"text": "hello"}}'))
    stream = person.here("api", f"agents/{worker}/responses/{answer['id']}/events")
    assert "event: segment\n" in stream
    assert "You said: hello" in stream


def test_a_header_cannot_be_two(person: Shell):
    assert "is not a header: write 'NAME: VALUE'" in person.here("api", "-H", "A: b\nC: d", "health", code=1)


def test_what_is_public_needs_no_login(person: Shell, steady_stack: Stack, tmp_path: Path):
    nobody = Shell({**person.env, "RAWORC_CREDENTIALS": str(tmp_path / "none"), "RAWORC_URL": "http://127.0.0.1:9"})
    assert "no server at http://127.0.0.1:9: start one with 'raworc up'" in nobody.here("api", "version", code=1)
    url = steady_stack.url
    nobody.env["RAWORC_URL"] = url + "/"
    assert "0." in nobody.here("api", "version")
    assert "401 Unauthorized: run 'raworc login'" in nobody.here("api", "agents", code=4)


def test_bytes_go_through_unchanged(person: Shell, worker: str):
    person.here("ask", worker, "```bash\nprintf '\\377\\000\\033[2J' > bytes.bin\n```")
    shown = person.here("api", f"agents/{worker}/files/read/bytes.bin")
    assert shown.encode(errors="surrogateescape") == b"\xff\x00\x1b[2J"
