"""Turns from the prompt to the answer, in real sandboxes, with the scripted model."""

import json
import uuid
from dataclasses import replace

import pytest

from operating import World, answer, kinds, only
from prompts import bash, fault, tool
from raworc.domain.models import DEFAULT_CLAUDE, DEFAULT_GPT
from raworc.domain.toolset import toolset
from raworc.domain.upstreams import SCRIPTED
from raworc.operator.session import Parts
from raworc.services.secrets import Secrets
from raworc.services.space_secrets import NewSpaceSecret, SpaceSecrets
from raworc.store.notify import DeltaNotice
from raworc.store.records import upstreams
from recall import Listening, listening

pytestmark = pytest.mark.anyio


async def test_a_prompt_is_answered(place: World):
    async with place.operator():
        session_id = await place.create()
        turn = await place.ask("hello")
        assert answer(turn) == "You said: hello"
        assert kinds(turn) == ["final"]
        row = await place.row(session_id)
        assert (row.state, row.desired, row.busy_from) == ("idle", None, None)
        assert row.idle_from is not None


async def test_a_command_runs_in_the_workspace(place: World):
    async with place.operator():
        session_id = await place.create()
        turn = await place.ask(bash("echo hi > code.txt; pwd; echo oops >&2"))
        assert answer(turn) == "/agent\noops"
        assert kinds(turn) == ["tool_call", "tool_result", "final"]
        call, result = only(turn, "tool_call"), only(turn, "tool_result")
        assert call["args"] == {"command": "echo hi > code.txt; pwd; echo oops >&2"}
        assert (result["id"], result["tool"], result["output"]) == (call["id"], "bash", "/agent\noops")
        assert (result["is_error"], result["truncated"]) == (False, False)
        assert place.file(session_id, "code.txt") == b"hi\n"


async def test_what_commands_answer(place: World):
    async with place.operator():
        await place.create()
        shown = {
            bash("exit 3"): ("\n[exit code 3]", True),
            bash("echo a; echo b; false"): ("a\nb\n[exit code 1]", True),
            bash("printf 'a\\n\\n'"): ("a\n", False),
            bash("cat; echo read nothing"): ("read nothing", False),
            bash("printf 'a\\000b\\377'"): ("a\ufffdb\ufffd", False),
            bash("kill -9 $$"): ("\n[exit code 137]", True),
            tool("bash", command="sleep 60", timeout_s=0.3): ("\n[stopped after 0.3 s]", True),
            tool("bash"): ("Bad arguments for 'bash': Object missing required field `command`", True),
            tool("bash", command=["ls"]): (
                "Bad arguments for 'bash': Expected `str`, got `array` - at `$.command`",
                True,
            ),
            tool("fly", to="moon"): (
                f"Unknown tool 'fly'. The tools are: {', '.join(toolset([], knows=False).builtins)}",
                True,
            ),
        }
        for prompt, (output, is_error) in shown.items():
            turn = await place.ask(prompt)
            assert (only(turn, "tool_result")["output"], only(turn, "tool_result")["is_error"]) == (output, is_error)
            assert answer(turn) == output


async def test_a_long_output_is_shortened_for_the_model_and_kept_longer_for_people(place: World):
    async with place.operator():
        await place.create()
        turn = await place.ask(bash("python3 -c \"print('a' * 5000 + 'b' * 5000, end='')\""))
        assert answer(turn) == "a" * 4000 + "\n[... 2000 characters left out ...]\n" + "b" * 4000
        assert only(turn, "tool_result")["output"] == "a" * 5000 + "b" * 5000
        assert only(turn, "tool_result")["truncated"] is False
        turn = await place.ask(bash("head -c 3000000 /dev/zero | tr '\\0' x"))
        result = only(turn, "tool_result")
        assert result["truncated"] is True
        left_out = 3_000_000 - 1_048_576
        assert result["output"] == "x" * 524_288 + f"\n[... {left_out} characters left out ...]\n" + "x" * 524_288
        assert answer(turn) == "x" * 4000 + "\n[... 2992000 characters left out ...]\n" + "x" * 4000


