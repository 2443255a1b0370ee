"""Debian's Chromium, driven by Playwright: what a person's browser makes of our pages."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.async_api import ConsoleMessage, Page, async_playwright

CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium: 'apt-get install chromium' brings it")


@dataclass
class Visit:
    """A page, the hosts it asked, and what it complained of (violations of the page's policy among it)."""

    page: Page
    hosts: set[str] = field(default_factory=set)
    complaints: list[str] = field(default_factory=list)

    def note(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(message.text)


@asynccontextmanager
async def visiting(profile: Path) -> AsyncIterator[Visit]:
    """A browser with an empty profile that no test of another file has seen."""
    async with async_playwright() as playwright:
        context = await playwright.chromium.launch_persistent_context(
            str(profile), executable_path=CHROMIUM, args=FLAGS, chromium_sandbox=False, timeout=30_000
        )
        try:
            visit = Visit(context.pages[0])
            visit.page.on("console", visit.note)
            visit.page.on("pageerror", lambda error: visit.complaints.append(str(error)))
            visit.page.on("request", lambda request: visit.hosts.add(urlsplit(request.url).netloc))
            yield visit
        finally:
            await context.close()
