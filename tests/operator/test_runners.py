"""Handlers of Python and of Node in a real sandbox: good ones, and ones that raise, hang, flood, lie or die."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from raworc.domain.handlers import LogLine, Message
from raworc.ids import SessionId, new_id
from raworc.operator import runners
from raworc.operator.runners import Handler, HandlerFailed, Runners
from raworc.sandbox.bubblewrap import BubblewrapDriver, Places
from raworc.sandbox.driver import Sandbox, SandboxDied, SandboxSpec, Workspace
from raworc.sandbox.spawner import Spawner
from raworc.settings import Settings
from waiting import until

pytestmark = pytest.mark.anyio

PYTHON = """
import asyncio, os, subprocess, sys, time
import dependency
print("loaded")
COUNT = 0

def count(message, context):
    global COUNT
    COUNT += 1
    return f"{message} {COUNT}"

def about(message, context):
    assert context.space == context["space"]
    return f"{message}|{context.session_id}|{context.space}|{context.created_by}|{context.timestamp}|{os.getcwd()}"

async def later(message, context):
    await asyncio.sleep(0.001)
    return f"{message} {dependency.NAME} {id(asyncio.get_running_loop())}"

def noisy(message, context):
    print("DEBUG: one", flush=True)
    print("two", file=sys.stderr)
    print("WARNING: three", file=sys.stderr)
    subprocess.run("echo four; printf five; cat", shell=True)
    os.write(1, b"\\xff\\x00" + b"=" * 9000 + b"\\n")
    return input("no question") if message == "ask" else "done"

def wrong(message, context):
    if message == "none":
        return None
    if message == "leave":
        sys.exit("good bye")
    if message == "die":
        os._exit(7)
    if message == "kill":
        os.kill(os.getpid(), 9)
    if message == "hang":
        open("/agent/hangs", "w").close()
        subprocess.run(["sleep", "1007"])
    if message == "nap":
        time.sleep(0.5)
        return "rested"
    if message == "big":
        return "x" * 1_048_577
    if message == "odd":
        return "\\ud800 \\u00e9"
    if message == "child":
        if not os.fork():
            time.sleep(1008)
    if message == "flood":
        while True:
            os.write(1, b"y" * 65536)
    raise ValueError("no such " + message)
"""
NODE = """
const fs = require("fs");
console.log("loaded", require("dependency").NAME);
let count = 0;
exports.about = (m, c) => `${m}|${c.session_id}|${c.space}|${c.created_by}|${c.timestamp}|${process.cwd()}`;
exports.count = async (m, c) => { await null; return `${m} ${++count}`; };
exports.wrong = async (m) => {
  console.error("ERROR: before", m);
  if (m === "none") return;
  if (m === "die") process.exit(7);
  if (m === "hang") { fs.writeFileSync("/agent/hangs", ""); for (;;); }
  if (m === "late") { setTimeout(() => { throw new Error("nobody catches it"); }, 1); await new Promise(() => {}); }
  throw new TypeError("no such " + m);
};
"""
SPEAKS_ITSELF = """
import os, struct
def lie(message, context):
    for number in range(3, 256):
        try:
            os.write(number, {data!r})
        except OSError:
            pass
    os.read(0, 1)
    import time
    time.sleep(1009)
