"""A workspace's files from outside, with nothing running inside (and, once, with an attacker running)."""

import asyncio
import time
from contextlib import suppress
from functools import partial
from typing import Final

from raworc.sandbox.conformance.bench import Bench, Case, expect, raising, run, same
from raworc.sandbox.driver import MAX_FILE_BYTES, BadPath, DirectoryNotEmpty, FileError, Files, FileTooLarge, NoSuchFile

_QUICK_S: Final = 3.0
_RACED_READS: Final = 2000
_NO_PATHS: Final = (
    "..",
    "../x",
    "a/../b",
    "/etc/passwd",
    "a//b",
    "./a",
    "a/.",
    "a/",
    "/",
    "a\0b",
    "x" * 300,
    "/".join(["deep"] * 2000),
    "é" * 200,
)


async def listing_is_sorted_and_paged(bench: Bench) -> None:
    async with bench.files("mkdir D c; touch b A e; ln -s b d") as files:
        whole = files.list("", 0, 100)
        page = files.list("", 2, 2)
    same([entry.name for entry in whole.entries], ["A", "b", "c", "D", "d", "e"], "the order")
    same([entry.name for entry in page.entries], ["c", "D"], "the page")
    same((whole.total, page.total), (6, 6), "the total")
    same([entry.kind for entry in whole.entries], ["file", "file", "dir", "dir", "symlink", "file"], "the kinds")


async def an_entry_says_what_it_is(bench: Bench) -> None:
    async with bench.files("printf hello > f; chmod 640 f; touch -d 2001-02-03T04:05:06Z f; ln -s f/x link") as files:
        file, link, root = files.stat("f"), files.stat("link"), files.stat("")
    same((file.name, file.kind, file.size_bytes, file.mode), ("f", "file", 5, "0640"), "the file")
    same(file.mtime.isoformat(), "2001-02-03T04:05:06+00:00", "its time")
    same((link.kind, link.link_target, file.link_target), ("symlink", "f/x", None), "the link")
    same(root.kind, "dir", "the root")


async def reading_gives_the_bytes(bench: Bench) -> None:
    async with bench.files("printf 'a\\000\\377' > f; mkdir -p x/y; echo deep > x/y/z; : > empty") as files:
        found = [files.read(path) for path in ("f", "x/y/z", "empty")]
    same(found, [b"a\0\xff", b"deep\n", b""], "the content")


async def writing_makes_files_that_the_agent_owns(bench: Bench) -> None:
    workspace = bench.workspace()
    async with bench.sandbox(workspace) as sandbox:
        files = bench.driver.files(workspace)
        entry = files.write("new/deep/file.txt", b"from outside\n")
        script = "cat new/deep/file.txt; echo more >> new/deep/file.txt; touch new/mine; rm -r new && stat -c %u:%g ."
        done = await run(sandbox, script)
    same((entry.name, entry.kind, entry.size_bytes), ("file.txt", "file", 13), "the answer")
    same(done.text.splitlines()[0], "from outside", "what the agent reads")
    same(done.exit.code, 0, "what the agent may do with it")


async def writing_replaces_at_once(bench: Bench) -> None:
    async with bench.files("echo old > f; ln f kept; mkdir d; ln -s d/target link; mkfifo pipe") as files:
        files.write("f", b"new")
        files.write("link", b"through")
        same((files.read("f"), files.read("kept"), files.read("d/target")), (b"new", b"old\n", b"through"), "the files")
        same([entry.name for entry in files.list("", 0, 10).entries], ["d", "f", "kept", "link", "pipe"], "the names")
        for path in ("d", "pipe", ""):
            with raising(BadPath, f"writing to '{path}'"):
                files.write(path, b"x")
        with raising(FileError, "a file as a folder"):
            files.write("f/x", b"x")


async def deleting_takes_one_thing(bench: Bench) -> None:
    async with bench.files(
        "mkdir -p full/x empty; echo > f; echo > target; ln -s target link; ln -s full tofull"
    ) as files:
        for path in ("f", "link", "empty", "tofull"):
            files.delete(path)
            with raising(NoSuchFile, f"'{path}' after it is deleted"):
                files.stat(path)
        with raising(DirectoryNotEmpty, "deleting a full folder"):
            files.delete("full")
        with raising(BadPath, "deleting the workspace"):
            files.delete("")
        same([entry.name for entry in files.list("", 0, 10).entries], ["full", "target"], "what is left")


async def what_is_no_path_is_refused(bench: Bench) -> None:
    async with bench.files() as files:
        methods = (files.read, files.stat, files.delete, partial(_write_nothing, files), partial(_list_one, files))
        for path in _NO_PATHS:
            for method in methods:
                with raising(BadPath, f"the path {path[:20]!r}"):
                    method(path)


async def what_is_not_there_is_said_to_be_missing(bench: Bench) -> None:
    async with bench.files("echo > f; ln -s nothing dangling") as files:
        for path in ("x", "x/y", "f/x", "dangling/x"):
            with raising(NoSuchFile, f"the path '{path}'"):
                files.read(path)
        with raising(NoSuchFile, "reading a dangling link"):
            files.read("dangling")
        same(files.stat("dangling").link_target, "nothing", "the dangling link")
        with raising(FileError, "listing a file"):
            files.list("f", 0, 10)
        with raising(BadPath, "reading a folder"):
            files.read("")


