"""Model calls from everywhere: from inside a sandbox through its door, and from outside with an SDK."""

from itertools import count

import anthropic
import httpx2
import pytest

from e2e.plain import Json, ask, bash, recorded, text

_NUMBERS = count(1)

CALL = """
import json, os, urllib.request
body = {"model": "scripted", "max_tokens": 64, "messages": [{"role": "user", "content": "from inside"}]}
headers = {"content-type": "application/json", "x-api-key": os.environ["ANTHROPIC_API_KEY"]}
url = os.environ["ANTHROPIC_BASE_URL"] + "/v1/messages"
request = urllib.request.Request(url, json.dumps(body).encode(), headers | {"anthropic-version": "2023-06-01"})
answer = json.load(urllib.request.urlopen(request, timeout=10))
print(answer["content"][0]["text"])
headers = {"content-type": "application/json", "authorization": "Bearer " + os.environ["OPENAI_API_KEY"]}
url = os.environ["OPENAI_BASE_URL"] + "/chat/completions"
answer = json.load(urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), headers), timeout=10))
print(answer["choices"][0]["message"]["content"])
"""

PROBE = """
import http.client, os, sys
connection = http.client.HTTPConnection("127.0.0.1", 8787, timeout=10)
key = sys.argv[1] if len(sys.argv) > 1 else os.environ["ANTHROPIC_API_KEY"]
for line in sys.stdin.read().split():
    method, _, path = line.partition(":")
    connection.request(method, path, headers={"x-api-key": key, "authorization": "Bearer " + key})
    answer = connection.getresponse()
    answer.read()
    print(answer.status, method, path)
"""

INSIDE = {
    "HEAD:/": 200,
    "GET:/v1/models": 200,
    "GET:/v1/files": 403,
    "GET:/api/v0/agents": 404,
    "GET:/agents/api/v0/agents": 404,
    "POST:/api/v0/operators/admin/login": 404,
    "GET:/api/v0/health": 404,
    "GET:/livez": 404,
    "GET:/api-docs/openapi.json": 404,
    "GET:/v1/../api/v0/agents": 404,
    "GET:/v1/%2e%2e/api/v0/agents": 404,
}


@pytest.fixture
def agent(http: httpx2.Client) -> str:
    name = f"Inside-{next(_NUMBERS)}"
    assert http.post("/api/v0/agents", json={"name": name}).status_code == 200
    return name


def test_a_call_from_inside_belongs_to_the_turn_that_made_it(http: httpx2.Client, agent: str) -> None:
    turn = ask(http, agent, f"```python\n{CALL}\n```")
    assert turn["output_content"] == [{"type": "text", "content": "You said: from inside\nYou said: from inside"}]
    calls = recorded(http, f"/api/v0/agents/{agent}/responses/{turn['id']}/requests", at_least=4)
    assert len(calls) == 4  # before the tool, two in the tool on either wire, after the tool
    assert {call["turn_id"] for call in calls} == {turn["id"]}
    assert {call["trainId"] for call in calls} == {f"default.{agent}"}
    assert min(call["output_tokens"] for call in calls) > 0


def test_the_door_leads_to_the_gateway_and_nowhere_else(http: httpx2.Client, agent: str) -> None:
    command = f"cat > probe.py <<'END'\n{PROBE}\nEND\necho '{' '.join(INSIDE)}' | python3 probe.py"
    turn = ask(http, agent, bash(command))
    seen = {f"{method}:{path}": int(status) for status, method, path in rows(turn)}
    assert seen == INSIDE


def test_the_door_takes_only_the_key_of_its_own_sandbox(http: httpx2.Client, agent: str, login: str) -> None:
    other = f"Inside-{next(_NUMBERS)}"
    http.post("/api/v0/agents", json={"name": other})
    foreign = text(ask(http, other, bash("echo $ANTHROPIC_API_KEY")))
    assert len(foreign) > 40
    for key in (foreign, login, "sk-ant-something", "x"):
        command = f"cat > probe.py <<'END'\n{PROBE}\nEND\necho GET:/v1/models | python3 probe.py {key}"
        assert rows(ask(http, agent, bash(command))) == [["401", "GET", "/v1/models"]]


