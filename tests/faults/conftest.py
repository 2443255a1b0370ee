"""What the fault tests share: a client that is logged in, and how much of each fault there is."""

import pytest

from faults.counts import LONG, SMALL, Counts
from raworc.client import Raworc
from stack import Stack


@pytest.fixture(scope="session")
def counts(request: pytest.FixtureRequest) -> Counts:
    return LONG if request.config.getoption("--faults") else SMALL


@pytest.fixture
def client(steady_stack: Stack, admin: Raworc) -> Raworc:
    """Of a stack whose processes live; asking for it as well makes a failing test show its logs."""
    return admin


@pytest.fixture(scope="session")
def admin(steady_stack: Stack) -> Raworc:
    return steady_stack.client()
