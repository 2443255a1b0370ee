"""Remixes as rows: what is inherited, who may take what, and that refusals leave nothing behind."""

import asyncio
from dataclasses import dataclass

import pytest
from msgspec.structs import replace
from sqlalchemy import func, select

from raworc.errors import BadRequest, Conflict, Forbidden, NotFound, RateLimited
from raworc.services.agents import AgentChange, Agents, NewAgent, find
from raworc.services.published import Permissions, Published
from raworc.services.remixes import Remix, Remixes
from raworc.services.secrets import Secrets
from raworc.store.schema import agent_secrets, agents, audit, sessions, spaces, turns
from rows import add_role, bind, home_of, open_sandbox, set_home, state_events, turn_rows

pytestmark = pytest.mark.anyio

PARENT = {
    "description": "d",
    "metadata": {"a": 1},
    "tags": ["x"],
    "instructions": "be kind",
    "setup": "make",
    "model": "claude",
    "max_tokens": 9,
    "idle_timeout_s": 60,
    "busy_timeout_s": 70,
    "limits": {"memory_mb": 128},
    "secrets": {"A": "alpha", "B": "beta"},
    "tools": ["bash"],
    "guardrails": [{"type": "redact", "pattern": "x"}],
    "knowledge_bases": [{"name": "k", "text": "t"}],
}
WITH_CODE = ("instructions", "setup", "tools", "guardrails", "knowledge_bases")


@pytest.fixture
def remixes(db, secrets, narrow):
    return Remixes(db, secrets, narrow)


@pytest.fixture
def published(db):
    return Published(db)


@pytest.fixture
async def parent(agents, ann):
    return await agents.create(ann, NewAgent("Parent", **PARENT))


@dataclass
class Kit:
    """What these tests take a remix with."""

    remixes: Remixes
    published: Published
    agents: Agents
    secrets: Secrets


@pytest.fixture
def kit(remixes, published, agents, secrets):
    return Kit(remixes, published, agents, secrets)


async def secrets_of(db, secrets, caller, name):
    async with db.reading() as conn:
        row = await find(conn, caller, name, "get")
        return await secrets.values(conn, row.id, row.space)


async def counted(db):
    async with db.reading() as conn:
        return [
            await conn.scalar(select(func.count()).select_from(t)) for t in (agents, sessions, agent_secrets, turns)
        ]


async def told(db):
    async with db.reading() as conn:
        asked = select(audit.c.actor, audit.c.name, audit.c.details).where(audit.c.verb == "read-values")
        return [tuple(row) for row in await conn.execute(asked)]


async def test_a_remix_has_all_that_its_parent_has_but_who_where_and_when(agents, remixes, ann, db, secrets, parent):
    before = await agents.get(ann, "parent")
    made = await remixes.make(ann, "parent", Remix("Child", prompt="go"))

    own = ("name", "created_at", "parent_agent_name", "last_activity_at", "state")
    assert replace(made, **{field: getattr(parent, field) for field in own}) == parent
    assert (made.name, made.parent_agent_name, made.state) == ("Child", "Parent", "init")
    assert await secrets_of(db, secrets, ann, "child") == PARENT["secrets"]
    assert [turn.status for turn in await turn_rows(db, "child")] == ["pending"]
    home, source = await home_of(db, "child"), await home_of(db, "parent")
    assert (home.copy_of, home.copy_code, home.desired) == (source.id, True, "idle")
    assert await state_events(db, home.id) == ["init"]
    assert await agents.get(ann, "parent") == before
    assert await told(db) == []


async def test_metadata_is_replaced_where_given_and_history_is_not_copied(remixes, turns, ann, parent, db):
    await turns.start(ann, "parent", {"content": [{"type": "text", "content": "hi"}]})
    made = await remixes.make(ann, "parent", Remix("child", metadata={}))

    assert made.metadata == {}
    assert await turn_rows(db, "child") == []
    assert (made.is_published, made.context_cutoff_at) == (False, None)


