"""Files of an agent's workspace: lists, metadata, bytes, deletion, and every path that is refused."""

import os
import re
import socket
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from asking import Api, error_of
from raworc.ids import SessionId
from raworc.sandbox.driver import Workspace
from raworc.sandbox.files import workspace_files, workspace_path
from raworc.services.progress import StateChanged
from raworc.settings import Settings
from raworc.store.database import Database
from raworc.store.schema import agents, sessions
from works import Works

pytestmark = pytest.mark.anyio

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
LIMIT = 26_214_400


@pytest.fixture(scope="module")
async def agent(admin: Api, works: Works) -> str:
    name = (await admin.made())["name"]
    await works(name, StateChanged("idle"), desired=None)
    return name


@pytest.fixture(scope="module")
async def folder(agent: str, db: Database, settings: Settings) -> Path:
    """The agent's workspace with a bit of everything in it."""
    async with db.reading() as conn:
        query = select(sessions).join(agents, agents.c.session_id == sessions.c.id).where(agents.c.name == agent)
        row = (await conn.execute(query)).one()
    workspace = Workspace(SessionId(row.id), row.number)
    root = workspace_path(settings.sessions_dir, workspace)
    make(root)
    workspace_files(settings.sessions_dir, settings.uid_base)(workspace).write("main.py", b"print('hi')\n")
    return root


def make(folder: Path) -> None:
    folder.mkdir(parents=True)


def exists(path: Path) -> bool:
    return path.exists()


def furnish(root: Path) -> None:
    (root / "code" / "src").mkdir(parents=True, exist_ok=True)
    (root / "code" / "main.rs").write_bytes(b"fn main() {}\n")
    (root / "empty").mkdir(exist_ok=True)


@pytest.fixture(autouse=True)
def _furnished(folder: Path) -> None:
    furnish(folder)


def url(agent: str, action: str, path: str | None = None) -> str:
    return f"/agents/{agent}/files/{action}" + ("" if path is None else f"/{path}")


async def names(admin: Api, agent: str, path: str | None = None, **query: Any) -> list[str]:
    answer = await admin.get(url(agent, "list", path), **query)
    assert answer.status_code == 200, answer.text
    return [entry["name"] for entry in answer.json()["entries"]]


async def test_the_root_is_listed_with_every_documented_field(admin: Api, agent: str, folder: Path):
    listing = (await admin.get(url(agent, "list"))).json()

    assert set(listing) == {"entries", "offset", "limit", "next_offset", "total"}
    assert (listing["offset"], listing["limit"], listing["next_offset"]) == (0, 100, None)
    assert listing["total"] == len(listing["entries"])
    entry = next(entry for entry in listing["entries"] if entry["name"] == "main.py")
    assert TIME.fullmatch(entry.pop("mtime"))
    assert entry == {"name": "main.py", "kind": "file", "size": 12, "mode": entry["mode"]}
    assert re.fullmatch("0[0-7]{3}", entry["mode"])
    kinds = {entry["name"]: (entry["kind"], entry["size"]) for entry in listing["entries"]}
    assert kinds["code"] == ("dir", 0)


@pytest.mark.parametrize("path", ["code", "code%2Fsrc/..", "", None])
async def test_folders_are_listed_by_path(admin: Api, agent: str, path: str | None):
    if path == "code%2Fsrc/..":
        answer = await admin.served.ask(
            f"GET /agents/api/v0{url(agent, 'list', path)} HTTP/1.1\r\nhost: a\r\n"
            f"authorization: {admin.http.headers['authorization']}\r\n\r\n".encode()
        )
        assert answer.status == 400
        return
    expected = ["main.rs", "src"] if path == "code" else ["code", "empty", "main.py"]
    found = await names(admin, agent, path)
    assert [name for name in found if name in expected] == expected


async def test_an_encoded_slash_separates(admin: Api, agent: str):
    assert await names(admin, agent, "code%2Fsrc") == []
    assert (await admin.get(url(agent, "read", "code%2Fmain.rs"))).content == b"fn main() {}\n"


async def test_a_folder_may_end_with_its_slash_and_nothing_else_may(admin: Api, agent: str):
    assert await names(admin, agent, "code/") == await names(admin, agent, "code")
    for path in ("/", "//", "code//", "/code"):
        error_of(await admin.get(url(agent, "list") + f"/{path}"), 400, "BAD_REQUEST")
    for method, action in (("GET", "metadata"), ("GET", "read"), ("DELETE", "delete")):
        error_of(await admin.ask(method, url(agent, action, "code/")), 400, "BAD_REQUEST")