async def test_calls_made_at_once_run_in_the_order_given(place: World):
    async with place.operator():
        session_id = await place.create()
        calls = [{"name": "bash", "input": {"command": f"sleep 0.{3 - n}; echo {n} >> order"}} for n in range(3)]
        turn = await place.ask(f"```tools\n{json.dumps(calls)}\n```")
        assert kinds(turn) == ["tool_call"] * 3 + ["tool_result"] * 3 + ["final"]
        assert place.file(session_id, "order") == b"0\n1\n2\n"


async def test_the_file_tools_work_together(place: World):
    async with place.operator():
        session_id = await place.create()
        prompt = "\n".join(
            [
                tool("write_file", path="/agent/code/a.txt", content="one\ntwo\ntwo\n"),
                tool("edit_file", path="code/a.txt", old="two", new="three"),
                tool("edit_file", path="code/a.txt", old="two", new="three", replace_all=True),
                tool("edit_file", path="code/a.txt", old="zero", new="x"),
                tool("read_file", path="./code/a.txt", offset=2, limit=1),
                tool("list_files"),
                tool("list_files", path="/agent/code"),
                tool("search_files", pattern="^thr", path="code"),
                tool("search_files", pattern="nothing like it"),
                tool("search_files", pattern="("),
                tool("read_file", path="code"),
                tool("read_file", path="../../etc/passwd"),
                tool("read_file", path="/etc/passwd"),
            ]
        )
        turn = await place.ask(prompt)
        results = [(s["output"], s["is_error"]) for s in turn.segments if s["type"] == "tool_result"]
        assert results[:9] == [
            ("wrote 12 bytes to '/agent/code/a.txt'", False),
            ("The text to replace stands 2 times in 'code/a.txt': give more of it, or 'replace_all'", True),
            ("replaced 2 in 'code/a.txt'", False),
            ("The text to replace is not in 'code/a.txt'", True),
            ("three\n\n[... 1 more lines: read on with offset 3 ...]", False),
            ("code/", False),
            ("a.txt (16 bytes)", False),
            ("code/a.txt:2:three\ncode/a.txt:3:three", False),
            ("no match", False),
        ]
        assert [is_error for _, is_error in results[9:]] == [True] * 4
        assert place.file(session_id, "code/a.txt") == b"one\nthree\nthree\n"


async def test_what_is_set_inside(place: World):
    async with place.operator():
        session_id = await place.create(secrets={"TOKEN": "s3cret", "ANTHROPIC_API_KEY": "mine"})
        turn = await place.ask(bash("echo $TOKEN $ANTHROPIC_BASE_URL $OPENAI_BASE_URL $RAWORC_AGENT; env"))
        said = answer(turn)
        assert said.startswith("s3cret http://127.0.0.1:8787 http://127.0.0.1:8787/v1 demo\n")
        assert f"RAWORC_SESSION_ID={session_id}" in said
        assert "ANTHROPIC_API_KEY=mine" not in said


async def test_a_spaces_secrets_are_set_inside_and_changes_count_from_the_next_wake(place: World):
    secrets = SpaceSecrets(place.db, Secrets(b"m" * 32))
    for key, value in (("SHARED", "of-the-space"), ("TOKEN", "of-the-space"), ("OPENAI_API_KEY", "of-the-space")):
        await secrets.create(place.admin, "default", NewSpaceSecret(key, value))
    show = bash("echo $SHARED $TOKEN $OPENAI_BASE_URL; env | grep -c of-the-space")
    async with place.operator():
        session_id = await place.create(secrets={"TOKEN": "of-the-agent"})
        assert answer(await place.ask(show)) == "of-the-space of-the-agent http://127.0.0.1:8787/v1\n1"
        await secrets.update(place.admin, "default", "SHARED", "changed", None)
        await secrets.delete(place.admin, "default", "TOKEN")
        assert answer(await place.ask(bash("echo $SHARED"))) == "of-the-space"
        await place.change(session_id, desired="slept")
        await place.until_state(session_id, "slept")
        assert answer(await place.ask(bash("echo $SHARED"))) == "changed"


