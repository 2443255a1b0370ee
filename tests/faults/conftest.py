"""What the fault tests share: a client that is logged in, and how much of each fault there is."""

import pytest

from faults.counts import LONG, SMALL, Counts
from raworc.client import Raworc
from stack import Stack


@pytest.fixture(scope="session")
def counts(request: pytest.FixtureRequest) -> Counts:
    return LONG if request.config.getoption("--faults") else SMALL


@pytest.fixture(scope="module")
def client(stack: Stack) -> Raworc:
    return stack.client()
