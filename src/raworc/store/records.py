"""The second page of the data model: model calls and who may make them, their conversations and sums, and two views.

``requests`` is the ledger, one narrow row a call; ``request_bodies`` holds what was said. Both are partitioned by
``created_at`` (the call's start), one partition a day in the schema ``request_days``, made when its first row
comes. They have no foreign keys and no default partition: a day is dropped whole. The views ``api_requests`` and
``streaming_chunks`` have the documented columns first and never fail, whatever bytes were recorded.
"""

from typing import Any

from sqlalchemy import (
    DDL,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    ForeignKey,
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

from raworc.store.signing_in import metadata

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
    Column("caller", Text, nullable=False),  # login key turn sandbox passthrough none
    Column("caller_id", UUID),  # accounts.id of a login or key
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
    Column("note", Text),  # what the record does not tell, for people; null: nothing is missing
    Column(
        "bodies", Text, nullable=False
    ),  # kept incomplete unstorable; omitted: of calls whose content is not recorded
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
    Column("attempts", JSONB),  # before the last one: [{"account_id", "status" or "error"}]; null: none
    Column("message_count", Integer),
    Column("task_tool_invocation", JSONB),  # the uses of tools that start subtasks: [{"id", "name", "input"}]
    Column("number", BigInteger, nullable=False),  # in the order of storing, see `ledger`
    PrimaryKeyConstraint("id", "created_at"),
    Index("ix_requests_created_at", "created_at", "id"),
    Index("ix_requests_number", "number"),
    Index("ix_requests_train_id", "train_id", "created_at"),
    Index("ix_requests_account_id", "account_id", "created_at", postgresql_where=text("account_id IS NOT NULL")),
    Index("ix_requests_model", "model", "created_at", postgresql_where=text("model IS NOT NULL")),
    Index("ix_requests_failed", "created_at", postgresql_where=text("error_type IS NOT NULL")),
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
    PrimaryKeyConstraint("created_at", "id"),
    postgresql_partition_by="RANGE (created_at)",
)

client_keys = Table(  # what outside programs call models with
    "client_keys",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("name", Text, nullable=False),
    Column("space", Text, ForeignKey("spaces.name", ondelete="CASCADE"), nullable=False),
    Column("owner_id", UUID, ForeignKey("accounts.id", ondelete="CASCADE"), nullable=False),
    Column("digest", LargeBinary, nullable=False, unique=True),  # SHA-256: the key itself is nowhere
    Column("prefix", Text, nullable=False),
    Column("train_id", Text),  # null: the caller names one
    Column("models", ARRAY(Text), nullable=False, server_default=text("'{}'::text[]")),  # patterns; none: all
    Column("budget", JSONB),  # {"usd", "tokens", "calls", "per"}
    Column("expires_at", DateTime(timezone=True)),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Index("ix_client_keys_created_at", "created_at", "id"),
    Index("ix_client_keys_owner_id", "owner_id"),
    Index("ix_client_keys_space", "space"),
)

upstreams = Table(  # providers' accounts that model calls go to
    "upstreams",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("name", Text, nullable=False, unique=True),  # the account_id of calls
    Column("provider", Text, nullable=False),  # anthropic openai custom
    Column("base_url", Text, nullable=False),
    Column("models", ARRAY(Text), nullable=False, server_default=text("'{}'::text[]")),  # patterns; none: all
    Column("every_space", Boolean, nullable=False),  # else those of upstream_spaces
    Column("is_default", Boolean, nullable=False),
    Column("credential_kind", Text),  # key oauth; null: none is sent
    Column("key_version", Integer),  # of the data key of space `default`
    Column("nonce", LargeBinary),
    Column("ciphertext", LargeBinary),  # AES-256-GCM, bound to table and id
    Column("expires_at", DateTime(timezone=True)),  # of an OAuth access token
    Column("version", BigInteger, nullable=False, server_default=text("1")),  # another one with every change
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)

upstream_spaces = Table(  # whose calls an upstream serves
    "upstream_spaces",
    metadata,
    Column("upstream_id", UUID, ForeignKey("upstreams.id", ondelete="CASCADE"), primary_key=True),
    Column("space", Text, ForeignKey("spaces.name", ondelete="CASCADE"), primary_key=True),
    Index("ix_upstream_spaces_space", "space"),
)


upstream_cool_downs = Table(  # those that answered 429: spared while another one can serve
    "upstream_cool_downs",
    metadata,
    Column("name", Text, primary_key=True),  # also of those that only the environment knows
    Column("ends_at", DateTime(timezone=True), nullable=False),
)


