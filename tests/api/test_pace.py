"""A limit of requests, for servers that set one: each account, and each address without one, has its own."""

import pytest

from another import another, same
from asking import Api, client_of, error_of
from raworc.api.pace import Pace
from raworc.errors import RateLimited
from raworc.settings import Settings

pytestmark = pytest.mark.anyio


def asking(address: str) -> dict[str, object]:
    return {"client": (address, 1), "headers": []}


async def test_one_too_many_is_429_for_that_account_alone(admin: Api, other: Api, settings: Settings):
    async with (
        another(settings, requests_per_minute=3) as served,
        same(admin, served) as mine,
        same(other, served) as his,
    ):
        answers = [await mine.get("/version") for _ in range(4)]
        refused = answers.pop()

        assert {answer.status_code for answer in answers} == {200}
        error = error_of(refused, 429, "RATE_LIMITED")
        assert f"try again in {refused.headers['retry-after']} s" in error["message"]
        assert 1 <= int(refused.headers["retry-after"]) <= 20
        assert (await mine.http.get(f"{served.url}/livez")).status_code == 200
        async with client_of(served, None) as nobody:
            assert (await his.get("/auth")).json() == {"user": "olive", "type": "User"}
            assert (await nobody.get("/version")).status_code == 200


async def test_without_the_setting_there_is_no_limit(admin: Api):
    assert {(await admin.get("/version")).status_code for _ in range(100)} == {200}


def test_each_caller_has_a_minute_of_its_own():
    now = [0.0]
    pace = Pace(60, clock=lambda: now[0])
    for _ in range(60):
        pace.count(asking("a"))
    with pytest.raises(RateLimited, match="try again in 1 s"):
        pace.count(asking("a"))
    pace.count(asking("b"))

    now[0] = 1.0
    pace.count(asking("a"))
    with pytest.raises(RateLimited):
        pace.count(asking("a"))
