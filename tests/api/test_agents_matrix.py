"""Every route of named agents, asked by those whom roles in a space let at the agents of others.

The expected statuses stand in ``agents_table.py``, written by hand; what owners and strangers are answered, see
``test_access_matrix.py``.
"""

import uuid
from collections.abc import AsyncIterator

import pytest

from agents_table import TABLE, TEXT
from asking import Api
from crowd import Crowd, Named, examined, gathered, name_of
from raworc.api.app import ROUTES
from raworc.api.routes import Route
from raworc.ids import new_id
from raworc.settings import Settings
from raworc.store.database import Database
from workspaces import make, place

pytestmark = pytest.mark.anyio

OURS = [route for route in ROUTES if route.contract == "agents" and route.full_path.startswith("/api/v0/agents")]


def test_every_route_has_its_rows_and_no_other():
    assert {name_of(route) for route in OURS} == set(TABLE)


@pytest.fixture(scope="module")
async def crowd(admin: Api, nobody: Api, db: Database, settings: Settings) -> AsyncIterator[Crowd]:
    async with gathered(admin, nobody, db, settings) as everybody:
        yield everybody


@pytest.mark.parametrize("route", OURS, ids=name_of)
async def test_everybody_is_answered_what_he_may(
    crowd: Crowd, admin: Api, route: Route, db: Database, settings: Settings
):
    async def made(route: Route, space: str) -> Named:
        """An agent of the space with one response; where there is none, names that nobody has."""
        named = {"key": "KEY", "approval_id": str(new_id()), "space": space, "fresh": f"fresh-{uuid.uuid4().hex[:12]}"}
        if space == "nosuch":
            return {**named, "name": f"nobody-{uuid.uuid4().hex[:12]}", "response_id": str(new_id())}
        agent = (await admin.made(name=f"{space}-{uuid.uuid4().hex[:12]}", space=space))["name"]
        response = (await admin.ask("POST", f"/agents/{agent}/responses", {"input": TEXT})).json()["id"]
        if "/files/write/" in route.path:  # which waits for a new agent's workspace
            make(await place(agent, db, settings))
        return {**named, "name": agent, "response_id": response}

    await examined(crowd, route, TABLE[name_of(route)], made)
