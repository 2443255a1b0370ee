"""Our own gateway passes every check, those of its own included."""

from pathlib import Path

import pytest

from conformance.judging import judged
from raworc.conformance import CHECKS, WIRES, Wire

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.name)
async def test_every_check_holds(home: Path, wire: Wire) -> None:
    async with judged(home) as judge:
        results = await judge.results(wire, own=True)
    failed = [(result.name, result.expected, result.came) for result in results if result.outcome != "ok"]
    assert failed == []
    assert len(results) == len([check for check in CHECKS if check.concerns(wire)]) > 80


def test_no_two_checks_share_a_name() -> None:
    assert len({check.name for check in CHECKS}) == len(CHECKS)
