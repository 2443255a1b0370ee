"""What a blocking request answers when its time is up, and when the server's is."""

import asyncio
import re
import tempfile
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from asking import Api, client_of, error_of
from raworc.api.edge import EdgeOptions
from raworc.settings import Settings
from raworc.wiring.server import server_parts
from served import serve
from waiting import until

pytestmark = pytest.mark.anyio


@pytest.fixture
async def impatient(settings: Settings) -> AsyncIterator[Api]:
    """The admin at a server that waits 0.2 s."""
    with tempfile.TemporaryDirectory(prefix="rw-", dir="/tmp") as folder:
        options = EdgeOptions(door_socket=f"{folder}/gateway.sock", model_socket=f"{folder}/m.sock", door_key=b"k")
        async with (
            server_parts(replace(settings, blocking_timeout_s=0.2)) as parts,
            serve(parts.app, options) as served,
            client_of(served, None) as nobody,
        ):
            token = (await nobody.ask("POST", "/operators/admin/login", {"pass": "admin"})).json()["token"]
            async with client_of(served, token) as api:
                yield api


async def test_it_is_504_with_the_documented_message_and_the_work_goes_on(impatient: Api):
    name = (await impatient.made())["name"]

    answer = await impatient.ask("POST", f"/agents/{name}/responses", {"input": {"text": "hi"}, "background": False})

    message = error_of(answer, 504, "GATEWAY_TIMEOUT")["message"]
    assert message == "Timed out waiting for response to complete"
    assert re.search(r'"message":"Timed out waiting for response to complete"', answer.text)
    turns = (await impatient.get(f"/agents/{name}/responses")).json()
    assert [turn["status"] for turn in turns] == ["pending"]


async def test_a_stopping_server_does_not_keep_its_callers_waiting(settings: Settings):
    with tempfile.TemporaryDirectory(prefix="rw-", dir="/tmp") as folder:
        options = EdgeOptions(door_socket=f"{folder}/gateway.sock", model_socket=f"{folder}/m.sock", door_key=b"k")
        async with server_parts(settings) as parts, serve(parts.app, options) as served:
            async with client_of(served, None) as nobody:
                token = (await nobody.ask("POST", "/operators/admin/login", {"pass": "admin"})).json()["token"]
            async with client_of(served, token) as api:
                name = (await api.made())["name"]
                body = {"input": {"text": "hi"}, "background": False}
                asking = asyncio.create_task(api.ask("POST", f"/agents/{name}/responses", body))

                async def queued() -> bool:
                    return (await api.get(f"/agents/{name}/responses/count")).json()["count"] == 1

                await until(queued)
                served.server.should_exit = True
                answer = await asyncio.wait_for(asking, 60)

    error_of(answer, 503, "SERVICE_UNAVAILABLE")
    assert answer.headers["retry-after"] == "1"
