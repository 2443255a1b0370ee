"""Another server of the same installation, under other settings, inside the test's event loop."""

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from asking import Api, client_of
from raworc.api.edge import EdgeOptions
from raworc.settings import Settings
from raworc.wiring.server import server_parts
from served import Served, serve


@asynccontextmanager
async def another(settings: Settings, **changes: Any) -> AsyncIterator[Served]:
    with tempfile.TemporaryDirectory(prefix="rw-", dir="/tmp") as folder:
        options = EdgeOptions(door_socket=f"{folder}/gateway.sock", model_socket=f"{folder}/m.sock", door_key=b"k")
        async with server_parts(replace(settings, **changes)) as parts, serve(parts.app, options) as served:
            yield served


@asynccontextmanager
async def same(api: Api, served: Served) -> AsyncIterator[Api]:
    """The same account's client at another server."""
    token = api.http.headers["authorization"].removeprefix("Bearer ")
    async with client_of(served, token) as client:
        yield client
