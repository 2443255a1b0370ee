"""Plain HTTP clients of a running stack: one that is logged in, one that is nobody."""

from collections.abc import Iterator

import httpx2
import pytest

from stack import Stack


@pytest.fixture(scope="session")
def public(steady_stack: Stack) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=steady_stack.url, timeout=30, trust_env=False) as client:
        yield client


@pytest.fixture(scope="session")
def login(public: httpx2.Client) -> str:
    """An admin's token."""
    answer = public.post("/api/v0/operators/admin/login", json={"pass": "admin"})
    assert answer.status_code == 200, answer.text
    return answer.json()["token"]


@pytest.fixture(scope="session")
def http(steady_stack: Stack, login: str) -> Iterator[httpx2.Client]:
    headers = {"authorization": f"Bearer {login}"}
    with httpx2.Client(base_url=steady_stack.url, headers=headers, timeout=30, trust_env=False) as client:
        yield client