async def test_lists_are_sorted_ignoring_case_and_paged(admin: Api, agent: str, folder: Path):
    for name in ("b", "A", "c", "D", ".hidden"):
        (folder / "empty" / name).touch()

    assert await names(admin, agent, "empty") == [".hidden", "A", "b", "c", "D"]
    page = (await admin.get(url(agent, "list", "empty"), offset=1, limit=2)).json()
    assert [entry["name"] for entry in page["entries"]] == ["A", "b"]
    assert (page["offset"], page["limit"], page["next_offset"], page["total"]) == (1, 2, 3, 5)
    last = (await admin.get(url(agent, "list", "empty"), offset=3, limit=2)).json()
    assert (last["next_offset"], last["total"]) == (None, 5)
    assert (await admin.get(url(agent, "list", "empty"), offset=99)).json()["entries"] == []
    assert (await admin.get(url(agent, "list", "empty"), limit=5000)).json()["limit"] == 1000


@pytest.mark.parametrize(("field", "value"), [("limit", "0"), ("limit", "x"), ("offset", "-1"), ("offset", "")])
async def test_a_list_parameter_outside_its_rules_is_400(admin: Api, agent: str, field: str, value: str):
    answer = await admin.get(url(agent, "list"), **{field: value})

    assert error_of(answer, 400, "BAD_REQUEST")["error"]["details"][0]["field"] == field


async def test_metadata_of_a_file_a_folder_and_a_link(admin: Api, agent: str, folder: Path):
    (folder / "link").unlink(missing_ok=True)
    (folder / "link").symlink_to("code/main.rs")

    file = (await admin.get(url(agent, "metadata", "code/main.rs"))).json()
    directory = (await admin.get(url(agent, "metadata", "code"))).json()
    link = (await admin.get(url(agent, "metadata", "link"))).json()

    assert set(file) == set(directory) == {"kind", "size", "mode", "mtime"}
    assert (file["kind"], file["size"]) == ("file", 13)
    assert (directory["kind"], directory["size"]) == ("dir", 0)
    assert (link["kind"], link["link_target"]) == ("symlink", "code/main.rs")


async def test_bytes_are_read_raw_with_their_headers(admin: Api, agent: str, folder: Path):
    data = bytes(range(256)) * 10
    (folder / "data.bin").write_bytes(data)

    answer = await admin.get(url(agent, "read", "data.bin"))

    assert answer.content == data
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["x-raworc-file-size"] == str(len(data)) == answer.headers["content-length"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"].startswith("sandbox")
    assert answer.headers["content-disposition"].startswith("attachment")


TYPES = [
    ("notes.txt", "text/plain; charset=utf-8", "inline"),
    ("image.png", "image/png", "inline"),
    ("page.html", "text/html; charset=utf-8", "attachment"),
    ("drawing.svg", "image/svg+xml", "attachment"),
    ("archive.tar.gz", "application/octet-stream", "attachment"),
    ("no-ending", "application/octet-stream", "attachment"),
    ("report.pdf", "application/pdf", "attachment"),
    ("data.json", "application/json", "attachment"),
]


@pytest.mark.parametrize(("name", "content_type", "shown"), TYPES)
async def test_the_type_is_guessed_by_name_and_nothing_active_is_shown(
    admin: Api, agent: str, folder: Path, name: str, content_type: str, shown: str
):
    (folder / name).write_bytes(b"<script>alert(1)</script>")

    headers = (await admin.get(url(agent, "read", name))).headers

    assert headers["content-type"] == content_type
    assert headers["content-disposition"].split(";")[0] == shown


@pytest.mark.parametrize(
    "name",
    ['we"ird', "a;b.txt", "new\nline", "ümläut", "per%cent", "sp ace", "hash#", "q?mark", "tab\t", "back\\slash"],
)
async def test_odd_names_are_read_by_their_encoded_path(admin: Api, agent: str, folder: Path, name: str):
    (folder / name).write_bytes(b"odd")
    encoded = "".join(f"%{byte:02X}" for byte in name.encode())

    assert (await admin.get(url(agent, "read", encoded))).content == b"odd"
    assert name in await names(admin, agent)
    assert (await admin.get(url(agent, "metadata", encoded))).json()["size"] == 3
    assert (await admin.ask("DELETE", url(agent, "delete", encoded))).json() == {"deleted": True}


async def test_a_name_that_is_no_text_does_not_break_the_list(admin: Api, agent: str, folder: Path):
    odd = folder / os.fsdecode(b"\xff\xfe")
    odd.touch()

    assert r"\xff\xfe" in await names(admin, agent)
    odd.unlink()


async def test_links_are_followed_below_the_workspace_only(admin: Api, agent: str, folder: Path):
    targets = {
        "in": "code/main.rs",
        "absolute-in": "/agent/code/main.rs",
        "out": "/etc/passwd",
        "up": "../../../etc/passwd",
    }
    for name, target in targets.items():
        (folder / f"to-{name}").unlink(missing_ok=True)
        (folder / f"to-{name}").symlink_to(target)

    for name in ("in", "absolute-in"):
        assert (await admin.get(url(agent, "read", f"to-{name}"))).content == b"fn main() {}\n"
    for name in ("out", "up"):
        error_of(await admin.get(url(agent, "read", f"to-{name}")), 400, "BAD_REQUEST")
        assert (await admin.get(url(agent, "metadata", f"to-{name}"))).json()["link_target"] == targets[name]


async def test_a_folder_a_socket_and_a_pipe_cannot_be_read(admin: Api, agent: str, folder: Path):
    for name in ("pipe", "socket"):
        (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "socket"))

    for name in ("code", "pipe", "socket"):
        error_of(await admin.get(url(agent, "read", name)), 400, "BAD_REQUEST")
    told = error_of(await admin.get(url(agent, "read", "code")), 400, "BAD_REQUEST")
    assert told["message"] == "'code' is no file but a folder: list it instead"