async def test_without_code_and_secrets(remixes, agents, ann, db, secrets, parent):
    made = await remixes.make(ann, "parent", Remix("child", code=False, secrets=False))

    plain = await agents.create(ann, NewAgent("plain"))
    assert [getattr(made, name) for name in WITH_CODE] == [getattr(plain, name) for name in WITH_CODE]
    assert (made.model, made.limits["memory_mb"], made.tags) == ("claude", 128, ["x"])
    assert await secrets_of(db, secrets, ann, "child") == {}
    assert (await home_of(db, "child")).copy_code is False


async def test_secrets_are_sealed_anew_for_the_new_agent(remixes, agents, ann, db, secrets, parent):
    await remixes.make(ann, "parent", Remix("child"))
    await agents.delete(ann, "parent")

    assert await secrets_of(db, secrets, ann, "child") == PARENT["secrets"]
    async with db.reading() as conn:
        rows = (await conn.execute(select(agent_secrets))).all()
        assert len(rows) == 2


async def test_a_remix_of_one_whose_files_are_still_to_come_takes_them_from_where_they_are(
    remixes, agents, ann, db, parent
):
    await set_home(db, "parent", node="here")
    source = await home_of(db, "parent")
    await remixes.make(ann, "parent", Remix("child", code=False))
    await remixes.make(ann, "child", Remix("grandchild"))
    await agents.delete(ann, "child")

    home = await home_of(db, "grandchild")
    assert (home.copy_of, home.copy_code, home.node) == (source.id, False, "here")
    assert (await agents.get(ann, "grandchild")).parent_agent_name == "child"


@pytest.mark.parametrize("name", ["", "x", "a_b", "-a", "a" * 64, "ok\n"])
async def test_a_refused_name_changes_nothing(remixes, ann, db, parent, name):
    before = await counted(db)
    with pytest.raises(BadRequest):
        await remixes.make(ann, "parent", Remix(name))
    assert await counted(db) == before


async def test_unknown_parents_taken_names_blank_prompts_and_full_queues(remixes, agents, ann, db, parent):
    await agents.create(ann, NewAgent("other"))
    before = await counted(db)
    with pytest.raises(NotFound):
        await remixes.make(ann, "nobody", Remix("child"))
    with pytest.raises(NotFound):
        await remixes.make(ann, "no_name", Remix("child"))
    for taken in ("OTHER", "parent"):
        with pytest.raises(Conflict, match="already exists"):
            await remixes.make(ann, "parent", Remix(taken))
    with pytest.raises(BadRequest):
        await remixes.make(ann, "parent", Remix("child", prompt=" "))
    assert await counted(db) == before
    for number in range(5):
        await agents.create(ann, NewAgent(f"busy{number}", prompt="go"))
    before = await counted(db)
    with pytest.raises(RateLimited):
        await remixes.make(ann, "parent", Remix("child", prompt="go"))
    assert await counted(db) == before


async def test_two_remixes_to_one_name_at_once(remixes, ann, db, parent):
    wishes = [remixes.make(ann, "parent", Remix(name)) for name in ("Twin", "tWIN", "twin")]
    done = await asyncio.gather(*wishes, return_exceptions=True)
    assert sorted(type(one).__name__ for one in done) == ["AgentView", "Conflict", "Conflict"]
    assert (await counted(db))[:2] == [2, 2]


async def test_remix_and_deletion_at_once_make_a_whole_agent_or_none(remixes, agents, ann, db, parent):
    for number in range(10):
        if number:
            await agents.create(ann, NewAgent("parent", **PARENT))
        child = f"child{number}"
        made, _ = await asyncio.gather(
            remixes.make(ann, "parent", Remix(child)), agents.delete(ann, "parent"), return_exceptions=True
        )
        if isinstance(made, NotFound):
            with pytest.raises(NotFound):
                await agents.get(ann, child)
        else:
            assert (await home_of(db, child)).copy_of is not None


async def test_anothers_agent_is_not_remixed(remixes, bob, db, parent):
    before = await counted(db)
    with pytest.raises(Forbidden, match="belongs to another"):
        await remixes.make(bob, "parent", Remix("child"))
    assert await counted(db) == before


