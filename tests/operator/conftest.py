from collections.abc import AsyncIterator

import pytest

from building import Yard, building
from operating import World, world
from raworc.settings import Settings
from raworc.store.database import Database


@pytest.fixture
async def place(settings: Settings, db: Database) -> AsyncIterator[World]:
    async with world(settings, db) as made:
        yield made


@pytest.fixture
async def yard(settings: Settings, db: Database) -> AsyncIterator[Yard]:
    async with building(settings, db) as made:
        yield made
