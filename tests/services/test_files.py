import os

import pytest

from raworc.errors import BadRequest, Conflict, Forbidden, NotFound, PayloadTooLarge
from raworc.sandbox.driver import MAX_FILE_BYTES
from raworc.sandbox.files import workspace_files
from raworc.services.agents import NewAgent
from raworc.services.files import AgentFiles
from rows import home_of, open_sandbox, set_home

pytestmark = pytest.mark.anyio


@pytest.fixture
async def workspace(agents, ann, db, tmp_path):
    """The folder of demo's workspace, with a few things in it."""
    await agents.create(ann, NewAgent("demo"))
    await open_sandbox(db, "demo")
    folder = tmp_path / str((await home_of(db, "demo")).id)
    (folder / "code").mkdir(parents=True)
    (folder / "code" / "main.py").write_text("print(1)")
    (folder / "Zeta.txt").write_text("z")
    (folder / "alpha").write_text("a")
    (folder / "out").symlink_to("/etc/passwd")
    return folder


@pytest.fixture
def files(db, tmp_path):
    return AgentFiles(db, workspace_files(tmp_path, uid_base=os.getuid()), tmp_path)


async def taken(download):
    return b"".join([piece async for piece in download.pieces])


async def test_listing_reading_and_deleting(files, ann, workspace):
    root = await files.listing(ann, "DEMO", "", offset=0, limit=100)
    assert [entry.name for entry in root.entries] == ["alpha", "code", "out", "Zeta.txt"]
    part = await files.listing(ann, "demo", "", offset=1, limit=1)
    assert ([entry.name for entry in part.entries], part.total) == (["code"], 4)
    assert [entry.name for entry in (await files.listing(ann, "demo", "code", offset=0, limit=0)).entries] == [
        "main.py"
    ]
    assert await taken(await files.read(ann, "demo", "code/main.py")) == b"print(1)"
    assert (await files.stat(ann, "demo", "out")).link_target == "/etc/passwd"
    await files.delete(ann, "demo", "code/main.py")
    await files.delete(ann, "demo", "code")
    await files.delete(ann, "demo", "out")
    assert sorted(path.name for path in workspace.iterdir()) == ["Zeta.txt", "alpha"]


BAD_PATHS = [
    "/etc/passwd",
    "../x",
    "a/../../x",
    "a//b",
    "a/./b",
    "code/",
    ".",
    "..",
    "nul\x00byte",
    "\ud800",
    "a" * 256,
    "a/" * 2100 + "a",
]


@pytest.mark.parametrize("how", ["listing", "stat", "read", "delete"])
async def test_paths_that_cannot_be_named_are_refused(files, ann, workspace, how):
    for path in BAD_PATHS:
        with pytest.raises(BadRequest):
            await call(files, how, ann, path)
    if how != "listing":
        with pytest.raises(BadRequest):
            await call(files, how, ann, "")


async def call(files, how, caller, path):
    more = {"offset": 0, "limit": 10} if how == "listing" else {}
    return await getattr(files, how)(caller, "demo", path, **more)


async def test_what_the_driver_says_becomes_an_answer(files, ann, workspace):
    with (workspace / "big").open("wb") as big:
        big.truncate(MAX_FILE_BYTES + 1)
    for how, path, error in (
        ("read", "nothing", NotFound),
        ("stat", "nothing", NotFound),
        ("delete", "nothing", NotFound),
        ("listing", "nothing", NotFound),
        ("read", "code", BadRequest),
        ("read", "out", BadRequest),
        ("delete", "code", Conflict),
        ("read", "big", PayloadTooLarge),
    ):
        with pytest.raises(error):
            await call(files, how, ann, path)


@pytest.mark.parametrize("state", ["slept", "error", "paused"])
async def test_a_sleeping_agent_answers_a_conflict_and_stays_asleep(files, ann, db, workspace, state):
    await set_home(db, "demo", state=state)
    for how, path in (("listing", ""), ("stat", "alpha"), ("read", "alpha"), ("delete", "alpha")):
        with pytest.raises(Conflict, match="asleep"):
            await call(files, how, ann, path)
    row = await home_of(db, "demo")
    assert (row.state, row.desired) == (state, None)


async def test_an_agent_whose_sandbox_never_opened_has_no_files_yet(files, agents, ann):
    await agents.create(ann, NewAgent("fresh"))
    found = await files.listing(ann, "fresh", "", offset=0, limit=10)
    assert (found.entries, found.total) == ((), 0)
    with pytest.raises(NotFound):
        await files.read(ann, "fresh", "x")


async def test_files_are_their_owners(files, ann, bob, workspace):
    for how in ("listing", "stat", "read", "delete"):
        with pytest.raises(Forbidden):
            await call(files, how, bob, "alpha")
    with pytest.raises(NotFound):
        await files.read(ann, "nobody", "alpha")
