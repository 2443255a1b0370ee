"""What every test may ask for: a real Postgres, a database of its own, settings with a home of its own."""

import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # test files share the modules that lie here

from cluster import clone, drop, shared_cluster
from raworc.settings import Settings
from raworc.store.database import Database
from raworc.supervisor.cluster import Cluster


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
async def db(database_url: str, anyio_backend: str) -> AsyncIterator[Database]:
    database = Database(database_url, pool_size=4)
    yield database
    await database.close()


@pytest.fixture
def home() -> Iterator[Path]:
    """An empty folder with a short path (sockets) that other users may enter (sandboxes)."""
    folder = Path(tempfile.mkdtemp(prefix="rw-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def settings(home: Path, database_url: str) -> Settings:
    """Settings of one installation: its home has the usual folders, its database is a clone."""
    for name, mode in {"run": 0o700, "keys": 0o700, "spool": 0o700, "logs": 0o700, "sessions": 0o711}.items():
        (home / name).mkdir()
        (home / name).chmod(mode)
    return Settings(home=home, database_url=database_url, pool_size=4)
