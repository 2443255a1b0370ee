"""Query parameters of the dashboard's routes: which calls are meant, and which page of them."""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final

from fastapi import Query
from pydantic import AfterValidator, BeforeValidator, WithJsonSchema

from raworc.api.queries import whole
from raworc.api.train.key_schemas import Moment, TrainId
from raworc.domain.ledger import Chosen, Outcome, outcome
from raworc.domain.periods import BEGINNING, END
from raworc.domain.usage import RequestType
from raworc.errors import BadRequest, FieldError

_NAME: Final = re.compile(r"[^\x00-\x1f\x7f]{1,255}")
MOST_DAYS: Final = 366


def _name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError("must be 1 to 255 characters without control characters")
    return value


def _status(value: str) -> str:
    outcome(value)
    return value


def _count(least: int, most: int) -> BeforeValidator:
    return BeforeValidator(lambda value: value if value is None else whole(value, least=least, most=most))


def _days(value: object) -> int:
    days = whole(value, least=1)
    if days > MOST_DAYS - 1:
        raise ValueError(f"must be at most {MOST_DAYS - 1}")
    return days


def _integer(least: int) -> WithJsonSchema:
    return WithJsonSchema({"type": "integer", "minimum": least})


Name = Annotated[str, AfterValidator(_name), WithJsonSchema({"type": "string", "minLength": 1, "maxLength": 255})]
Status = Annotated[str, AfterValidator(_status), WithJsonSchema({"type": "string"})]
FewDays = Annotated[
    int,
    BeforeValidator(_days),
    WithJsonSchema({"type": "integer", "minimum": 1, "maximum": MOST_DAYS - 1}),
    Query(description="How many days, today included; ignored when `from` or `to` is given"),
]


@dataclass(frozen=True)
class Where:
    """Whose calls are meant."""

    space: Annotated[Name | None, Query(description="Calls that are booked under this space")] = None
    train_id: Annotated[TrainId | None, Query(alias="trainId", description="Calls of this train")] = None
    account_id: Annotated[Name | None, Query(alias="accountId", description="Calls of this upstream account")] = None

    def chosen(self, when: "When | None" = None, what: "What | None" = None) -> Chosen:
        """The calls that are meant.

        Raises:
            BadRequest: the period ends before it begins.
        """
        start, end = when.bounds() if when else (BEGINNING, END)
        return Chosen(
            space=self.space,
            train_id=self.train_id,
            account_id=self.account_id,
            model=what.model if what else None,
            request_type=what.request_type if what else None,
            outcome=what.outcome if what else Outcome(),
            start=start,
            end=end,
        )


@dataclass(frozen=True)
class What:
    """What kind of calls are meant, and how they ended."""

    model: Annotated[Name | None, Query(description="Calls that asked for this model")] = None
    request_type: Annotated[RequestType | None, Query(alias="requestType", description="Calls of this kind")] = None
    status: Annotated[
        Status | None, Query(description="`success`, `error`, a status code as `429`, or a class of them as `4xx`")
    ] = None

    @property
    def outcome(self) -> Outcome:
        """How they ended."""
        return outcome(self.status) if self.status else Outcome()


@dataclass(frozen=True)
class When:
    """A period; times without an offset are UTC, a date is its beginning."""

    start: Annotated[Moment | None, Query(alias="from", description="From this time on")] = None
    end: Annotated[Moment | None, Query(alias="to", description="Before this time")] = None

    def bounds(self) -> tuple[datetime, datetime]:
        """The period's start and end.

        Raises:
            BadRequest: it ends before it begins.
        """
        start, end = max(self.start or BEGINNING, BEGINNING), min(self.end or END, END)
        if start > end:
            detail = FieldError("to", "must not be before 'from'")
            raise BadRequest(f"'{detail.field}' {detail.message}", details=(detail,))
        return start, end


@dataclass(frozen=True)
class Page:
    """Which page: by its number and size, or by what is skipped and how many are wanted."""

    page: Annotated[int | None, _count(1, 2**53), _integer(1), Query(description="Page, from 1")] = None
    per_page: Annotated[
        int | None, _count(1, 100), _integer(1), Query(description="Page size, 50 by default; above 100 counts as 100")
    ] = None
    limit: Annotated[
        int | None, _count(1, 100), _integer(1), Query(description="The same as `per_page`, which it overrides")
    ] = None
    offset: Annotated[
        int | None, _count(0, 2**53), _integer(0), Query(description="How many to skip; then `page` is ignored")
    ] = None

    @property
    def size(self) -> int:
        """How many are wanted."""
        return self.limit or self.per_page or 50

    @property
    def skipped(self) -> int:
        """How many stand before them."""
        return min((self.page or 1) * self.size - self.size if self.offset is None else self.offset, 2**53)

    def shown(self, total: int) -> dict[str, int]:
        """Where this page stands among ``total``, as the documents say it."""
        pages = max(1, -(-total // self.size))
        return {"total": total, "page": self.skipped // self.size + 1, "per_page": self.size, "total_pages": pages}
