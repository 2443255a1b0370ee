import asyncio
import json
import uuid

import pytest
from sqlalchemy import func, select

from raworc.errors import BadRequest, Conflict, Forbidden, NotFound, RateLimited
from raworc.services.agents import AgentChange, AgentFilter, NewAgent, find
from raworc.services.queue import QueueLimits
from raworc.store.schema import agent_secrets, bindings, runs, spaces
from raworc.store.schema import agents as agent_table
from rows import (
    add_role,
    bind,
    home_of,
    open_sandbox,
    segment_types,
    session_row,
    set_home,
    state_events,
    take_turn,
    turn_rows,
)

pytestmark = pytest.mark.anyio

INPUT = {"content": [{"type": "text", "content": "hi"}]}


async def test_a_new_agent_has_every_default(agents, ann, db):
    view = await agents.create(ann, NewAgent("Demo"))
    assert (view.name, view.created_by, view.state) == ("Demo", "ann", "init")
    assert (view.description, view.parent_agent_name, view.metadata, view.tags) == (None, None, {}, [])
    assert (view.idle_timeout_seconds, view.busy_timeout_seconds) == (300, 3600)
    assert (view.is_published, view.published_at, view.published_by) == (False, None, None)
    assert view.publish_permissions == {"code": True, "secrets": True, "content": True}
    assert (view.idle_from, view.busy_from, view.context_cutoff_at) == (None, None, None)
    assert (view.space, view.model, view.max_tokens, view.network) == ("default", None, None, "none")
    assert view.limits == {"memory_mb": 1024, "cpus": 1, "pids": 256, "disk_mb": 2048}
    assert (view.instructions, view.setup) == (None, None)
    home = await home_of(db, "demo")
    assert (home.state, home.desired, home.kind, home.held_by) == ("init", "idle", "home", None)
    assert await state_events(db, home.id) == ["init"]


async def test_what_is_given_is_kept(agents, ann):
    new = NewAgent(
        "full",
        description="d",
        metadata={"a": [1, {"b": None}]},
        tags=[" Prod", "team", "PROD"],
        instructions="be kind",
        setup="make",
        idle_timeout_s=1,
        busy_timeout_s=604_800,
        model="claude",
        max_tokens=99,
        network="none",
        limits={"memory_mb": 128, "cpus": 0.5, "pids": None, "other": 1},
    )
    view = await agents.create(ann, new)
    assert (view.description, view.metadata, view.tags) == ("d", {"a": [1, {"b": None}]}, ["prod", "team"])
    assert (view.instructions, view.setup, view.model, view.max_tokens) == ("be kind", "make", "claude", 99)
    assert (view.idle_timeout_seconds, view.busy_timeout_seconds) == (1, 604_800)
    assert view.limits == {"memory_mb": 128, "cpus": 0.5, "pids": 256, "disk_mb": 2048}
    assert await agents.get(ann, "FULL") == view


async def test_a_prompt_is_the_first_turn(agents, ann, db):
    await agents.create(ann, NewAgent("demo", prompt="go"))
    (turn,) = await turn_rows(db, "demo")
    assert (turn.status, turn.kind, turn.input) == (
        "pending",
        "input",
        {"content": [{"type": "text", "content": "go"}]},
    )
    assert (await agents.get(ann, "demo")).state == "init"


BAD = {
    "one letter": {"name": "a"},
    "digit first": {"name": "1ab"},
    "hyphen last": {"name": "ab-"},
    "64 characters": {"name": "a" * 64},
    "newline": {"name": "demo\n"},
    "umlaut": {"name": "d\u00e4mon"},
    "arabic digit": {"name": "demo\u0663"},
    "dots": {"name": ".."},
    "nul": {"name": "de\x00mo"},
    "surrogate": {"name": "de\ud800mo"},
    "empty": {"name": ""},
    "tag with a space": {"tags": ["a b"]},
    "empty tag": {"tags": [""]},
    "long tag": {"tags": ["a" * 65]},
    "umlaut tag": {"tags": ["\u00e4"]},
    "idle 0": {"idle_timeout_s": 0},
    "idle too long": {"idle_timeout_s": 604_801},
    "busy negative": {"busy_timeout_s": -1},
    "network": {"network": "open"},
    "memory": {"limits": {"memory_mb": 1}},
    "cpus": {"limits": {"cpus": 0}},
    "pids": {"limits": {"pids": 10**9}},
    "model": {"model": " "},
    "tokens": {"max_tokens": 0},
    "secret name": {"secrets": {"A-B": "x"}},
    "secret name newline": {"secrets": {"AB\n": "x"}},
    "secret nul": {"secrets": {"A": "x\x00"}},
    "secret surrogate": {"secrets": {"A": "\udc80"}},
    "secret long": {"secrets": {"A": "x" * 65_537}},
    "blank prompt": {"prompt": " \n"},
    "infinite": {"metadata": {"a": float("inf")}},
    "endless number": {"metadata": {"a": 10**4000}},
    "deep": {"metadata": {"a": json.loads("[" * 150 + "]" * 150)}},
}