"""
AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed here")


@dataclass
class Desk:
    """A sandbox with code in it. ``heard`` is what its handlers logged, by agent."""

    code: Path
    sandbox: Sandbox
    heard: list[tuple[str, LogLine]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.runners = Runners(self.sandbox, lambda agent, line: self.heard.append((agent, line)))

    async def ask(self, function: str, text: str, *, keeps: bool = True, timeout_s: float = 20.0) -> str:
        runtime = "node" if function.startswith("index") else "python3"
        handler = Handler("code", "d" * 64, runtime, function, {"RAWORC_AGENT": "code"})
        return await self.runners.answer(handler, Message(text, "s-1", "sp", "ann", AT), timeout_s, keeps=keeps)

    async def failure(self, function: str, text: str, **how: object) -> tuple[str, str]:
        with pytest.raises(HandlerFailed) as error:
            await self.ask(function, text, **how)  # pyright: ignore[reportArgumentType]
        return error.value.failure.code, error.value.failure.message

    def log(self) -> list[str]:
        """What was logged since the last time."""
        lines = [f"{line.level} {line.text}" for _, line in self.heard]
        self.heard.clear()
        return lines


@pytest.fixture
def spawner(settings: Settings) -> Iterator[Spawner]:
    started = Spawner.fork(settings.run_dir)
    yield started
    started.close()


@pytest.fixture
async def desk(settings: Settings, spawner: Spawner) -> AsyncIterator[Desk]:
    code = settings.home / "code"
    for folder in (".deps", "node_modules/dependency"):
        (code / folder).mkdir(parents=True)
    (code / "main.py").write_text(PYTHON)
    (code / ".deps" / "dependency.py").write_text("NAME = 'installed'\n")
    (code / "index.js").write_text(NODE)
    (code / "node_modules/dependency/index.js").write_text("exports.NAME = 'installed';\n")
    (code / "bad.py").write_text("import nothing_of_that_name\n")
    settings.home.chmod(0o755)
    async with opened(settings, spawner, code) as made:
        yield made


@asynccontextmanager
async def opened(settings: Settings, spawner: Spawner, code: Path) -> AsyncIterator[Desk]:
    driver = BubblewrapDriver(Places.of(settings), spawner, b"k" * 32)
    spec = SandboxSpec(Workspace(SessionId(new_id()), 1), epoch=1, folders={"code": code})
    sandbox = await driver.open(spec)
    made = Desk(code, sandbox)
    try:
        yield made
    finally:
        await sandbox.close()
        await made.runners.close()


async def test_a_handler_is_told_its_message_and_what_it_is_about(desk: Desk):
    said = "h\u00e9 \U0001f600|s-1|sp|ann|1767323045|/agent"
    assert await desk.ask("main.about", "h\u00e9 \U0001f600") == said
    first, again = await desk.ask("main.later", "a"), await desk.ask("main.later", "b")
    assert first.split()[:2] == ["a", "installed"]
    assert first.split()[2] == again.split()[2], "each message has an event loop of its own"


@needs_node
async def test_a_handler_of_node_is_too(desk: Desk):
    assert await desk.ask("index.about", "h\u00e9") == "h\u00e9|s-1|sp|ann|1767323045|/agent"
    assert [await desk.ask("index.count", "a"), await desk.ask("index.count", "b")] == ["a 1", "b 2"]
    assert "INFO loaded installed" in desk.log()
    assert await desk.failure("index.wrong", "x") == (
        "handler_failed",
        "The handler of 'code' failed: TypeError: no such x",
    )
    log = desk.log()
    assert "ERROR ERROR: before x" in log
    assert any("index.js:" in line for line in log), log
    assert (await desk.failure("index.wrong", "none"))[1].endswith("the handler returned undefined, not a string")
    assert await desk.failure("index.wrong", "die") == (
        "handler_ended",
        "The handler of 'code' gave no answer: it ended with exit code 7",
    )
    assert (await desk.failure("index.wrong", "late"))[1].endswith("gave no answer: it ended with exit code 1")
    assert any("nobody catches it" in line for line in desk.log())
    assert (await desk.failure("index.wrong", "hang", timeout_s=1.5))[0] == "handler_timeout"
    assert (await desk.failure("index.absent", "x"))[0] == "handler_not_loaded"


async def test_one_that_is_kept_stays_and_one_that_is_not_ends(desk: Desk):
    assert [await desk.ask("main.count", text) for text in "abc"] == ["a 1", "b 2", "c 3"]
    assert desk.runners.agents == ["code"]
    assert await desk.ask("main.count", "d", keeps=False) == "d 4"
    assert await desk.ask("main.count", "e", keeps=False) == "e 1"
    await until(lambda: sum("Handler ended" in line.text for _, line in desk.heard) == 2)
    assert desk.runners.agents == []
    await desk.ask("main.count", "f")
    await desk.runners.keep(["other"])
    assert desk.runners.agents == []


async def test_other_code_is_another_handler(desk: Desk):
    handler = Handler("code", "1", "python3", "main.count")
    message = Message("m", "s", "sp", "ann", AT)
    assert await desk.runners.answer(handler, message, 20, keeps=True) == "m 1"
    assert await desk.runners.answer(replace(handler, digest="2"), message, 20, keeps=True) == "m 1"
    assert await desk.runners.answer(replace(handler, digest="2"), message, 20, keeps=True) == "m 2"


async def test_output_is_log_and_comes_before_the_answer(desk: Desk):
    assert await desk.ask("main.noisy", "x") == "done"
    log = desk.log()
    assert log[0].startswith("INFO Handler started: main.noisy (python3), dddddddddddd")
    assert [log.count(line) for line in ("INFO loaded", "DEBUG DEBUG: one", "ERROR two", "WARNING WARNING: three")] == [
        *(1, 1, 1, 1)
    ]
    assert "INFO four" in log
    long = next(line for line in log if line.startswith("INFO five"))
    assert long.startswith("INFO five\ufffd\ufffd====")
    assert long.endswith("= [...]")
    assert len(long) < 4100
    assert (await desk.failure("main.noisy", "ask"))[1].endswith("EOFError: EOF when reading a line")


async def test_one_that_fails_says_why_and_goes_on(desk: Desk):
    code, message = await desk.failure("main.wrong", "thing")
    assert (code, message) == ("handler_failed", "The handler of 'code' failed: ValueError: no such thing")
    log = desk.log()
    assert any('File "/opt/agents/code/main.py", line' in line for line in log), log
    assert not any("<string>" in line for line in log), log
    assert (await desk.failure("main.wrong", "none"))[1].endswith("the handler returned NoneType, not a string")
    assert (await desk.failure("main.wrong", "leave"))[1].endswith("SystemExit: good bye")
    assert await desk.ask("main.wrong", "odd") == "? \u00e9"
    assert not any("Handler ended" in line for line in desk.log())


async def test_one_that_dies_is_started_anew(desk: Desk):
    for text, why in (("die", "it ended with exit code 7"), ("kill", "it was ended by signal 9")):
        code, message = await desk.failure("main.wrong", text)
        assert (code, message) == ("handler_ended", f"The handler of 'code' gave no answer: {why}")
        assert f"INFO Handler ended: {why}" in desk.log()
    assert await desk.ask("main.count", "again") == "again 1"
    (desk.sandbox, pending) = desk.sandbox, asyncio.ensure_future(desk.ask("main.wrong", "child"))
    assert (await asyncio.gather(pending, return_exceptions=True))[0].failure.code == "handler_failed"


async def test_one_that_cannot_be_loaded_says_why(desk: Desk):
    code, message = await desk.failure("bad.main", "x")
    assert code == "handler_not_loaded"
    assert message.startswith("The handler of 'code' failed: 'bad.main' cannot be loaded: ModuleNotFoundError: No mod")
    assert (await desk.failure("main.absent", "x"))[1].endswith("module 'main' has no attribute 'absent'")
    assert (await desk.failure("main.COUNT", "x"))[1].endswith("'main.COUNT' is no function")


async def test_an_endless_one_ends_by_its_time_limit_and_by_cancelling(desk: Desk):
    assert await desk.failure("main.wrong", "hang", timeout_s=1.0) == (
        "handler_timeout",
        "The handler of 'code' did not answer within 1 s and was ended",
    )
    asked = asyncio.create_task(desk.ask("main.wrong", "hang"))
    await until(lambda: any("Handler started" in line.text for _, line in desk.heard[2:]))
    asked.cancel()
    await asyncio.wait({asked})
    assert asked.cancelled()
    assert desk.runners.agents == []
    assert await desk.ask("main.count", "x") == "x 1"


async def test_time_in_which_it_is_frozen_does_not_count(desk: Desk):
    desk.runners._is_frozen = lambda: True
    assert await desk.ask("main.wrong", "nap", timeout_s=0.2) == "rested"
    desk.runners._is_frozen = lambda: False
    assert (await desk.failure("main.wrong", "nap", timeout_s=0.2))[0] == "handler_timeout"


async def test_one_that_says_too_much_is_ended(desk: Desk, monkeypatch: pytest.MonkeyPatch):
    assert await desk.failure("main.wrong", "big") == (
        "handler_misbehaved",
        "The handler of 'code' was ended: its answer has more than 1048576 bytes",
    )
    monkeypatch.setattr(runners, "MAX_LIFE_BYTES", 8_388_608)
    code, message = await desk.failure("main.wrong", "flood")
    assert (code, message) == (
        "handler_misbehaved",
        "The handler of 'code' was ended: it logged more than a handler may",
    )
    assert await desk.ask("main.count", "x") == "x 1"


@pytest.mark.parametrize(
    "data",
    [b"=\x00\x00\x00\x01a" * 2, b"*\x00\x00\x00\x01a", b"=\xff\xff\xff\xff", b"o\xff\xff\xff\xff"],
    ids=["twice", "unknown", "endless", "frame"],
)
async def test_one_that_speaks_the_protocol_itself_gains_nothing(desk: Desk, data: bytes):
    (desk.code / "liar.py").write_text(SPEAKS_ITSELF.format(data=data))
    answered = await asyncio.gather(desk.ask("liar.lie", "x", timeout_s=2.0), return_exceptions=True)
    assert answered[0] == "a" or isinstance(answered[0], HandlerFailed)
    (desk.code / "main.py").write_text(PYTHON)
    assert await desk.ask("main.count", "x") == "x 1"


async def test_a_sandbox_that_dies_says_so(desk: Desk):
    assert await desk.ask("main.count", "x") == "x 1"
    asked = asyncio.create_task(desk.ask("main.wrong", "hang"))
    await until(lambda: len(desk.runners.agents) == 1)
    await desk.sandbox.close()
    with pytest.raises(SandboxDied):
        await asked
    with pytest.raises(SandboxDied):
        await desk.ask("main.count", "x")
