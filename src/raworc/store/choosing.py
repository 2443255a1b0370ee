"""Which recorded calls are meant, as conditions on ``requests`` and on the tables of their sums."""

from collections.abc import Iterator
from typing import Any, Final

from raworc.domain.ledger import Chosen
from raworc.domain.periods import Grain

_FIELDS: Final = ("space", "train_id", "account_id", "model", "request_type")


def where(chosen: Chosen, grain: Grain) -> str:
    """Conditions, each with its AND before it. Their values are ``values``'."""
    return "".join(f" AND {condition}" for condition in _conditions(chosen, grain))


def values(chosen: Chosen) -> dict[str, Any]:
    """The parameters of ``where``."""
    return {
        "spaces": sorted(chosen.spaces or ()),
        **{name: getattr(chosen, name) for name in _FIELDS},
        "least_status": chosen.outcome.least_status,
        "most_status": chosen.outcome.most_status,
    }


def _conditions(chosen: Chosen, grain: Grain) -> Iterator[str]:
    if chosen.spaces is not None:
        yield "space = ANY(%(spaces)s)"
    for name in _FIELDS:
        if getattr(chosen, name) is not None:
            yield f"{name} = %({name})s"
    if chosen.outcome.least_status is not None:
        yield "status_code BETWEEN %(least_status)s AND %(most_status)s"
    if grain == "call" and chosen.outcome.failed is not None:  # of sums it says which count is wanted
        yield f"error_type IS {'NOT ' if chosen.outcome.failed else ''}NULL"
