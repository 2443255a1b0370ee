"""What the dashboard's figures look like, as their document has them; fields it does not name are additions."""

from typing import Literal

from pydantic import Field

from raworc.api.agents.schemas import Time
from raworc.api.schemas import Answer


class Health(Answer):
    """Whether this server can serve."""

    status: Literal["ok", "error"] = Field(description="`error` comes with status 503")
    timestamp: Time = Field(description="When it was asked")
    version: str = Field(description="Of the server")
    database: Literal["connected", "disconnected"] = Field(description="Whether the database answers")


class Money(Answer):
    """What calls cost together."""

    cost_usd: float = Field(description="US dollars, of the calls whose price is known")
    unpriced_requests: int = Field(description="Calls with tokens whose price is not known")


class TokenCount(Answer):
    """Tokens of calls together."""

    input: int = Field(description="Read by models, without what came from or went into a cache")
    output: int = Field(description="Written by models")
    total: int = Field(description="Both together")
    cache_creation: int = Field(description="Written into providers' caches")
    cache_read: int = Field(description="Read from providers' caches")


class KindCount(Answer):
    """Calls by kind."""

    inference: int = Field(description="Calls with tools, or more than one system block")
    query_evaluation: int = Field(description="Calls without tools and with at most one system block")
    quota: int = Field(description="Calls that only ask whether there is quota left")


class ModelStats(Money):
    """What calls used together."""

    requests: int = Field(description="How many")
    tokens: TokenCount = Field(description="Their tokens")


class TrainStats(ModelStats):
    """What the calls of a train used."""

    by_type: KindCount = Field(description="The calls by kind")


class TokenStats(Money):
    """What calls used, together and apart."""

    total_requests: int = Field(description="How many calls")
    total_tokens: TokenCount = Field(description="Their tokens")
    by_train: dict[str, TrainStats] = Field(description="The same by train")
    by_model: dict[str, ModelStats] = Field(description="The same by model; `unknown` where none was named")


class Period(Answer):
    """From when on and until when."""

    start: Time = Field(description="Its start, which belongs to it")
    end: Time = Field(description="Its end, which does not")


class Stats(Money):
    """The figures of a period."""

    total_requests: int = Field(description="How many calls")
    total_tokens: int = Field(description="Input and output tokens")
    active_trains: int = Field(description="How many trains made calls")
    total_subtasks: int = Field(description="Subtasks that began")
    success_rate: float = Field(description="Percentage of calls that were answered in full; 100 where there are none")
    average_latency: float = Field(description="Milliseconds from a call's start to its answer's end, on average")
    period: Period = Field(description="What is counted")


class ProviderWindow(Answer):
    """What the provider itself says of the window."""

    utilization: float = Field(description="The share that is used, 1 for all")
    reset_at: Time | None = Field(description="When it ends, by the provider's word")
    status: str | None = Field(description="The provider's own word")


class WindowUsage(Answer):
    """What is used of a window."""

    tokens_used: int = Field(description="Input and output tokens")
    limit: int = Field(description="Tokens that the window seems to allow; 0 where nothing is known")
    percentage: float = Field(description="What is used of the limit; 100 is all")
    reset_at: Time = Field(description="When the window ends; between two, when one that began now would")


class WindowRequests(Answer):
    """The calls of a window."""

    count: int = Field(description="How many")
    by_type: KindCount = Field(description="The same by kind")


class CurrentUsage(Answer):
    """The window that an account is in: five hours from the first call after the one before ended."""

    account_id: str = Field(description="The upstream account")
    window_minutes: int = Field(description="Always 300")
    window_start: Time | None = Field(description="When it began; null between two windows")
    usage: WindowUsage = Field(description="What is used of it")
    requests: WindowRequests = Field(description="Its calls")
    source: Literal["provider", "observed"] = Field(
        description="Where the limit is from: the provider's share, or the largest window of the last 30 days"
    )
    provider: ProviderWindow | None = Field(description="What the provider says, where it does")


class ModelDay(Answer):
    """The calls of a model on a day."""

    requests: int = Field(description="How many")
    tokens: int = Field(description="Input and output tokens")


class UsedTokens(Answer):
    """What calls used together."""

    requests: int = Field(description="How many")
    input_tokens: int = Field(description="As providers count, without caches")
    output_tokens: int = Field(description="As providers count")
    total_tokens: int = Field(description="Both together")
    cache_creation_input_tokens: int = Field(description="Written into providers' caches")
    cache_read_input_tokens: int = Field(description="Read from providers' caches")
    estimated_cost: float = Field(description="US dollars, of the calls whose price is known")
    unpriced_requests: int = Field(description="Calls with tokens whose price is not known")


class DailyData(UsedTokens):
    """One day."""

    date: str = Field(description="YYYY-MM-DD, in UTC")
    by_model: dict[str, ModelDay] = Field(description="The same by model; `unknown` where none was named")


class DailyUsage(Answer):
    """Days without a gap, the oldest first."""

    account_id: str = Field(description="The upstream account; `all` where none was asked for")
    period: Period = Field(description="From the first day's beginning to the last one's end")
    days: list[DailyData] = Field(description="One for each day, also where nothing was called")
    totals: UsedTokens = Field(description="All days together")
