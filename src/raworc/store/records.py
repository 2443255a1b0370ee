"""The second page of the data model: recorded model calls, partitioned by day, their hourly sums, and two views.

``requests`` is the ledger, one narrow row a call; ``request_bodies`` holds what was said. Both are partitioned by
``created_at`` (the call's start), one partition a day in the schema ``request_days``, made when its first row
comes. There are no foreign keys and no default partition: a day is dropped whole. The views ``api_requests`` and
``streaming_chunks`` have the documented columns first and never fail, whatever bytes were recorded.
"""

from typing import Any

from sqlalchemy import (
    DDL,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Index,
    Integer,
    LargeBinary,
    Numeric,
    PrimaryKeyConstraint,
    Table,
    Text,
    event,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, UUID

from raworc.store.schema import metadata

DAYS = "request_days"


def _identity() -> list[Column[Any]]:
    return [
        Column("id", UUID, nullable=False),
        Column("created_at", DateTime(timezone=True), nullable=False),  # the call's start, by its server's clock
    ]


def _number(name: str) -> Column[int]:
    return Column(name, Integer, nullable=False, server_default=text("0"))


def _sum(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False, server_default=text("0"))


requests = Table(
    "requests",
    metadata,
    *_identity(),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    # who and for what
    Column("caller", Text, nullable=False),  # login turn sandbox passthrough none
    Column("caller_id", UUID),  # accounts.id of a login
    Column("space", Text),  # null: refused before it was known
    Column("train_id", Text, nullable=False),
    Column("session_id", UUID),
    Column("turn_id", UUID),
    Column("account_id", Text),  # the upstream's name
    # what, and how it ended
    Column("method", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("query", Text),
    Column("model", Text),
    Column("request_type", Text, nullable=False),  # inference query_evaluation quota
    Column("streamed", Boolean, nullable=False),
    Column("status_code", Integer),  # what the client got; null when it got nothing
    Column("upstream_status", Integer),  # what the provider answered; null when it was not reached
    Column("error_type", Text),  # null: answered in full
    Column("error_message", Text),
    Column("stop_reason", Text),
    Column("bodies", Text, nullable=False),  # kept, unstorable
    # how much, how long
    _number("input_tokens"),
    _number("output_tokens"),
    _number("cache_creation_input_tokens"),
    _number("cache_creation_5m_input_tokens"),
    _number("cache_creation_1h_input_tokens"),
    _number("cache_read_input_tokens"),
    Column("usage", JSONB),  # as the provider said it
    Column("cost_usd", Numeric),  # null: no price known
    Column("price_version", Text),
    Column("first_byte_ms", Integer),
    Column("duration_ms", Integer),
    # which conversation
    Column("session_key", Text),
    Column("conversation_id", UUID),
    Column("branch_id", Text, server_default=text("'main'")),
    Column("message_count", Integer),
    Column("system_hash", Text),
    Column("current_message_hash", Text),
    Column("parent_message_hash", Text),
    Column("parent_request_id", UUID),
    Column("retry_of", UUID),
    Column("link_source", Text),  # header prefix compact task none; null: not linked yet
    Column("is_subtask", Boolean, nullable=False, server_default=text("false")),
    Column("parent_task_request_id", UUID),
    Column("task_tool_invocation", JSONB),
    PrimaryKeyConstraint("id", "created_at"),
    Index("ix_requests_created_at", "created_at", "id"),
    Index("ix_requests_space", "space", "created_at"),
    Index("ix_requests_session_id", "session_id", "created_at", postgresql_where=text("session_id IS NOT NULL")),
    Index("ix_requests_turn_id", "turn_id", "created_at", postgresql_where=text("turn_id IS NOT NULL")),
    postgresql_partition_by="RANGE (created_at)",
)

request_bodies = Table(
    "request_bodies",
    metadata,
    *_identity(),
    Column("request_headers", JSONB),  # without credentials
    Column("request_body", LargeBinary),  # the bytes as sent, known secrets struck out
    Column("response_headers", JSONB),
    Column("response_body", LargeBinary),  # the bytes as sent; of a stream the message put together, as JSON
    Column("stream", LargeBinary),  # every byte of a stream's body
    Column("offsets", ARRAY(Integer)),  # where each of its chunks begins
    Column("at_ms", ARRAY(Integer)),  # when it came, after created_at
    PrimaryKeyConstraint("id", "created_at"),
    postgresql_partition_by="RANGE (created_at)",
)

request_hours = Table(  # sums of `requests`, written in the same transaction; '' stands for null
    "request_hours",
    metadata,
    Column("hour", DateTime(timezone=True), primary_key=True),
    Column("space", Text, primary_key=True),
    Column("train_id", Text, primary_key=True),
    Column("account_id", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("request_type", Text, primary_key=True),
    _sum("requests"),
    _sum("failed"),
    _sum("input_tokens"),
    _sum("output_tokens"),
    _sum("cache_creation_input_tokens"),
    _sum("cache_read_input_tokens"),
    _sum("duration_ms"),
    Column("cost_usd", Numeric, nullable=False, server_default=text("0")),
    _sum("unpriced"),
)

spool_positions = Table(  # how far each server's spool is loaded
    "spool_positions",
    metadata,
    Column("worker_id", UUID, primary_key=True),
    Column("node", Text, nullable=False),
    Column("number", Integer, nullable=False),  # of the file
    Column("position", BigInteger, nullable=False),  # in bytes
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)

_FUNCTIONS = """
CREATE SCHEMA request_days;
CREATE FUNCTION raworc_text(body bytea) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT AS $$
BEGIN
    RETURN convert_from(body, 'UTF8');
EXCEPTION WHEN OTHERS THEN
    RETURN encode(body, 'escape');
END $$;
CREATE FUNCTION raworc_json(body bytea) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE STRICT AS $$
BEGIN
    RETURN convert_from(body, 'UTF8')::jsonb;
EXCEPTION WHEN OTHERS THEN
    RETURN to_jsonb(raworc_text(body));
END $$
"""

_API_REQUESTS = """
CREATE VIEW api_requests AS SELECT
    r.id, r.train_id::varchar(255), r.account_id::varchar(255), r.method::varchar(10), r.path::varchar(255),
    r.status_code, r.error_type::varchar(255), r.error_message, r.model::varchar(100),
    r.request_type::varchar(50), r.input_tokens, r.output_tokens,
    r.input_tokens + r.output_tokens AS total_tokens, r.duration_ms AS response_time_ms,
    raworc_json(b.request_body) AS request_body, raworc_json(b.response_body) AS response_body,
    b.request_headers AS headers, r.conversation_id, r.branch_id::varchar(50),
    r.current_message_hash::varchar(64), r.parent_message_hash::varchar(64), r.is_subtask,
    r.parent_task_request_id, r.task_tool_invocation,
    r.created_at AT TIME ZONE 'UTC' AS created_at, r.updated_at AT TIME ZONE 'UTC' AS updated_at,
    r.cache_creation_input_tokens, r.cache_creation_5m_input_tokens, r.cache_creation_1h_input_tokens,
    r.cache_read_input_tokens, r.usage, r.cost_usd, r.price_version, r.first_byte_ms, r.duration_ms, r.stop_reason,
    r.session_key, r.session_id, r.turn_id, r.space, r.caller, r.caller_id, r.query, r.streamed, r.bodies,
    r.upstream_status, b.response_headers AS upstream_headers, r.system_hash, r.link_source,
    r.message_count, r.parent_request_id, r.retry_of
FROM requests r LEFT JOIN request_bodies b ON b.id = r.id AND b.created_at = r.created_at
"""

_STREAMING_CHUNKS = """
CREATE VIEW streaming_chunks AS SELECT
    overlay(overlay(md5(s.id::text || '/' || n) PLACING '4' FROM 13) PLACING '8' FROM 17)::uuid AS id,
    s.id AS request_id, n - 1 AS chunk_index,
    raworc_text(substring(s.whole FROM s.offsets[n] + 1
        FOR coalesce(s.offsets[n + 1], length(s.whole)) - s.offsets[n])) AS content,
    (s.created_at + s.at_ms[n] * interval '1 millisecond') AT TIME ZONE 'UTC' AS created_at
FROM (SELECT id, created_at, offsets, at_ms, stream || ''::bytea AS whole FROM request_bodies
    WHERE stream IS NOT NULL OFFSET 0) s
CROSS JOIN LATERAL generate_series(1, cardinality(s.offsets)) n
"""

for _statement in (_FUNCTIONS, _API_REQUESTS, _STREAMING_CHUNKS):
    event.listen(metadata, "after_create", DDL(_statement))
