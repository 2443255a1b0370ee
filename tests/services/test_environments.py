"""Whose sandboxes have which secrets."""

import pytest
from sqlalchemy import text

from raworc.domain.environment import Given
from raworc.errors import Unavailable
from raworc.services.agents import NewAgent, find
from raworc.services.environments import Environments
from raworc.services.secrets import Secrets
from raworc.services.space_secrets import NewSpaceSecret, SpaceSecrets
from raworc.services.spaces import NewSpace, SpaceChange, Spaces
from rows import add_session, bind

pytestmark = pytest.mark.anyio


@pytest.fixture
def environments(db, secrets) -> Environments:
    return Environments(db, secrets)


@pytest.fixture
def shared(db, secrets) -> SpaceSecrets:
    return SpaceSecrets(db, secrets)


async def home_of(db, caller, agents, **fields):
    await agents.create(caller, NewAgent("demo", **fields))
    async with db.reading() as conn:
        return (await find(conn, caller, "demo", "get")).session_id


async def session_in(db, space):
    async with db.transaction() as conn:
        session_id = await add_session(conn)
        await conn.execute(text("UPDATE sessions SET space = :space"), {"space": space})
    return session_id


async def test_a_session_of_a_space_has_that_spaces_secrets_only(db, admin, shared, environments):
    await Spaces(db).create(admin, NewSpace("lab"))
    await shared.create(admin, "lab", NewSpaceSecret("A", "of lab"))
    await shared.create(admin, "default", NewSpaceSecret("A", "of default"))
    session_id = await session_in(db, "lab")
    assert await environments.of(session_id) == Given({"A": "of lab"})
    await shared.delete(admin, "lab", "A")
    assert await environments.of(session_id) == Given()
    await Spaces(db).update(admin, "lab", SpaceChange(settings={"gateway": "off"}))
    await shared.create(admin, "lab", NewSpaceSecret("A", ""))
    assert await environments.of(session_id) == Given({"A": ""}, is_off=True)


async def test_somebodys_agent_has_its_spaces_secrets_once_he_may_see_them(
    db, admin, ann, agents, shared, environments
):
    await shared.create(admin, "default", NewSpaceSecret("A", "of the space"))
    session_id = await home_of(db, ann, agents, secrets={"B": "her own"})
    assert await environments.of(session_id) == Given(agent={"B": "her own"})
    async with db.transaction() as conn:
        developer = await conn.scalar(text("SELECT id FROM roles WHERE name = 'developer'"))
        await bind(conn, developer, ann.account_id, "default")
    assert await environments.of(session_id) == Given({"A": "of the space"}, {"B": "her own"})


async def test_secrets_of_another_master_key_are_said_to_be(db, admin, shared):
    await shared.create(admin, "default", NewSpaceSecret("A", "hidden"))
    session_id = await session_in(db, "default")
    with pytest.raises(Unavailable, match="another master key") as caught:
        await Environments(db, Secrets(b"x" * 32)).of(session_id)
    assert "hidden" not in str(caught.value)
