"""Folders of the node that a sandbox is given for reading."""

import contextlib
import tempfile
from collections.abc import AsyncGenerator, Generator
from pathlib import Path

from raworc.sandbox.conformance.bench import Bench, Case, expect, raising, run, same
from raworc.sandbox.driver import Sandbox, SandboxSpec, SandboxStartFailed


async def folders_are_seen_by_their_names(bench: Bench) -> None:
    with _folder(bench) as one, _folder(bench) as other:
        (one / "sub").mkdir()
        (one / "sub" / "file").write_text("first")
        (one / "link").symlink_to("sub/file")
        (other / "tool").write_text("#!/bin/sh\necho second\n")
        (other / "tool").chmod(0o755)
        async with _given(bench, one_1=one, other=other) as sandbox:
            done = await run(sandbox, "cd /opt/agents; ls; cat one_1/link; other/tool")
    same(done.text, "one_1\nother\nfirstsecond", "what is there")


async def folders_cannot_be_written(bench: Bench) -> None:
    with _folder(bench) as folder:
        (folder / "file").write_text("kept")
        for path in (folder, folder / "file"):
            path.chmod(0o777)
        tries = (
            "echo x > {}/file; echo x > {}/new; rm -f {}/file; mv {}/file {}/moved; chmod 000 {}/file; touch {}/file;"
            " mkdir {}/d; ln /agent/mine {}/hard; mv {} /opt/agents/b; rmdir {}; mkdir /opt/agents/new;"
            " mount -o remount,rw {}; umount {}; mount --bind /agent {}; truncate -s 0 /proc/self/fd/7"
        ).replace("{}", "/opt/agents/code")
        async with _given(bench, code=folder) as sandbox:
            await run(sandbox, f"touch /agent/mine; exec 7</opt/agents/code/file; ({tries}) 2>/dev/null")
            done = await run(sandbox, "cat /opt/agents/code/file; ls /opt/agents/code; ls /opt/agents")
        same(done.text, "keptfile\ncode", "what is left inside")
        same([(path.name, path.read_text()) for path in folder.iterdir()], [("file", "kept")], "what is left outside")


async def folders_lead_nowhere_else(bench: Bench) -> None:
    with _folder(bench) as folder:
        outside = folder.with_name(folder.name + "-outside")
        outside.write_text("not for agents")
        (folder / "absolute").symlink_to(outside)
        (folder / "relative").symlink_to(f"../{outside.name}")
        async with _given(bench, code=folder) as sandbox:
            done = await run(
                sandbox,
                f"cd /opt/agents/code; cat absolute; cat relative; cat {outside}; ls {folder}; cat ../../../{outside};"
                f" ls ..; cat /opt/agents/code/../{outside.name}",
            )
        outside.unlink()
    expect("not for agents" not in done.text, f"a file beside the folder is read: {done.text}")
    expect("code" in done.text.splitlines(), f"the folder's own is not listed alone: {done.text}")


async def no_folders_unless_asked_for(bench: Bench) -> None:
    with _folder(bench) as folder:
        workspace = bench.workspace()
        spec = SandboxSpec(workspace, epoch=1, folders={"code": folder})
        await (await bench.driver.open(spec)).close()
        async with bench.sandbox(workspace) as sandbox:
            done = await run(sandbox, "ls -d /opt/agents; ls /opt/agents/code")
    expect(done.exit.code != 0, f"a sandbox without folders has some: {done.text}")


async def a_folder_that_is_not_there_is_no_start(bench: Bench) -> None:
    with _folder(bench) as folder:
        gone = folder / "gone"
        with raising(SandboxStartFailed, "a folder that is not there"):
            await bench.driver.open(SandboxSpec(bench.workspace(), epoch=1, folders={"code": gone}))


@contextlib.asynccontextmanager
async def _given(bench: Bench, **folders: Path) -> AsyncGenerator[Sandbox]:
    sandbox = await bench.driver.open(SandboxSpec(bench.workspace(), epoch=1, folders=folders))
    try:
        yield sandbox
    finally:
        await sandbox.close()


@contextlib.contextmanager
def _folder(bench: Bench) -> Generator[Path]:
    """One that any user of the node may read."""
    with tempfile.TemporaryDirectory(dir=bench.gateway.parent.parent) as made:
        Path(made).chmod(0o755)
        yield Path(made)


CASES: tuple[Case, ...] = (
    folders_are_seen_by_their_names,
    folders_cannot_be_written,
    folders_lead_nowhere_else,
    no_folders_unless_asked_for,
    a_folder_that_is_not_there_is_no_start,
)
