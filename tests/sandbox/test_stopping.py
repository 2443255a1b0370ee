"""Freezing where there is no control group for it: an ordinary user's host, many a container."""

import pytest

from raworc.sandbox import cgroups
from raworc.sandbox.conformance import Bench, life
from raworc.sandbox.conformance.bench import run
from raworc.sandbox.driver import SandboxError

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _without_a_freezer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "can_freeze", lambda _group: False)


FREEZING = [case for case in life.CASES if "freez" in case.__name__ or "frozen" in case.__name__]


@pytest.mark.parametrize("case", FREEZING, ids=lambda case: case.__name__)
async def test_it_is_as_with_one(bench: Bench, case: life.Case):
    await case(bench)


async def test_it_is_no_longer_refused(bench: Bench):
    async with bench.sandbox() as sandbox:
        await sandbox.freeze()
        await sandbox.thaw()
        assert (await run(sandbox, "echo runs")).text == "runs"


async def test_what_does_not_stop_in_time_goes_on_and_is_told(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("raworc.sandbox.stopping._WITHIN_S", -1.0)
    async with bench.sandbox() as sandbox:
        with pytest.raises(SandboxError, match="could not be frozen: its processes do not stop"):
            await sandbox.freeze()
        assert (await run(sandbox, "echo runs")).text == "runs"
