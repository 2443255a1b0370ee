"""Code agents with a handler that does what messages name, and builds of them that nobody had to make."""

import hashlib
import uuid
from dataclasses import dataclass

from operating import NODE, World
from rows import add_build, add_code_agent

SOURCE = """
import json, os, subprocess, threading, time, urllib.request
COUNT = 0

def ask_model(text):
    body = {"model": "scripted", "max_tokens": 100, "messages": [{"role": "user", "content": text}]}
    headers = {"x-api-key": os.environ["ANTHROPIC_API_KEY"], "anthropic-version": "2023-06-01",
               "content-type": "application/json"}
    request = urllib.request.Request(os.environ["ANTHROPIC_BASE_URL"] + "/v1/messages",
                                     json.dumps(body).encode(), headers)
    return json.load(urllib.request.urlopen(request))["content"][0]["text"]

def later():
    while not os.path.exists("/agent/settled"):
        time.sleep(0.01)
    try:
        said = ask_model("between turns")
    except OSError as error:
        said = str(error)
    with open("/agent/between.new", "w") as file:
        file.write(said)
    os.rename("/agent/between.new", "/agent/between")

def process_message(message, context):
    global COUNT
    COUNT += 1
    with open("/agent/ran", "a") as file:
        file.write("x")
    if message == "about":
        return json.dumps({**context, "agent": os.environ["RAWORC_AGENT"], "secret": os.environ["TOKEN_OF_SPACE"]})
    if message == "log":
        print("the secret is", os.environ["TOKEN_OF_SPACE"], "and", os.environ["ANTHROPIC_API_KEY"])
    if message == "model":
        return ask_model("hello")
    if message == "background":
        threading.Thread(target=later, daemon=True).start()
    if message == "raise":
        raise ValueError("no such thing")
    if message == "hang":
        open("/agent/hangs", "w").close()
        subprocess.run(["sleep", "1011"])
    return f"{VERSION} {COUNT}"
"""


@dataclass(frozen=True)
class Coded:
    """A code agent of the space ``default``."""

    agent_id: uuid.UUID
    name: str


async def coded(place: World, name: str = "coder", *, version: int = 1, **columns: object) -> Coded:
    """One that is built."""
    made = await added(place, name, **columns)
    await built(place, made, version)
    return made


async def added(place: World, name: str = "coder", **columns: object) -> Coded:
    """One that is not."""
    async with place.db.transaction() as conn:
        return Coded(await add_code_agent(conn, "default", name, **columns), name)


async def built(place: World, agent: Coded, version: int, *others: Coded, **build: object) -> None:
    """A completed build of the space with this version of the code of all of them."""
    source = f"VERSION = {version}\n{SOURCE}"
    digest = hashlib.sha256(source.encode()).hexdigest()
    folder = place.settings.builds_dir / digest
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "main.py").write_text(source)
    async with place.db.transaction() as conn:
        agent_ids = (agent.agent_id, *(other.agent_id for other in others))
        await add_build(conn, "default", *agent_ids, **{"digest": digest, "node": NODE, **build})