async def links_are_followed_inside_only(bench: Bench) -> None:
    script = (
        "mkdir -p a/b; echo in > a/b/f; ln -s a/b/f rel; ln -s /agent/a/b abs; ln -s ../.. a/b/up; ln -s /agent whole;"
        "ln -s ../b/f a/b/zig; ln -s /etc/passwd passwd; ln -s ../../../etc out; ln -s /agentx near; ln -s loop loop;"
        "ln -s /proc/self/root magic; ln -s /agent/../etc/passwd sly; ln -s abs/up/passwd chain"
    )
    async with bench.files(script) as files:
        for path in ("rel", "abs/f", "whole/a/b/f", "a/b/zig", "a/b/up/rel", "whole/whole/abs/f"):
            same(files.read(path), b"in\n", f"'{path}'")
        same([entry.name for entry in files.list("abs", 0, 10).entries], ["f", "up", "zig"], "the list through a link")
        for path in ("passwd", "out/passwd", "near", "loop", "magic/etc/passwd", "sly", "chain", "whole/passwd"):
            with raising(BadPath, f"'{path}'"):
                files.read(path)
        with raising(BadPath, "writing through a link out"):
            files.write("out/x", b"x")
        same(files.stat("passwd").link_target, "/etc/passwd", "the link itself")


async def only_files_are_read(bench: Bench) -> None:
    script = "mkfifo pipe; mkdir d; python3 -c \"import socket; socket.socket(1).bind('sock')\"; ln -s pipe link"
    started = time.monotonic()
    async with bench.files(script) as files:
        for path in ("pipe", "d", "sock", "link"):
            with raising(BadPath, f"reading '{path}'"):
                files.read(path)
        same(files.stat("pipe").kind, "other", "the kind of a pipe")
    expect(time.monotonic() - started < _QUICK_S, "a pipe makes the reader wait")


async def large_files_are_refused(bench: Bench) -> None:
    async with bench.files(f"truncate -s {MAX_FILE_BYTES} fits; truncate -s {MAX_FILE_BYTES + 1} over") as files:
        same(len(files.read("fits")), MAX_FILE_BYTES, "the largest file")
        with raising(FileTooLarge, "reading a byte more"):
            files.read("over")
        with raising(FileTooLarge, "writing a byte more"):
            files.write("new", bytes(MAX_FILE_BYTES + 1))


async def odd_names_are_shown_and_usable(bench: Bench) -> None:
    script = "touch -- $'line\\nbreak' $'bad\\xff' 'ü' $'\\u202e' '-rf' ' ' '*'; mkdir $'d\\xfe'; touch $'d\\xfe/x'"
    async with bench.files(script) as files:
        names = [entry.name for entry in files.list("", 0, 100).entries]
        for name in names:
            name.encode()
            files.stat(name)
        expect("bad\\xff" in names and "line\nbreak" in names, f"the names are {names}")
        files.read("d\\xfe/x")
        files.delete("d\\xfe/x")
        for name in names:
            files.delete(name)
        same(files.list("", 0, 100).total, 0, "the number of files left")


async def a_large_folder_is_listed(bench: Bench) -> None:
    async with bench.files('python3 -c \'for i in range(3000): open(f"f{i:05}", "x")\'') as files:
        started = time.monotonic()
        page = files.list("", 1_000, 30)
        expect(time.monotonic() - started < _QUICK_S, "it takes long")
    same((page.total, page.entries[0].name, len(page.entries)), (3_000, "f01000", 30), "the page")


async def a_workspace_that_is_not_there_has_no_files(bench: Bench) -> None:
    files = bench.driver.files(bench.workspace())
    with raising(NoSuchFile, "listing it"):
        files.list("", 0, 10)


async def no_race_leads_out(bench: Bench) -> None:
    """A folder and a link to the outside change places as fast as they can while files are read."""
    workspace = bench.workspace()
    attack = "import ctypes\nrename = ctypes.CDLL(None).renameat2\nwhile True: rename(-100, b'd', -100, b'l', 2)"
    async with bench.sandbox(workspace) as sandbox:
        files = bench.driver.files(workspace)
        files.write("d/hostname", b"inside")
        await run(sandbox, f'ln -s /etc l; python3 -c "{attack}" > /dev/null 2>&1 & sleep 0.3')
        seen = await asyncio.to_thread(lambda: {_attempt(files, number) for number in range(_RACED_READS)})
    expect(b"inside" in seen, "nothing was ever read")
    same(seen - {b"inside", b""}, set[bytes](), "what was read from outside")


def _attempt(files: Files, number: int) -> bytes:
    with suppress(FileError):
        return files.read(("d/hostname", "l/hostname")[number % 2])
    return b""


def _write_nothing(files: Files, path: str) -> None:
    files.write(path, b"")


def _list_one(files: Files, path: str) -> None:
    files.list(path, 0, 1)


CASES: tuple[Case, ...] = (
    listing_is_sorted_and_paged,
    an_entry_says_what_it_is,
    reading_gives_the_bytes,
    writing_makes_files_that_the_agent_owns,
    writing_replaces_at_once,
    deleting_takes_one_thing,
    what_is_no_path_is_refused,
    what_is_not_there_is_said_to_be_missing,
    links_are_followed_inside_only,
    only_files_are_read,
    large_files_are_refused,
    odd_names_are_shown_and_usable,
    a_large_folder_is_listed,
    a_workspace_that_is_not_there_has_no_files,
    no_race_leads_out,
)