REFUSED = [
    (Permissions(secrets=False), Remix("child"), "secrets"),
    (Permissions(code=False), Remix("child"), "code"),
    (Permissions(code=False, secrets=True), Remix("child", secrets=False), "code"),
    (Permissions(content=False), Remix("child", code=False, secrets=False), "content"),
]


@pytest.mark.parametrize(("permissions", "wish", "part"), REFUSED)
async def test_a_withheld_part_refuses_the_whole(kit, ann, bob, db, parent, *, permissions, wish, part):
    await kit.published.publish(ann, "parent", permissions)
    before = await counted(db)
    with pytest.raises(Forbidden, match=part):
        await kit.remixes.make(bob, "parent", wish)
    assert await counted(db) == before
    made = await kit.remixes.make(ann, "parent", Remix("mine"))
    assert made.instructions == "be kind", "its owner takes everything"


async def test_a_stranger_gets_what_is_published_and_owns_it(kit, ann, bob, db, parent):
    await kit.published.publish(ann, "parent", Permissions())
    made = await kit.remixes.make(bob, "parent", Remix("child"))

    assert (made.created_by, made.instructions, made.is_published) == ("bob", "be kind", False)
    assert await secrets_of(db, kit.secrets, bob, "child") == {}
    assert await told(db) == []
    with pytest.raises(Forbidden):
        await kit.agents.get(ann, "child")


async def test_secrets_that_were_offered_by_name_are_given_and_told(kit, ann, bob, db, parent):
    await kit.published.publish(ann, "parent", Permissions(secrets=True))
    await kit.remixes.make(bob, "parent", Remix("without", secrets=False))
    assert await told(db) == []
    await kit.remixes.make(bob, "parent", Remix("child"))

    assert await secrets_of(db, kit.secrets, bob, "child") == PARENT["secrets"]
    assert await told(db) == [("bob", "Parent", {"remix": "child", "keys": ["A", "B"]})]


async def test_an_administrator_takes_everything_and_that_is_told(remixes, admin, db, secrets, parent):
    await remixes.make(admin, "parent", Remix("child"))
    assert await secrets_of(db, secrets, admin, "child") == PARENT["secrets"]
    assert [row[0] for row in await told(db)] == ["admin"]


async def test_a_remix_lies_in_its_parents_space_where_its_maker_may_create(kit, admin, bob, people, db):
    async with db.transaction() as conn:
        await conn.execute(spaces.insert().values(name="lab"))
    await kit.agents.create(admin, NewAgent("parent", space="lab", secrets={"A": "alpha"}))
    await kit.published.publish(admin, "parent", Permissions(secrets=True))

    assert (await kit.remixes.make(admin, "parent", Remix("one"))).space == "lab"
    assert (await kit.remixes.make(bob, "parent", Remix("two"))).space == "default"
    assert await secrets_of(db, kit.secrets, bob, "two") == {"A": "alpha"}
    async with db.transaction() as conn:
        role = await add_role(conn, "maker", {"resources": ["agents"], "verbs": ["*"], "scope": "space"})
        await bind(conn, role, bob.account_id, "lab")
    bob = await people.caller("bob")
    assert (await kit.remixes.make(bob, "parent", Remix("three"))).space == "lab"


async def test_who_may_only_read_does_not_remix(remixes, bob, people, db, parent):
    async with db.transaction() as conn:
        role = await add_role(conn, "reader", {"resources": ["agents"], "verbs": ["get", "list"], "scope": "global"})
        await bind(conn, role, bob.account_id)
    with pytest.raises(Forbidden):
        await remixes.make(await people.caller("bob"), "parent", Remix("child"))


async def test_a_change_of_the_parent_leaves_the_remix(remixes, agents, ann, parent, db):
    await remixes.make(ann, "parent", Remix("child"))
    await agents.update(ann, "parent", AgentChange(instructions="be quick"))
    await open_sandbox(db, "parent")
    assert (await agents.get(ann, "child")).instructions == "be kind"
