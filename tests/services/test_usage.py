"""An account's window of five hours: where it begins, what it holds, and what is known of its limit."""

from datetime import UTC, datetime, timedelta

import pytest

from calls import call, load
from raworc.domain.ledger import Chosen
from raworc.services.accounts import Caller
from raworc.services.usage import Usage
from raworc.store.database import Database

pytestmark = pytest.mark.anyio

NOW = datetime.now(UTC)
HEADERS = {
    "anthropic-ratelimit-unified-5h-utilization": "0.25",
    "anthropic-ratelimit-unified-5h-reset": "1795000000",
    "anthropic-ratelimit-unified-5h-status": "allowed",
}


async def test_nothing_was_ever_called(db: Database, admin: Caller) -> None:
    found = await Usage(db).current(admin, Chosen())
    assert (found.window.account_id, found.window.start, found.used, found.limit) == ("default", None, 0, 0)
    assert found.share == 0
    assert found.window.end > NOW


async def test_the_window_of_the_account_that_was_used_last(db: Database, admin: Caller) -> None:
    begun = NOW - timedelta(hours=3)
    calls = [
        call(begun - timedelta(hours=1), input_tokens=900),
        call(begun - timedelta(hours=6), input_tokens=90),
        call(begun, request_type="quota"),
        call(begun + timedelta(hours=2), space="lab"),
        call(begun - timedelta(hours=9), account_id="idle"),
        call(begun - timedelta(days=31), input_tokens=9_000),  # nobody's limit any more
    ]
    await load(db, calls)
    found = await Usage(db).current(admin, Chosen())
    # the window before ended at the very moment of the first one
    assert (found.window.account_id, found.window.start) == ("anthropic", calls[0].created_at)
    assert found.window.end == calls[0].created_at + timedelta(hours=5)
    assert (found.used, found.limit, found.source) == (910 + 110 + 110, 1130, "observed")
    assert {kind: sums.requests for kind, sums in found.by_type.items()} == {"inference": 2, "quota": 1}
    only = await Usage(db).current(admin, Chosen(space="lab"))
    assert (only.window, only.used, only.limit) == (found.window, 110, 1130)
    idle = await Usage(db).current(admin, Chosen(account_id="idle"))
    assert (idle.window.start, idle.used, idle.limit, idle.share) == (None, 0, 110, 0)


async def test_what_the_provider_says_of_the_limit_counts(db: Database, admin: Caller) -> None:
    silent = call(NOW - timedelta(minutes=1), response_headers={"x": "y"})
    await load(db, [call(NOW - timedelta(minutes=9), response_headers=HEADERS), silent])
    found = await Usage(db).current(admin, Chosen())
    assert (found.used, found.limit, found.share, found.source) == (220, 880, 0.25, "provider")
    assert found.told is not None
    assert (found.told.status, found.told.resets_at) == ("allowed", datetime.fromtimestamp(1795000000, UTC))
    await load(db, [call(NOW, response_headers=HEADERS | {"anthropic-ratelimit-unified-5h-utilization": "nan"})])
    assert (await Usage(db).current(admin, Chosen())).share == 0.25