@pytest.mark.parametrize("fields", BAD.values(), ids=BAD)
async def test_what_is_outside_its_rules_is_refused_and_nothing_is_made(agents, ann, db, fields):
    with pytest.raises(BadRequest):
        await agents.create(ann, NewAgent(**{"name": "demo", **fields}))
    async with db.reading() as conn:
        assert await conn.scalar(select(func.count()).select_from(agent_table)) == 0


async def test_a_network_policy_is_refused_with_the_documented_words(agents, ann):
    with pytest.raises(BadRequest, match="network policy not supported by this driver"):
        await agents.create(ann, NewAgent("demo", network="open"))


@pytest.mark.parametrize("name", ["ab", "a1", "a-b", "a--b", "Z" * 63])
async def test_names_within_the_rule_are_taken(agents, ann, name):
    assert (await agents.create(ann, NewAgent(name))).name == name


async def test_text_that_postgres_cannot_hold_is_replaced(agents, ann):
    view = await agents.create(
        ann, NewAgent("demo", description="a\x00b", instructions="\ud800", metadata={"k\x00": ["\udfff"]})
    )
    assert (view.description, view.instructions, view.metadata) == ("a\ufffdb", "\ufffd", {"k\ufffd": ["\ufffd"]})


async def test_a_name_is_taken_in_any_case(agents, ann, bob):
    await agents.create(ann, NewAgent("demo"))
    with pytest.raises(Conflict, match="'DEMO' already exists"):
        await agents.create(bob, NewAgent("DEMO"))


async def test_of_two_creates_at_once_one_wins(agents, ann, db):
    answers = await asyncio.gather(
        *(agents.create(ann, NewAgent("demo", prompt="x")) for _ in range(4)), return_exceptions=True
    )
    assert sorted(type(answer).__name__ for answer in answers) == ["AgentView", "Conflict", "Conflict", "Conflict"]
    assert len(await turn_rows(db, "demo")) == 1


async def test_secrets_are_sealed(agents, secrets, ann, db):
    await agents.create(ann, NewAgent("demo", secrets={"KEY": "canary", "OTHER": ""}))
    async with db.reading() as conn:
        row = await find(conn, ann, "demo", "get")
        assert await secrets.values(conn, row.id, "default") == {"KEY": "canary", "OTHER": ""}
        stored = (await conn.execute(select(agent_secrets))).all()
        assert b"canary" not in b"".join(bytes(item.ciphertext) for item in stored)


async def test_create_counts_against_the_spaces_queue(agents, ann):
    agents._limits = QueueLimits(per_session=64, per_space=1)
    await agents.create(ann, NewAgent("one", prompt="x"))
    await agents.create(ann, NewAgent("two"))
    with pytest.raises(RateLimited) as caught:
        await agents.create(ann, NewAgent("three", prompt="x"))
    assert caught.value.headers["Retry-After"]


# ── who ──────────────────────────────────────────────────────────────────────────────────────────────
async def test_absent_is_404_anothers_403_and_an_admin_may_all(agents, ann, bob, admin):
    await agents.create(ann, NewAgent("demo", instructions="secret plan", setup="s"))
    for name in ("nobody", "no\x00body", "..", "a", "\ud800\ud800"):
        with pytest.raises(NotFound):
            await agents.get(ann, name)
    for attempt in (
        agents.get(bob, "demo"),
        agents.update(bob, "demo", AgentChange(description="x")),
        agents.delete(bob, "demo"),
    ):
        with pytest.raises(Forbidden):
            await attempt
    assert (await agents.update(admin, "demo", AgentChange(description="x"))).description == "x"
    await agents.delete(admin, "demo")
    with pytest.raises(NotFound):
        await agents.get(ann, "demo")