async def test_secrets_too_large_together_are_told_and_open_nothing(place: World):
    secrets = SpaceSecrets(place.db, Secrets(b"m" * 32))
    for number in range(13):
        await secrets.create(place.admin, "default", NewSpaceSecret(f"BIG_{number}", "x" * 65_536))
    async with place.operator():
        session_id = await place.create(secrets={f"TOO_{number}": "x" * 65_536 for number in range(13)})
        await place.until_state(session_id, "error")
        (marker,) = await place.all_turns()
        assert "remove some, or make them shorter" in str(only(marker, "note")["text"])


async def test_what_runs_inside_may_ask_models_too(place: World):
    async with place.operator():
        await place.create()
        program = (
            "import json,os,urllib.request as u\n"
            "body={'model':'x','max_tokens':9,'messages':[{'role':'user','content':'hi'}]}\n"
            "r=u.Request(os.environ['ANTHROPIC_BASE_URL']+'/v1/messages',json.dumps(body).encode(),"
            "{'x-api-key':os.environ['ANTHROPIC_API_KEY'],'content-type':'application/json'})\n"
            "print(json.load(u.urlopen(r))['content'][0]['text'])"
        )
        assert answer(await place.ask(f"```python\n{program}\n```")) == "You said: hi"


async def test_turns_queue_in_order_of_arrival(place: World):
    async with place.operator():
        session_id = await place.create()
        posted = [await place.post(bash(f"sleep 0.1; echo {n} >> order")) for n in range(4)]
        turns = [await place.settled(turn_id) for turn_id in posted]
        assert [turn.status for turn in turns] == ["completed"] * 4
        assert place.file(session_id, "order") == b"0\n1\n2\n3\n"


async def test_the_model_knows_the_turns_before(place: World):
    async with place.operator():
        await place.create(instructions="Be brief.")
        await place.ask(bash("echo first"))
        await place.ask("second")
    sent = [frame for frame in place.gate.frames() if b'"messages"' in frame.data]
    request = sent[-1].data.decode("utf-8", "replace")
    for part in ("Be brief.", "echo first", "tool_result", "second", "cache_control"):
        assert part in request


async def test_a_refusing_provider_fails_the_turn(place: World):
    async with place.operator():
        session_id = await place.create()
        turn_id = await place.post(fault("hello", status=529))
        turn = await place.settled(turn_id)
        assert turn.status == "failed"
        assert kinds(turn) == ["note"]
        assert only(turn, "note")["level"] == "error"
        row = await place.turn_row(turn_id)
        assert row.error["code"] == "overloaded_error"
        assert (await place.row(session_id)).state == "idle"
        assert answer(await place.ask("still there?")) == "You said: still there?"


async def test_an_answer_that_breaks_off_is_asked_for_again(place: World):
    async with place.operator():
        await place.create()
        turn_id = await place.post(fault("hello", cut_after_events=4, times=1))
        assert answer(await place.settled(turn_id)) == "You said: hello"
        assert (await place.turn_row(turn_id)).model_calls == 2
        assert len(await place.steps(turn_id)) == 1


async def test_an_answer_that_keeps_breaking_off_fails_the_turn(place: World):
    async with place.operator():
        await place.create()
        turn_id = await place.post(fault("hello", cut_after_events=4))
        assert (await place.settled(turn_id)).status == "failed"
        assert (await place.turn_row(turn_id)).model_calls == 3