def test_a_key_counts_behind_its_own_door_only(http: httpx2.Client, agent: str, public: httpx2.Client) -> None:
    key = text(ask(http, agent, bash("echo $ANTHROPIC_API_KEY")))
    body = {"model": "scripted", "max_tokens": 16, "messages": [{"role": "user", "content": "hi"}]}
    assert public.post("/v1/messages", json=body, headers={"x-api-key": key}).status_code == 401
    assert public.get("/api/v0/agents", headers={"authorization": f"Bearer {key}"}).status_code == 401


def test_there_is_no_other_network(http: httpx2.Client, agent: str, public: httpx2.Client) -> None:
    port = public.base_url.port
    script = (
        "import socket\n"
        f"for address in [('127.0.0.1', {port}), ('10.0.0.1', 80), ('169.254.169.254', 80), ('1.1.1.1', 53)]:\n"
        "    try:\n"
        "        socket.create_connection(address, 2)\n"
        "        print('open', address)\n"
        "    except OSError:\n"
        "        pass\n"
        "print('end')"
    )
    assert text(ask(http, agent, f"```python\n{script}\n```")) == "end"


def test_the_anthropic_sdk_through_the_public_gateway(public: httpx2.Client, login: str) -> None:
    client = anthropic.Anthropic(base_url=str(public.base_url), auth_token=login, max_retries=0)
    messages = [{"role": "user", "content": "hello there"}]
    answer = client.messages.create(model="scripted", max_tokens=64, messages=messages)
    assert answer.content[0].text == "You said: hello there"
    assert answer.usage.input_tokens > 0
    with client.messages.stream(model="scripted", max_tokens=64, messages=messages) as stream:
        assert "".join(stream.text_stream) == "You said: hello there"
        assert stream.get_final_message().stop_reason == "end_turn"
    assert client.messages.count_tokens(model="scripted", messages=messages).input_tokens > 0
    assert "scripted" in [model.id for model in client.models.list()]


def test_the_anthropic_sdk_calls_a_tool(public: httpx2.Client, login: str) -> None:
    client = anthropic.Anthropic(base_url=str(public.base_url), api_key=login, max_retries=0)
    tools = [{"name": "bash", "description": "run", "input_schema": {"type": "object"}}]
    asked = [{"role": "user", "content": "```bash\necho hi\n```"}]
    answer = client.messages.create(model="scripted", max_tokens=64, messages=asked, tools=tools)
    assert answer.stop_reason == "tool_use"
    use = answer.content[-1]
    assert use.input == {"command": "echo hi"}
    result = {"type": "tool_result", "tool_use_id": use.id, "content": "hi"}
    history = [*asked, {"role": "assistant", "content": answer.content}, {"role": "user", "content": [result]}]
    last = client.messages.create(model="scripted", max_tokens=64, messages=history, tools=tools)
    assert (last.stop_reason, last.content[0].text) == ("end_turn", "hi")


def test_a_wrong_key_is_refused_in_the_providers_own_words(public: httpx2.Client, login: str) -> None:
    client = anthropic.Anthropic(base_url=str(public.base_url), auth_token=login[:-6] + "AAAAAA", max_retries=0)
    with pytest.raises(anthropic.AuthenticationError) as refused:
        client.messages.create(model="scripted", max_tokens=8, messages=[{"role": "user", "content": "hi"}])
    assert refused.value.body["type"] == "error"
    assert refused.value.body["error"]["type"] == "authentication_error"
    body = {"model": "scripted", "max_tokens": 8, "messages": [{"role": "user", "content": "hi"}]}
    assert public.post("/v1/messages", json=body, headers={"x-api-key": "sk-nonsense"}).status_code == 401
    assert public.post("/v1/messages", json=body).status_code == 401


def rows(turn: Json) -> list[list[str]]:
    """The words of each line of an answer."""
    return [line.split() for line in text(turn).splitlines()]