def _sums(name: str, unit: str) -> Table:
    """Sums of ``requests`` by ``unit`` (UTC), written in the same transaction; '' and 0 stand for null."""
    keys = [Column(key, Text, primary_key=True) for key in ("space", "train_id", "account_id", "model", "request_type")]
    return Table(
        name,
        metadata,
        Column(unit, DateTime(timezone=True), primary_key=True),
        *keys,
        Column("status_code", Integer, primary_key=True, autoincrement=False),
        *[_sum(counted) for counted in ("requests", "failed", "input_tokens", "output_tokens")],
        *[_sum(counted) for counted in ("cache_creation_input_tokens", "cache_read_input_tokens", "duration_ms")],
        Column("cost_usd", Numeric, nullable=False, server_default=text("0")),
        _sum("unpriced"),  # calls with tokens of any kind whose price is not known
    )


request_hours = _sums("request_hours", "hour")
request_dates = _sums("request_dates", "day")  # so that sums of a year are sums of 365 days

usage_windows = Table(  # of each upstream account: five hours from its first call after the window before
    "usage_windows",
    metadata,
    Column("account_id", Text, primary_key=True),
    Column("starts_at", DateTime(timezone=True), primary_key=True),
    _sum("tokens"),  # input and output
)

ledger = Table(  # one row
    "ledger",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("last_number", BigInteger, nullable=False),  # of `requests`; whoever stores calls locks the row
    Column("kept_since", DateTime(timezone=True)),  # days before it were dropped and do not come back
)

# What a conversation's calls share leads the indexes of digests, so that a call is entered beside those before it.
_THREAD, _RESPONSE = [text(f"hash_record_extended(ROW(space, session, {name}), 0)") for name in ("first", "response")]
_WHOLE, _ANSWERED = text("SUBSTRING(whole FROM 1 FOR 7)"), text("SUBSTRING(answered FROM 1 FOR 7)")

links = Table(  # what each call says, as digests, and where in which conversation it was placed
    "links",
    metadata,
    *_identity(),
    Column("space", Text, nullable=False),
    Column("train_id", Text, nullable=False),
    Column("session", Text, nullable=False, server_default=""),  # named by the client; '' stands for none
    Column("agent", Text, nullable=False, server_default=""),
    Column("parent_agent", Text, nullable=False, server_default=""),
    # see domain/digests.py
    Column("first", LargeBinary, nullable=False),  # of the first message: all that may follow each other share it
    Column("whole", LargeBinary, nullable=False),
    Column("prefixes", LargeBinary, nullable=False),  # 32 bytes each, the last one is `whole`
    Column("answered", LargeBinary),
    Column("response", LargeBinary),
    Column("body_digest", LargeBinary, nullable=False),
    Column("system_digest", LargeBinary),
    Column("prompt", LargeBinary),
    Column("opening", Text, nullable=False, server_default=""),
    Column("tasks", JSONB),  # [[tool use id, digest of its prompt in hex]]
    Column("summary", Text),
    Column("ok", Boolean, nullable=False),
    Column("side", Boolean, nullable=False),
    # see domain/conversations.py; null until it is placed
    Column("conversation_id", UUID),
    Column("branch_id", Text),
    Column("source", Text),  # header prefix compact task none
    Column("parent_id", UUID),
    Column("parent_digest", LargeBinary),
    Column("retry_of", UUID),
    Column("is_subtask", Boolean, nullable=False, server_default=text("false")),
    Column("parent_task_id", UUID),
    Column("task_use", Text),  # the tool use of that request which started the subtask
    PrimaryKeyConstraint("created_at", "id"),
    Index("ix_links_unplaced", "created_at", "id", postgresql_where=text("conversation_id IS NULL")),
    Index("ix_links_first", _THREAD, "created_at", postgresql_where=text("session = ''")),
    Index("ix_links_whole", _THREAD, _WHOLE, "created_at"),
    Index("ix_links_answered", _THREAD, _ANSWERED, "created_at", postgresql_where=text("answered IS NOT NULL")),
    Index("ix_links_response", _RESPONSE, "created_at", postgresql_where=text("response IS NOT NULL")),
    Index("ix_links_agent", "space", "session", "agent", "created_at", postgresql_where=text("session <> ''")),
    Index("ix_links_prompt", "space", "prompt", "created_at", postgresql_where=text("prompt IS NOT NULL")),
    Index("ix_links_summary", "space", "created_at", postgresql_where=text("summary IS NOT NULL")),
    Index("ix_links_parent_id", "conversation_id", "parent_id", postgresql_where=text("parent_id IS NOT NULL")),
    Index("ix_links_placed", "conversation_id", "created_at", postgresql_where=text("conversation_id IS NOT NULL")),
)