async def test_who_may_only_look_sees_neither_instructions_nor_setup(agents, ann, bob, db, people):
    await agents.create(ann, NewAgent("demo", instructions="plan", setup="s", guardrails=[{}]))
    async with db.transaction() as conn:
        reader = await add_role(conn, "reader", {"resources": ["agents"], "verbs": ["get", "list"]})
        await bind(conn, reader, bob.account_id, "default")
    bob = await people.caller("bob")
    view = await agents.get(bob, "demo")
    assert (view.name, view.instructions, view.setup) == ("demo", None, None)
    assert (view.tools, view.guardrails, view.knowledge_bases) == (None, None, None)
    with pytest.raises(Forbidden):
        await agents.update(bob, "demo", AgentChange(description="x"))
    assert [item.name for item in (await agents.page(bob, AgentFilter())).items] == ["demo"]


async def test_without_the_self_service_binding_nobody_creates(agents, ann, db, people):
    async with db.transaction() as conn:
        await conn.execute(bindings.delete().where(bindings.c.account_id.is_(None)))
    with pytest.raises((Forbidden, NotFound)):
        await agents.create(await people.caller("ann"), NewAgent("demo"))


async def test_other_spaces_need_the_resource_agents(agents, ann, admin, db):
    async with db.transaction() as conn:
        await conn.execute(spaces.insert().values(name="lab"))
    assert (await agents.create(admin, NewAgent("one", space="lab"))).space == "lab"
    with pytest.raises(NotFound, match="Space 'lab' not found"):
        await agents.create(ann, NewAgent("two", space="lab"))
    with pytest.raises(NotFound, match="Space 'none' not found"):
        await agents.create(admin, NewAgent("two", space="none"))


# ── lists ────────────────────────────────────────────────────────────────────────────────────────────
async def names(agents, caller, **wanted):
    return [item.name for item in (await agents.page(caller, AgentFilter(**wanted))).items]


async def test_a_list_is_newest_first_and_shows_own_agents_only(agents, ann, bob, admin):
    for owner, name in ((ann, "one"), (bob, "two"), (ann, "three")):
        await agents.create(owner, NewAgent(name))
    assert await names(agents, ann) == ["three", "one"]
    assert await names(agents, bob) == ["two"]
    assert await names(agents, admin) == ["three", "two", "one"]
    assert (await agents.page(ann, AgentFilter())).total == 2


async def test_filters_are_literal_and_ignore_case(agents, ann):
    await agents.create(ann, NewAgent("alpha", description="100% Sure", tags=["Prod", "team"]))
    await agents.create(ann, NewAgent("beta", description="under_score", tags=["prod"]))
    await agents.create(ann, NewAgent("gamma"))
    assert await names(agents, ann, q="ALPH") == ["alpha"]
    assert await names(agents, ann, q=" sure ") == ["alpha"]
    assert await names(agents, ann, q="%") == ["alpha"]
    assert await names(agents, ann, q="_") == ["beta"]
    assert await names(agents, ann, q="\\") == []
    assert await names(agents, ann, q="a\x00") == []
    assert await names(agents, ann, q="  ") == ["gamma", "beta", "alpha"]
    assert await names(agents, ann, tags=["PROD"]) == ["beta", "alpha"]
    assert await names(agents, ann, tags=["prod", " team "]) == ["alpha"]
    assert await names(agents, ann, tags=["", "no such", "\x00"]) == []


async def test_paging_clamps_and_counts(agents, ann):
    for number in range(5):
        await agents.create(ann, NewAgent(f"agent{number}"))
    page = await agents.page(ann, AgentFilter(limit=2, offset=1))
    assert ([item.name for item in page.items], page.total, page.limit) == (["agent3", "agent2"], 5, 2)
    assert (await agents.page(ann, AgentFilter(limit=1000))).limit == 100
    assert (await agents.page(ann, AgentFilter(limit=-5))).limit == 1
    beyond = await agents.page(ann, AgentFilter(offset=2**70))
    assert (beyond.items, beyond.total) == ([], 5)


async def test_the_count_keeps_up_with_agents_that_come_and_go_at_once(agents, ann, bob, admin):
    for owner in (ann, bob):
        await asyncio.gather(*(agents.create(owner, NewAgent(f"{owner.name}-{number}")) for number in range(8)))
    gone = [agents.delete(ann, f"ann-{number}") for number in range(5)]
    await asyncio.gather(*gone, *(agents.create(ann, NewAgent(f"more-{number}")) for number in range(3)))
    counted = [(await agents.page(caller, AgentFilter())).total for caller in (ann, bob, admin)]
    assert counted == [6, 8, 14]
    with pytest.raises(Conflict):
        await agents.create(ann, NewAgent("bob-1"))
    assert (await agents.page(ann, AgentFilter())).total == 6


