"""Copying and removing workspaces, whatever an agent left in them."""

import asyncio

from raworc.sandbox.conformance.bench import Bench, Case, expect, raising, run, same
from raworc.sandbox.driver import NoSuchFile, NoWorkspace, SandboxError, WorkspaceExists

_DEEP = (
    "import os\nfor i in range(500):\n os.mkdir('d')\n os.chdir('d')\nopen('bottom', 'w').close()\nos.chmod('.', 0o500)"
)


async def a_copy_has_everything(bench: Bench) -> None:
    source, target = bench.workspace(), bench.workspace()
    script = (
        "mkdir -p a/b empty; echo one > a/b/file; chmod 750 a; echo run > tool; chmod 755 tool; ln -s a/b/file link;"
        "touch -d 2001-02-03T04:05:06Z tool; ln tool same; ln -s /etc/passwd out; printf x > $'odd\\xff\\nname'"
    )
    async with bench.sandbox(source) as sandbox:
        before = await run(sandbox, script + ";" + _LISTING)
    await bench.driver.copy_workspace(source, target)
    async with bench.sandbox(target) as sandbox:
        after = await run(sandbox, _LISTING + "; test tool -ef same && echo >> a/b/file && echo mine")
    same(after.text, before.text + "\nmine", "the copy")


async def a_copy_never_follows_links(bench: Bench) -> None:
    source, target = bench.workspace(), bench.workspace()
    async with bench.sandbox(source) as sandbox:
        await run(sandbox, "ln -s /etc etc; ln -s /etc/hostname name; ln -s ../.. up; mkdir d; ln -s ../../.. d/up")
    await bench.driver.copy_workspace(source, target)
    files = bench.driver.files(target)
    same({entry.kind for entry in files.list("", 0, 10).entries}, {"symlink", "dir"}, "what was copied")
    same([entry.kind for entry in files.list("d", 0, 10).entries], ["symlink"], "what was copied below")


async def a_copy_leaves_out_what_is_no_file(bench: Bench) -> None:
    source, target = bench.workspace(), bench.workspace()
    async with bench.sandbox(source) as sandbox:
        await run(sandbox, "mkfifo pipe; python3 -c \"import socket; socket.socket(1).bind('sock')\"; echo > file")
    await bench.driver.copy_workspace(source, target)
    names = [entry.name for entry in bench.driver.files(target).list("", 0, 10).entries]
    same(names, ["file"], "what was copied")


async def a_copy_of_a_sparse_file_is_sparse(bench: Bench) -> None:
    source, target = bench.workspace(), bench.workspace()
    async with bench.sandbox(source) as sandbox:
        await run(sandbox, "truncate -s 1900M holes; printf end | dd of=holes bs=1 seek=1000000000 conv=notrunc")
    await bench.driver.copy_workspace(source, target)
    async with bench.sandbox(target) as sandbox:
        done = await run(sandbox, "stat -c %s holes; du -k holes | cut -f1; tail -c +1000000001 holes | head -c 3")
    size, kilobytes, end = done.text.split()
    same((int(size), end), (1900 * 1_048_576, "end"), "the copy")
    expect(int(kilobytes) < 1000, f"the copy takes {kilobytes} KB")


async def a_copy_needs_a_source_and_a_free_target(bench: Bench) -> None:
    source, target, absent = bench.workspace(), bench.workspace(), bench.workspace()
    for workspace in (source, target):
        async with bench.sandbox(workspace) as sandbox:
            await run(sandbox, f"echo {workspace.number} > file")
    with raising(WorkspaceExists, "a target that exists"):
        await bench.driver.copy_workspace(source, target)
    same(bench.driver.files(target).read("file"), f"{target.number}\n".encode(), "the target")
    with raising(NoWorkspace, "a source that does not exist"):
        await bench.driver.copy_workspace(absent, bench.workspace())
    with raising(NoSuchFile, "the absent source's files"):
        bench.driver.files(absent).list("", 0, 10)


async def a_copy_leaves_out_what_is_named(bench: Bench) -> None:
    source, target = bench.workspace(), bench.workspace()
    async with bench.sandbox(source) as sandbox:
        await run(sandbox, "mkdir -p code/x content; touch code/a content/code")
    await bench.driver.copy_workspace(source, target, leave_out=("code",))
    files = bench.driver.files(target)
    same([entry.name for entry in files.list("", 0, 10).entries], ["content"], "the root")
    same([entry.name for entry in files.list("content", 0, 10).entries], ["code"], "the folder below")


async def a_copy_is_bounded(bench: Bench) -> None:
    source, target = bench.workspace(), bench.workspace()
    async with bench.sandbox(source) as sandbox:
        await run(sandbox, "head -c 3000000 /dev/zero | tr '\\0' x > big")
    with raising(SandboxError, "a source above the bound"):
        await bench.driver.copy_workspace(source, target, max_bytes=2_000_000)
    with raising(NoSuchFile, "the target's files"):
        bench.driver.files(target).list("", 0, 10)


async def a_cancelled_copy_leaves_nothing(bench: Bench) -> None:
    source, target = bench.workspace(), bench.workspace()
    async with bench.sandbox(source) as sandbox:
        await run(sandbox, "mkdir d; cd d; seq 5000 | xargs touch")
    copying = asyncio.create_task(bench.driver.copy_workspace(source, target))
    await asyncio.sleep(0)
    copying.cancel()
    await asyncio.wait({copying})
    expect(copying.cancelled(), "the copy was not cancelled")
    await bench.driver.copy_workspace(source, target)
    same(bench.driver.files(target).list("d", 0, 10).total, 5000, "the copy made then")


async def removing_removes_everything(bench: Bench) -> None:
    workspace = bench.workspace()
    async with bench.sandbox(workspace) as sandbox:
        await run(sandbox, f'mkdir -p a/b c; echo > a/b/f; chmod 000 a/b a c; python3 -c "{_DEEP}"')
    await bench.driver.remove(workspace)
    with raising(NoSuchFile, "the removed workspace"):
        bench.driver.files(workspace).list("", 0, 10)
    await bench.driver.remove(workspace)
    async with bench.sandbox(workspace) as sandbox:
        same((await run(sandbox, "ls -A")).data, b"", "a new workspace of the same session")


async def removing_follows_no_link(bench: Bench) -> None:
    other, workspace = bench.workspace(), bench.workspace()
    async with bench.sandbox(other) as sandbox:
        await run(sandbox, "echo kept > file")
    async with bench.sandbox(workspace) as sandbox:
        await run(sandbox, f"mkdir d; ln -s ../{other.session_id} d/a; ln -s ../../{other.session_id} b; ln -s / c")
    await bench.driver.remove(workspace)
    same(bench.driver.files(other).read("file"), b"kept\n", "the other workspace")


_LISTING = "find . -mindepth 1 -printf '%P %y %m %l %n %TY-%Tm\\n' | LC_ALL=C sort; cat a/b/file"

CASES: tuple[Case, ...] = (
    a_copy_has_everything,
    a_copy_never_follows_links,
    a_copy_leaves_out_what_is_no_file,
    a_copy_of_a_sparse_file_is_sparse,
    a_copy_needs_a_source_and_a_free_target,
    a_copy_leaves_out_what_is_named,
    a_copy_is_bounded,
    a_cancelled_copy_leaves_nothing,
    removing_removes_everything,
    removing_follows_no_link,
)
