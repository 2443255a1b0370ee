"""Log lines: JSON that a program reads, without secrets."""

import contextlib
import json
import logging
from pathlib import Path

import pytest
import structlog

from raworc.logs import configure, scrub
from raworc.settings import Settings
from waiting import until_sync

TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTYifQ.c2lnbmF0dXJlLXNpZ25hdHVyZQ"


@pytest.fixture
def logged(tmp_path):
    """Everything that is logged, decoded; logging is put back afterwards."""
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    file = tmp_path / "x.log"
    configure(Settings(home=Path("/nowhere")), process="server-1", file=file)
    yield lambda: [json.loads(line) for line in file.read_text().splitlines()]
    structlog.reset_defaults()
    for handler in root.handlers:
        handler.close()
    root.handlers[:], root.level = before


def test_our_lines_and_those_of_libraries_look_alike(logged):
    structlog.get_logger("ours").info("something happened", number=1)
    logging.getLogger("theirs").warning("something %s", "else")
    ours, theirs = logged()
    assert (ours["event"], ours["number"], ours["level"], ours["process"]) == (
        "something happened",
        1,
        "info",
        "server-1",
    )
    assert (theirs["event"], theirs["level"], theirs["process"]) == ("something else", "warning", "server-1")
    assert ours["timestamp"].endswith("Z")


def test_bound_values_stand_on_every_line(logged):
    with structlog.contextvars.bound_contextvars(request_id="r-1"):
        logging.getLogger("theirs").warning("within")
    assert logged()[0]["request_id"] == "r-1"


def test_a_traceback_is_one_value_without_secrets(logged):
    try:
        raise ValueError(f"bad token {TOKEN}")  # noqa: TRY301  a traceback is what is wanted
    except ValueError:
        structlog.get_logger().exception("failed")
    (line,) = logged()
    assert "ValueError: bad token [struck out]" in line["exception"]
    assert TOKEN not in json.dumps(line)


@pytest.mark.parametrize(
    "name",
    ["password", "new_password", "api_key", "x-api-key", "Authorization", "secret", "jwt_secret", "token", "Cookie"],
)
def test_values_under_telling_names_are_struck_out(name):
    assert scrub(None, "", {name: "anything", "deep": [{name: 1}]}) == {
        name: "[struck out]",
        "deep": [{name: "[struck out]"}],
    }


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (f"token is {TOKEN}!", "token is [struck out]!"),
        ("key sk-ant-api03-abcdefghijklmnop.", "key [struck out]."),
        ("Authorization: Bearer abcdefgh12345678", "Authorization: [struck out]"),
        ("postgresql://me:very@secret@host/db", "postgresql://[struck out]@secret@host/db"),
        ("https://name:word@host/path", "https://[struck out]@host/path"),
        ("nothing of the kind: 12 tokens", "nothing of the kind: 12 tokens"),
    ],
)
def test_what_looks_secret_is_struck_out_anywhere(text, left):
    assert scrub(None, "", {"event": text})["event"] == left
    assert scrub(None, "", {"error": ValueError(text)})["error"] == left
    assert scrub(None, "", {"raw": text.encode()})["raw"] == left


def test_counts_of_tokens_are_no_secrets():
    assert scrub(None, "", {"input_tokens": 5, "max_tokens": 7}) == {"input_tokens": 5, "max_tokens": 7}


def test_what_is_no_text_can_be_logged(logged):
    structlog.get_logger().info("odd", name="a\udcff", folder=Path("/x"), parts={1: b"\xff"})
    (line,) = logged()
    assert (line["name"], line["folder"]) == ("a\udcff", "/x")


def test_a_full_file_is_turned_over(logged, tmp_path, monkeypatch):
    for handler in logging.getLogger().handlers:
        monkeypatch.setattr(handler, "maxBytes", 1000, raising=False)
    for number in range(40):
        structlog.get_logger().info("line", number=number)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["x.log", "x.log.1", "x.log.2", "x.log.3"]
    assert all(path.stat().st_size < 1300 for path in tmp_path.iterdir())
    assert logged()[-1]["number"] == 39


def test_a_file_that_was_moved_away_is_begun_anew(logged, tmp_path):
    structlog.get_logger().info("before")
    (tmp_path / "x.log").rename(tmp_path / "moved")

    def is_there() -> bool:
        structlog.get_logger().info("after")
        return (tmp_path / "x.log").exists()

    until_sync(is_there)
    structlog.get_logger().info("last")
    assert logged()[-1]["event"] == "last"
    assert "before" in (tmp_path / "moved").read_text()


def test_a_full_disk_ends_nothing(logged, tmp_path, capfd):
    for handler in logging.getLogger().handlers:
        handler.close()
    (tmp_path / "x.log").unlink()
    (tmp_path / "x.log").symlink_to("/dev/full")
    for number in range(200):
        structlog.get_logger().info("nowhere to go", number=number)
    for handler in logging.getLogger().handlers:
        with contextlib.suppress(OSError):
            handler.close()
    (tmp_path / "x.log").unlink()
    structlog.get_logger().info("room again")
    assert logged()[-1]["event"] == "room again"