link_tasks = Table(  # subtasks that answers have started
    "link_tasks",
    metadata,
    Column("request_id", UUID, primary_key=True),
    Column("number", Integer, primary_key=True),  # counted within the conversation
    Column("conversation_id", UUID, nullable=False),
    Column("tool_use_id", Text, nullable=False),
    Column("space", Text, nullable=False),
    Column("prompt", LargeBinary, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("taken", Boolean, nullable=False),  # its first call was seen
    Index("ix_link_tasks_prompt", "space", "prompt", "created_at"),
    Index("ix_link_tasks_conversation_id", "conversation_id"),
)

conversations = Table(  # sums of `links`, kept by whoever places calls
    "conversations",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("space", Text, nullable=False),
    Column("train_id", Text, nullable=False),  # of its newest call, like account and latest request
    Column("account_id", Text),
    Column("first_at", DateTime(timezone=True), nullable=False),
    Column("last_at", DateTime(timezone=True), nullable=False),
    Column("latest_request_id", UUID, nullable=False),
    *[_sum(counted) for counted in ("requests", "tokens", "failed", "unpriced")],
    Column("cost_usd", Numeric, nullable=False, server_default=text("0")),
    # what its calls asked for and were answered, '' and 0 for null: a hundred of each at most
    *[Column(name, ARRAY(Text), nullable=False) for name in ("models", "request_types")],
    Column("status_codes", ARRAY(Integer), nullable=False),
    Column("message_count", Integer, nullable=False),  # of its longest request
    _number("subtasks"),
    _number("numbers"),  # subtasks that were started
    Column("main_taken", Boolean, nullable=False),
    Index("ix_conversations_last_at", "last_at", "id"),
    Index("ix_conversations_space", "space", "last_at", "id"),
    Index("ix_conversations_train_id", "train_id", "last_at", "id"),
    Index("ix_conversations_account_id", "account_id", "last_at", "id"),
)

conversation_branches = Table(
    "conversation_branches",
    metadata,
    Column("conversation_id", UUID, primary_key=True),
    Column("branch_id", Text, primary_key=True),
    Column("parent_digest", LargeBinary),  # of the part that its first call shares with its parent
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("message_count", Integer, nullable=False),
    Column("is_subtask", Boolean, nullable=False),
    Index(
        "ix_conversation_branches_subtask",
        "created_at",
        "conversation_id",
        postgresql_where=text(r"is_subtask AND branch_id LIKE 'subtask\_%'"),
    ),
)

background_responses = Table(  # what is known of each until the call that made it has it
    "background_responses",
    metadata,
    Column("space", Text, primary_key=True),  # '' stands for none
    Column("response_id", Text, primary_key=True),  # the provider's
    Column("request_id", UUID),  # the call that made it; null: not loaded yet
    Column("request_at", DateTime(timezone=True)),
    Column("ended", Boolean, nullable=False),
    Column("stop_reason", Text),
    *[Column(name, Text) for name in ("error_type", "error_message")],  # null: it did not fail, or nobody knows yet
    Column("usage", JSONB),
    Column("noted_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Index("ix_background_responses_ended", "noted_at", postgresql_where=text("ended")),
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
    b.request_headers AS headers, l.conversation_id, coalesce(l.branch_id, 'main')::varchar(50) AS branch_id,
    encode(l.whole, 'hex')::varchar(64) AS current_message_hash,
    encode(l.parent_digest, 'hex')::varchar(64) AS parent_message_hash, coalesce(l.is_subtask, false) AS is_subtask,
    l.parent_task_id AS parent_task_request_id, r.task_tool_invocation,
    r.created_at AT TIME ZONE 'UTC' AS created_at, r.updated_at AT TIME ZONE 'UTC' AS updated_at,
    r.cache_creation_input_tokens, r.cache_creation_5m_input_tokens, r.cache_creation_1h_input_tokens,
    r.cache_read_input_tokens, r.usage, r.cost_usd, r.price_version, r.first_byte_ms, r.duration_ms, r.stop_reason,
    nullif(l.session, '') AS session_key,
    r.session_id, r.turn_id, r.space, r.caller, r.caller_id, r.query, r.streamed, r.bodies,
    r.upstream_status, b.response_headers AS upstream_headers, encode(l.system_digest, 'hex') AS system_hash,
    l.source AS link_source, r.message_count, l.parent_id AS parent_request_id, l.retry_of, r.attempts,
    r.note
FROM requests r
LEFT JOIN request_bodies b ON b.id = r.id AND b.created_at = r.created_at
LEFT JOIN links l ON l.id = r.id AND l.created_at = r.created_at
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
