"""What every test may ask for: a real Postgres, a database of its own, settings with a home of its own."""

import gc
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase
from hypothesis import settings as hypothesis_settings

sys.path.insert(0, str(Path(__file__).parent))  # test files share the modules that lie here

from cluster import HOME_PREFIX, clone, drop, shared_cluster
from raworc.settings import Settings
from raworc.store.database import Database
from raworc.supervisor.cluster import Cluster
from raworc.supervisor.home import prepare_home
from stack import KINDS, Stack

LONGEST_FIRST = (
    "supervisor/test_up.py",
    "sandbox/test_conformance.py",
    "docs/test_demo.py",
    "faults/test_operator_kills.py",
    "cli/test_session.py",
    "supervisor/test_alone.py",
    "faults/",
    "api/test_schema.py",
    "sandbox/test_attack.py",
    "recorder/test_faults.py",
    "supervisor/",
    "operator/",
    "e2e/",
)
"""Files (or folders) that take long begin first, so that no worker is left alone with one at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    root = Path(__file__).parent

    def rank(item: pytest.Item) -> int:
        path = item.path.relative_to(root).as_posix()
        return next((rank for rank, long in enumerate(LONGEST_FIRST) if path.startswith(long)), len(LONGEST_FIRST))

    items.sort(key=rank)


def pytest_collection_finish() -> None:
    """What was loaded stays: looking at it for garbage, again and again, took a part of every test's time."""
    gc.freeze()
    gc.enable()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--faults", action="store_true", help="the long fault table instead of its small seeded counts")


def pytest_configure(config: pytest.Config) -> None:
    """Say how many requests ``api/test_schema.py`` makes up of each operation, before it is read; hear Ctrl-C."""
    gc.disable()  # until everything is loaded
    # A shell starts what it puts in the background with SIGINT ignored, and every process of a test would inherit that:
    # none could be ended with Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    hypothesis_settings.register_profile(
        "made-up-requests",
        max_examples=250 if config.getoption("--faults") else 3,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    """The run's cluster: ``postgres.url(database, role)`` says where it is."""
    with shared_cluster(os.environ.get("PYTEST_XDIST_TESTRUNUID", "")[:12] or str(os.getpid())) as cluster:
        yield cluster


@pytest.fixture
def database_url(postgres: Cluster) -> Iterator[str]:
    """A migrated and bootstrapped database (account ``admin``, password ``admin``) that goes with the test."""
    name = clone(postgres)
    yield postgres.url(name)
    drop(postgres, name)


@pytest.fixture
def empty_url(postgres: Cluster) -> Iterator[str]:
    """A database with nothing in it."""
    name = clone(postgres, template="template1")
    yield postgres.url(name)
    drop(postgres, name)


@pytest.fixture
async def db(database_url: str, anyio_backend: str) -> AsyncIterator[Database]:
    database = Database(database_url, pool_size=4)
    yield database
    await database.close()


@contextmanager
def short_home() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix=HOME_PREFIX, dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def home() -> Iterator[Path]:
    """An empty folder with a short path (sockets) that other users may enter (sandboxes)."""
    with short_home() as folder:
        yield folder


@pytest.fixture
def settings(home: Path, database_url: str) -> Settings:
    """Settings of one installation: its home has the usual folders, its database is a clone."""
    chosen = Settings(home=home, database_url=database_url, pool_size=4)
    prepare_home(chosen)
    return chosen


@contextmanager
def running_stack(postgres: Cluster) -> Iterator[Stack]:
    name = clone(postgres)
    with short_home() as folder:
        running = Stack(Settings(home=folder, database_url=postgres.url(name), spool_rotate_s=0.5))
        try:
            running.start(*KINDS)
            yield running
        finally:
            running.close()
            drop(postgres, name)


@pytest.fixture(scope="module")
def stack(postgres: Cluster) -> Iterator[Stack]:
    """Server, operator and recorder as processes, a file's own; a failing test shows their logs."""
    with running_stack(postgres) as running:
        yield running


@pytest.fixture(scope="session")
def steady_stack(postgres: Cluster) -> Iterator[Stack]:
    """The same, shared by all files that neither kill a process nor count what others made."""
    with running_stack(postgres) as running:
        yield running


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    for running in getattr(item, "funcargs", {}).values():
        if report.failed and isinstance(running, Stack):
            report.sections.append(("logs of the stack", running.logs()))
    return report
