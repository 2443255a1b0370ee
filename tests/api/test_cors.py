"""What pages of other origins may do: nothing, unless the operator of the server names their origins."""

import pytest

from another import another, same
from asking import Api, error_of
from raworc.api.pace import Pace
from raworc.settings import Settings

pytestmark = pytest.mark.anyio

APP = "https://app.example"
ASKING = {"origin": APP, "access-control-request-method": "POST", "access-control-request-headers": "authorization"}


def cors_of(headers: object) -> dict[str, str]:
    return {name: value for name, value in dict(headers).items() if name.startswith("access-control-")}  # type: ignore[call-overload]


async def test_by_default_no_page_is_told_anything(admin: Api):
    for answer in (
        await admin.get("/agents"),
        await admin.ask("GET", "/agents", headers={"origin": APP}),
        await admin.ask("OPTIONS", "/agents", headers=ASKING),
    ):
        assert cors_of(answer.headers) == {}
        assert "vary" not in answer.headers
    error_of(await admin.ask("OPTIONS", "/agents", headers=ASKING), 405, "METHOD_NOT_ALLOWED")


@pytest.mark.parametrize(("named", "told"), [(f"http://localhost:3000, {APP.upper()}", APP), ("*", "*")])
async def test_pages_of_a_named_origin_may_ask_and_read(admin: Api, settings: Settings, named: str, told: str):
    async with another(settings, cors_origins=named) as served, same(admin, served) as api:
        before = await api.ask("OPTIONS", "/agents", headers=ASKING)
        good = await api.ask("GET", "/agents", headers={"origin": APP})
        bad = await api.ask("GET", "/agents/nothing-there", headers={"origin": APP})

        assert before.status_code == 200
        assert "POST" in before.headers["access-control-allow-methods"]
        assert "Authorization" in before.headers["access-control-allow-headers"]
        assert "X-Request-Id" in good.headers["access-control-expose-headers"]
        assert (good.status_code, bad.status_code) == (200, 404)
        for answer in (before, good, bad):
            assert answer.headers["access-control-allow-origin"] == told
            assert "Origin" in answer.headers["vary"]
            assert "access-control-allow-credentials" not in answer.headers


async def test_a_page_is_told_of_a_defect_as_well(admin: Api, settings: Settings, monkeypatch: pytest.MonkeyPatch):
    def broken(*_given: object) -> None:
        raise ValueError

    monkeypatch.setattr(Pace, "count", broken)
    async with another(settings, cors_origins=APP) as served, same(admin, served) as api:
        answer = await api.ask("GET", "/agents", headers={"origin": APP})

        error_of(answer, 500, "INTERNAL_SERVER_ERROR")
        assert answer.headers["access-control-allow-origin"] == APP


async def test_pages_of_other_origins_are_told_nothing_beside_named_ones(admin: Api, settings: Settings):
    async with another(settings, cors_origins=APP) as served, same(admin, served) as api:
        for origin in (f"{APP}.evil.example", "http://app.example", f"{APP}:8443", "null"):
            read = await api.ask("GET", "/agents", headers={"origin": origin})
            assert "access-control-allow-origin" not in read.headers
            answer = await api.ask("OPTIONS", "/agents", headers=ASKING | {"origin": origin})
            assert "origin" in error_of(answer, 400, "BAD_REQUEST")["message"]
            assert "access-control-allow-origin" not in answer.headers
