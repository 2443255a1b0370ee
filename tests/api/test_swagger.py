"""The page that browses the API, in a real browser."""

from pathlib import Path

import pytest
from playwright.async_api import expect

from asking import Api
from browser import needs_browser, visiting
from raworc.api.app import DOCUMENTS

pytestmark = [pytest.mark.anyio, needs_browser]


async def test_the_page_lists_and_calls_every_operation_and_asks_nobody_else(nobody: Api, tmp_path: Path):
    address = nobody.served.url
    async with visiting(tmp_path) as visit:
        page = visit.page
        await page.goto(f"{address}/swagger-ui/")
        await expect(page.locator(".opblock")).to_have_count(len(DOCUMENTS["agents"]), timeout=20_000)
        assert await page.locator("select option").all_inner_texts() == list(DOCUMENTS)

        version = page.locator(".opblock", has_text="/api/v0/version")
        await version.click()
        await version.get_by_role("button", name="Try it out").click()
        await version.get_by_role("button", name="Execute").click()
        await expect(version.locator(".live-responses-table .response-col_status").last).to_contain_text("200")

    assert visit.complaints == []
    assert {host for host in visit.hosts if host} == {address.removeprefix("http://")}
