"""Figures: what was used, by whom, when, and what it cost; and whether this server can serve."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Final

import msgspec
from fastapi import Depends
from starlette.requests import Request
from starlette.responses import Response

from raworc import __version__
from raworc.api import exchange
from raworc.api.auth import MayListUsage
from raworc.api.parts import parts_of
from raworc.api.problems import problem_body
from raworc.api.render import Json, moment
from raworc.api.routes import Route
from raworc.api.train.queries import MOST_DAYS, FewDays, What, When, Where
from raworc.api.train.usage_schemas import CurrentUsage, DailyUsage, Health, Stats, TokenStats
from raworc.clock import now
from raworc.domain.usage import RequestType
from raworc.domain.windows import LENGTH, Told
from raworc.errors import BadRequest, FieldError, Unavailable
from raworc.services.usage import Current, Day, Sums

Shown = dict[str, Any]
_KINDS: Final[tuple[RequestType, ...]] = ("inference", "query_evaluation", "quota")
_READY_TIMEOUT_S: Final = 2.0
_UNKNOWN: Final = "unknown"


async def train_health(request: Request) -> Response:
    """Whether this server and its database answer; 503 and the error body, with the same fields, when they do not."""
    found: Shown = {"status": "ok", "timestamp": moment(now()), "version": __version__, "database": "connected"}
    try:
        async with asyncio.timeout(_READY_TIMEOUT_S):
            await parts_of(request).ready()
    except (TimeoutError, Unavailable):
        error = Unavailable("The database does not answer; try again shortly")
        body = msgspec.json.decode(problem_body(error, request_id=exchange.of(request.scope).request_id))
        found |= {**body, "status": "error", "database": "disconnected"}
        return Json(found, status=error.status, headers={"Retry-After": "1"})
    return Json(found)


async def token_stats(
    request: Request,
    caller: MayListUsage,
    where: Annotated[Where, Depends()],
    what: Annotated[What, Depends()],
    when: Annotated[When, Depends()],
) -> Response:
    """Tokens of all recorded calls, by train and by model; of all time unless a period is asked for."""
    found = await parts_of(request).train.usage.totals(caller, where.chosen(when, what))
    trains: dict[str, dict[RequestType, Sums]] = {}
    for (train, kind), sums in found.by_train.items():
        trains.setdefault(train, {})[kind] = sums
    return Json(
        {
            "total_requests": found.all.requests,
            "total_tokens": _tokens(found.all),
            **_money(found.all),
            "by_train": {train: _used(_together(kinds)) | _by_type(kinds) for train, kinds in sorted(trains.items())},
            "by_model": {model or _UNKNOWN: _used(sums) for model, sums in sorted(found.by_model.items())},
        }
    )


async def stats(
    request: Request,
    caller: MayListUsage,
    where: Annotated[Where, Depends()],
    what: Annotated[What, Depends()],
    when: Annotated[When, Depends()],
) -> Response:
    """The figures of the last 24 hours, or of a period."""
    found = await parts_of(request).train.usage.stats(caller, where.chosen(when, what))
    sums = found.sums
    return Json(
        {
            "total_requests": sums.requests,
            "total_tokens": sums.total_tokens,
            "active_trains": found.trains,
            "total_subtasks": found.subtasks,
            "success_rate": 100 * (1 - sums.failed / sums.requests) if sums.requests else 100.0,
            "average_latency": sums.duration_ms / sums.requests if sums.requests else 0.0,
            "period": {"start": moment(found.start), "end": moment(found.end)},
            **_money(sums),
        }
    )


async def current_usage(request: Request, caller: MayListUsage, where: Annotated[Where, Depends()]) -> Response:
    """What is used of an account's window of five hours; of the account that was used last unless one is named."""
    return Json(_window(await parts_of(request).train.usage.current(caller, where.chosen())))


async def daily_usage(
    request: Request,
    caller: MayListUsage,
    where: Annotated[Where, Depends()],
    what: Annotated[What, Depends()],
    when: Annotated[When, Depends()],
    days: FewDays = 30,
) -> Response:
    """Days (UTC) without a gap, the oldest first, today the last one; or the days of a period."""
    chosen = where.chosen(when, what)
    if when.start is not None and min(chosen.end, now()) - chosen.start > timedelta(days=MOST_DAYS):
        detail = FieldError("from", f"must be at most {MOST_DAYS} days before the period's end")
        raise BadRequest(f"'{detail.field}' {detail.message}", details=(detail,))
    found = await parts_of(request).train.usage.daily(caller, chosen, days)
    return Json(
        {
            "account_id": found.account_id,
            "period": {"start": moment(found.start), "end": moment(found.end)},
            "days": [_day(day) for day in found.days],
            "totals": _spent(sum((day.sums for day in found.days), Sums())),
        }
    )


def _tokens(sums: Sums) -> Shown:
    return {
        "input": sums.input_tokens,
        "output": sums.output_tokens,
        "total": sums.total_tokens,
        "cache_creation": sums.cache_creation_input_tokens,
        "cache_read": sums.cache_read_input_tokens,
    }


def _money(sums: Sums) -> Shown:
    return {"cost_usd": float(sums.cost_usd), "unpriced_requests": sums.unpriced}


def _used(sums: Sums) -> Shown:
    return {"requests": sums.requests, "tokens": _tokens(sums), **_money(sums)}


def _by_type(kinds: Mapping[RequestType, Sums]) -> Shown:
    return {"by_type": {kind: kinds[kind].requests if kind in kinds else 0 for kind in _KINDS}}


def _together(parts: Mapping[RequestType, Sums]) -> Sums:
    return sum(parts.values(), Sums())


def _window(found: Current) -> Shown:
    window = found.window
    used = {
        "tokens_used": found.used,
        "limit": found.limit,
        "percentage": 100 * found.share,
        "reset_at": moment(window.end),
    }
    return {
        "account_id": window.account_id,
        "window_minutes": LENGTH // timedelta(minutes=1),
        "window_start": moment(window.start),
        "usage": used,
        "requests": {"count": _together(found.by_type).requests, **_by_type(found.by_type)},
        "source": found.source,
        "provider": _told(found.told),
    }


def _told(told: Told | None) -> Shown | None:
    if told is None:
        return None
    return {"utilization": told.share, "reset_at": moment(told.resets_at), "status": told.status}


def _spent(sums: Sums) -> Shown:
    return {
        "requests": sums.requests,
        "input_tokens": sums.input_tokens,
        "output_tokens": sums.output_tokens,
        "total_tokens": sums.total_tokens,
        "cache_creation_input_tokens": sums.cache_creation_input_tokens,
        "cache_read_input_tokens": sums.cache_read_input_tokens,
        "estimated_cost": float(sums.cost_usd),
        "unpriced_requests": sums.unpriced,
    }


def _day(day: Day) -> Shown:
    models = sorted(day.by_model.items())
    by_model = {model or _UNKNOWN: {"requests": one.requests, "tokens": one.total_tokens} for model, one in models}
    return {"date": day.at.date().isoformat(), **_spent(day.sums), "by_model": by_model}


ROUTES: Final = (
    Route("GET", "/health", train_health, Health, fails=(Unavailable,), is_root=True),
    Route("GET", "/token-stats", token_stats, TokenStats, is_root=True),
    Route("GET", "/api/stats", stats, Stats, is_root=True),
    Route("GET", "/api/token-usage/current", current_usage, CurrentUsage, is_root=True),
    Route("GET", "/api/token-usage/daily", daily_usage, DailyUsage, is_root=True),
)