async def test_the_state_filter_speaks_the_contracts_words(agents, ann, db, turns):
    for name in ("init", "idle", "held", "queued", "busy", "slept", "error"):
        await agents.create(ann, NewAgent(name + "-agent"))
    await open_sandbox(db, "idle-agent")
    await set_home(db, "held-agent", state="idle", busy_hold_from=func.now())
    await open_sandbox(db, "queued-agent")
    await turns.start(ann, "queued-agent", INPUT)
    await set_home(db, "busy-agent", state="busy", busy_from=func.now())
    await set_home(db, "slept-agent", state="slept")
    await set_home(db, "error-agent", state="error")
    assert await names(agents, ann, state="init") == ["init-agent"]
    assert await names(agents, ann, state="idle") == ["idle-agent"]
    assert await names(agents, ann, state="busy") == ["busy-agent", "queued-agent", "held-agent"]
    assert await names(agents, ann, state="slept") == ["error-agent", "slept-agent"]
    with pytest.raises(BadRequest):
        await names(agents, ann, state="paused")


async def test_moments_are_shown_in_their_state_only(agents, ann, db, turns):
    await agents.create(ann, NewAgent("demo"))
    await open_sandbox(db, "demo")
    view = await agents.get(ann, "demo")
    assert (view.state, view.idle_from is None, view.busy_from) == ("idle", False, None)
    await turns.start(ann, "demo", INPUT)
    view = await agents.get(ann, "demo")
    assert (view.state, view.idle_from, view.busy_from is None) == ("busy", None, False)


# ── change ───────────────────────────────────────────────────────────────────────────────────────────
async def test_an_update_replaces_what_is_given_and_keeps_the_rest(agents, ann):
    await agents.create(ann, NewAgent("demo", description="d", tags=["a"], metadata={"a": 1}, instructions="i"))
    view = await agents.update(ann, "DEMO", AgentChange(metadata={}, idle_timeout_s=7, limits={"pids": 99}))
    assert (view.name, view.description, view.tags, view.metadata) == ("demo", "d", ["a"], {})
    assert (view.idle_timeout_seconds, view.busy_timeout_seconds, view.limits["pids"]) == (7, 3600, 99)
    view = await agents.update(ann, "demo", AgentChange(tags=[], description="", model="m", busy_timeout_s=5))
    assert (view.tags, view.description, view.model, view.busy_timeout_seconds) == ([], "", "m", 5)
    assert (view.instructions, view.limits["pids"], view.limits["memory_mb"]) == ("i", 99, 1024)


@pytest.mark.parametrize(
    "change",
    [
        AgentChange(),
        AgentChange(tags=["a b"]),
        AgentChange(idle_timeout_s=0),
        AgentChange(network="allow"),
        AgentChange(limits={"cpus": 1000}),
        AgentChange(limits={}),
        AgentChange(limits={"cpus": None}),
        AgentChange(metadata={"a": float("nan")}),
    ],
)
async def test_an_update_outside_the_rules_changes_nothing(agents, ann, change):
    before = await agents.create(ann, NewAgent("demo"))
    with pytest.raises(BadRequest):
        await agents.update(ann, "demo", change)
    assert await agents.get(ann, "demo") == before


async def test_delete_while_busy_settles_everything_and_frees_the_name(agents, ann, db, turns):
    await agents.create(ann, NewAgent("demo"))
    session_id = await open_sandbox(db, "demo")
    first = await turns.start(ann, "demo", INPUT)
    second = await turns.start(ann, "demo", INPUT)
    await take_turn(db, "demo")
    async with db.transaction() as conn:
        await conn.execute(runs.insert().values(id=uuid.uuid4(), session_id=session_id))
    await agents.delete(ann, "demo")
    await agents.create(ann, NewAgent("Demo"))
    async with db.reading() as conn:
        row = await session_row(conn, session_id)
        assert (row.state, row.desired) == ("terminated", "terminated")
        assert await conn.scalar(select(runs.c.ended_at)) is not None
    assert await segment_types(db, first.id) == ["cancelled"]
    assert await segment_types(db, second.id) == ["note", "cancelled"]
    with pytest.raises(NotFound):
        await turns.get(ann, "demo", first.id)


async def test_of_two_deletes_at_once_one_finds_nothing(agents, ann):
    await agents.create(ann, NewAgent("demo"))
    answers = await asyncio.gather(*(agents.delete(ann, "demo") for _ in range(3)), return_exceptions=True)
    assert sorted(type(answer).__name__ for answer in answers) == ["NoneType", "NotFound", "NotFound"]
