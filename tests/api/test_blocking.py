"""What a blocking request answers when its time is up, and when the server's is."""

import asyncio
import re
from collections.abc import AsyncIterator

import pytest

from another import another, same
from asking import Api, error_of
from raworc.settings import Settings
from waiting import until

pytestmark = pytest.mark.anyio


@pytest.fixture
async def impatient(admin: Api, settings: Settings) -> AsyncIterator[Api]:
    """The admin at a server that waits 0.2 s."""
    async with another(settings, blocking_timeout_s=0.2) as served, same(admin, served) as api:
        yield api


async def test_it_is_504_with_the_documented_message_and_the_work_goes_on(impatient: Api):
    name = (await impatient.made())["name"]

    answer = await impatient.ask("POST", f"/agents/{name}/responses", {"input": {"text": "hi"}, "background": False})

    message = error_of(answer, 504, "GATEWAY_TIMEOUT")["message"]
    assert message == "Timed out waiting for response to complete"
    assert re.search(r'"message":"Timed out waiting for response to complete"', answer.text)
    turns = (await impatient.get(f"/agents/{name}/responses")).json()
    assert [turn["status"] for turn in turns] == ["pending"]


async def test_a_stopping_server_does_not_keep_its_callers_waiting(admin: Api, settings: Settings):
    async with another(settings) as served, same(admin, served) as api:
        name = (await api.made())["name"]
        body = {"input": {"text": "hi"}, "background": False}
        asking = asyncio.create_task(api.ask("POST", f"/agents/{name}/responses", body))

        async def queued() -> bool:
            return (await api.get(f"/agents/{name}/responses/count")).json()["count"] == 1

        await until(queued)
        served.server.should_exit = True
        async with asyncio.timeout(60):
            answer = await asking

    error_of(answer, 503, "SERVICE_UNAVAILABLE")
    assert answer.headers["retry-after"] == "1"