async def test_a_file_at_the_limit_is_read_and_one_byte_more_is_413(admin: Api, agent: str, folder: Path):
    with (folder / "big").open("wb") as file:
        file.truncate(LIMIT)
    assert len((await admin.get(url(agent, "read", "big"))).content) == LIMIT

    with (folder / "big").open("ab") as file:
        file.write(b"x")
    error_of(await admin.get(url(agent, "read", "big")), 413, "PAYLOAD_TOO_LARGE")
    (folder / "big").unlink()


async def test_files_links_and_empty_folders_are_deleted(admin: Api, agent: str, folder: Path):
    (folder / "gone").write_text("x")
    (folder / "gone-link").symlink_to("main.py")
    (folder / "gone-folder").mkdir()

    for name in ("gone", "gone-link", "gone-folder"):
        answer = await admin.ask("DELETE", url(agent, "delete", name))
        assert (answer.status_code, answer.json()) == (200, {"deleted": True})
        error_of(await admin.get(url(agent, "metadata", name)), 404, "NOT_FOUND")
    assert (folder / "main.py").exists()


async def test_a_folder_that_is_not_empty_is_409(admin: Api, agent: str):
    error_of(await admin.ask("DELETE", url(agent, "delete", "code")), 409, "CONFLICT")


BAD_PATHS = {
    "parent": "../secret",
    "parent inside": "code/../../x",
    "encoded dots": "%2e%2e/%2e%2e/etc/passwd",
    "encoded traversal": "..%2f..%2fetc%2fpasswd",
    "absolute": "/etc/passwd",
    "absolute encoded": "%2Fetc%2Fpasswd",
    "dot": "./main.py",
    "empty part": "code//main.rs",
    "trailing slashes": "code//",
    "nul": "main.py%00.txt",
    "too long": "a" * 300,
    "far too long": "a/" * 2500 + "a",
}


@pytest.mark.parametrize("path", BAD_PATHS.values(), ids=BAD_PATHS)
@pytest.mark.parametrize(
    ("method", "action"), [("GET", "list"), ("GET", "metadata"), ("GET", "read"), ("DELETE", "delete")]
)
async def test_a_path_that_is_not_safe_is_400(admin: Api, agent: str, method: str, action: str, path: str):
    token = admin.http.headers["authorization"]
    line = f"{method} /agents/api/v0{url(agent, action, path)} HTTP/1.1\r\nhost: a\r\nauthorization: {token}\r\n\r\n"

    answer = await admin.served.ask(line.encode())

    assert answer.status == 400
    assert b"BAD_REQUEST" in answer.body


@pytest.mark.parametrize("path", ["nothing", "code/nothing", "main.py/below", "%252e%252e", "~root", "%ff%fe"])
async def test_what_is_not_there_is_404(admin: Api, agent: str, path: str):
    for method, action in [("GET", "list"), ("GET", "metadata"), ("GET", "read"), ("DELETE", "delete")]:
        answer = await admin.ask(method, url(agent, action, path))
        assert answer.status_code in ({400, 404} if path == "main.py/below" else {404}), (action, answer.text)


async def test_the_root_itself_is_neither_read_nor_deleted(admin: Api, agent: str, folder: Path):
    for method, action in [("GET", "read"), ("GET", "metadata"), ("DELETE", "delete")]:
        error_of(await admin.ask(method, url(agent, action, "")), 400, "BAD_REQUEST")
    assert exists(folder)


async def test_a_file_is_no_folder(admin: Api, agent: str):
    error_of(await admin.get(url(agent, "list", "main.py")), 404, "NOT_FOUND")


@pytest.mark.parametrize("state", ["slept", "paused", "error"])
async def test_a_sleeping_agents_files_are_409(admin: Api, works: Works, state: str):
    name = (await admin.made())["name"]
    await works(name, StateChanged(state), desired=None)

    for method, action, path in [
        ("GET", "list", None),
        ("GET", "list", "code"),
        ("GET", "metadata", "x"),
        ("GET", "read", "x"),
        ("DELETE", "delete", "x"),
    ]:
        error_of(await admin.ask(method, url(name, action, path)), 409, "CONFLICT")


async def test_an_agent_without_a_workspace_yet_has_an_empty_root(admin: Api):
    name = (await admin.made())["name"]

    assert await names(admin, name) == []
    error_of(await admin.get(url(name, "read", "x")), 404, "NOT_FOUND")