async def test_too_many_model_calls_fail_the_turn(place: World):
    def limited(parts: Parts) -> Parts:
        return replace(parts, desk=replace(parts.desk, max_model_calls=2))

    async with place.operator(parts=limited):
        session_id = await place.create()
        turn_id = await place.post("\n".join(bash(f"echo {n} >> ran") for n in range(5)))
        turn = await place.settled(turn_id)
        assert turn.status == "failed"
        assert (await place.turn_row(turn_id)).error["code"] == "turn_limit"
        assert kinds(turn)[-2:] == ["tool_result", "note"]
        assert place.file(session_id, "ran") == b"0\n1\n"


async def test_running_text_is_published_while_it_comes(place: World):
    async with place.operator():
        session_id = await place.create()
        await place.ask("warm up")
        async with place.listener.subscribe(session_id) as notices:
            turn_id = await place.post(fault("x" * 400, chunk_delay_ms=30))
            await place.settled(turn_id)
            heard = ""
            while (notice := await notices.get(0.5)) is not None:
                if isinstance(notice, DeltaNotice):
                    assert (notice.turn_id, notice.channel) == (turn_id, "commentary")
                    heard += notice.text
        assert heard
        assert f"You said: {'x' * 400}".startswith(heard)


async def test_the_setup_runs_at_creation_and_at_each_wake(place: World):
    async with place.operator():
        session_id = await place.create(setup="echo up >> ups; pwd > where")
        await place.until_state(session_id, "idle")
        assert (place.file(session_id, "ups"), place.file(session_id, "where")) == (b"up\n", b"/agent\n")
        await place.sessions.set_state(place.admin, "demo", "slept")
        await place.sessions.wake(place.admin, "demo", prompt=None)
        await place.until_file(session_id, "ups", b"up\nup\n")
        await place.until_state(session_id, "idle")


async def test_a_setup_that_fails_is_a_note(place: World):
    async with place.operator():
        session_id = await place.create(setup="echo no such thing; exit 7")
        await place.until_state(session_id, "idle")
        (marker,) = await place.all_turns()
        assert (marker.status, marker.input_content) == ("completed", [])
        assert only(marker, "note") == {
            "type": "note",
            "level": "warning",
            "text": "The setup script failed:\nno such thing\n[exit code 7]",
        }
        assert answer(await place.ask("hello")) == "You said: hello"


async def test_a_full_workspace_is_said_to_be_full_and_can_be_emptied(place: World):
    async with place.operator():
        await place.create(limits={"disk_mb": 16})
        filled = await place.ask(bash("head -c 9M /dev/zero > a; head -c 9M /dev/zero > b"))
        full = "[out of disk space: delete files or cut them short first, in a command of its own]"
        assert answer(filled).endswith(full)
        assert "does not fit: the workspace may hold 16 MiB" in answer(
            await place.ask(tool("write_file", path="c", content="more"))
        )
        assert answer(await place.ask(bash("echo more > c"))).endswith(full)
        assert answer(await place.ask(bash("rm a b; echo freed"))) == "freed"
        assert answer(await place.ask(bash("echo more > c; cat c"))) == "more"


@pytest.mark.parametrize(
    ("provider", "models", "asked"),
    [("anthropic", [], DEFAULT_CLAUDE), ("anthropic", ["claude-opus-*"], SCRIPTED), ("openai", [], DEFAULT_GPT)],
)
async def test_an_agent_without_a_model_asks_one_of_the_accounts_that_were_set_up(
    place: World, provider, models, asked
):
    heard_by: list[Listening] = []
    row = {"id": uuid.uuid4(), "name": "team", "provider": provider, "base_url": "http://localhost", "models": models}
    async with place.db.transaction() as conn:
        await conn.execute(upstreams.insert().values(**row, every_space=True, is_default=False))
    async with place.operator(parts=listening(100_000, heard_by)):
        await place.create()
        await place.ask("hello")
    assert heard_by[0].named == [asked]
