"""What pages of other origins may do: nothing, unless the operator of the server names their origins."""

import pytest

from another import another, same
from asking import Api, error_of
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


@pytest.mark.parametrize("named", [f"http://localhost:3000, {APP.upper()}", "*"])
async def test_pages_of_a_named_origin_may_ask_and_read(admin: Api, settings: Settings, named: str):
    async with another(settings, cors_origins=named) as served, same(admin, served) as api:
        before = await api.ask("OPTIONS", "/agents", headers=ASKING)
        good = await api.ask("GET", "/agents", headers={"origin": APP})
        bad = await api.ask("GET", "/agents/nothing-there", headers={"origin": APP})

        assert before.status_code == 204
        assert "POST" in before.headers["access-control-allow-methods"]
        assert "Authorization" in before.headers["access-control-allow-headers"]
        assert (good.status_code, bad.status_code) == (200, 404)
        for answer in (before, good, bad):
            assert answer.headers["access-control-allow-origin"] == APP
            assert answer.headers["vary"] == "Origin"
            assert "access-control-allow-credentials" not in answer.headers


async def test_pages_of_other_origins_are_told_nothing_beside_named_ones(admin: Api, settings: Settings):
    async with another(settings, cors_origins=APP) as served, same(admin, served) as api:
        for origin in (f"{APP}.evil.example", "http://app.example", f"{APP}:8443", "null"):
            assert cors_of((await api.ask("GET", "/agents", headers={"origin": origin})).headers) == {}
            answer = await api.ask("OPTIONS", "/agents", headers=ASKING | {"origin": origin})
            error_of(answer, 405, "METHOD_NOT_ALLOWED")
            assert cors_of(answer.headers) == {}
