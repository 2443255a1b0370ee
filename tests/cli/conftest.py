"""A logged-in person on the stack that all files share."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from raworc.settings import DEFAULT_PASSWORD
from stack import Stack
from terminal import Shell


@pytest.fixture(scope="module")
def person(steady_stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    path = tmp_path_factory.mktemp("person") / "credentials.json"
    person = Shell({"PATH": os.environ["PATH"], "RAWORC_CREDENTIALS": str(path)})
    person.run("login", "--url", steady_stack.url, "--password-stdin", typed=f"{DEFAULT_PASSWORD}\n")
    return person


@pytest.fixture
def history_folder(person: Shell) -> Path:
    return Path(person.env["RAWORC_CREDENTIALS"]).parent


@pytest.fixture
def worker(steady_stack: Stack, request: pytest.FixtureRequest) -> Iterator[str]:
    """An agent on it."""
    name = "cli-" + request.node.name.replace("_", "-")[:50].rstrip("-")
    with steady_stack.client() as client:
        client.agents.create(name, model="scripted")
        yield name
        client.agents.delete(name)
