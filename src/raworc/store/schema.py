"""The data model on one page (recorded model calls: ``records.py``). All of ``store/`` speaks of these tables only.

Times are Postgres' own (``now()``): no process's clock decides anything. Rows of ``segments`` and
``session_events`` are only ever added; those of ``audit`` cannot even be changed.
"""

from sqlalchemy import (
    DDL,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    event,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TSVECTOR, UUID

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _id(name: str = "id") -> Column[object]:
    return Column(name, UUID, primary_key=True)


def _moment(name: str, *, default: bool = False) -> Column[object]:
    if default:
        return Column(name, DateTime(timezone=True), nullable=False, server_default=func.now())
    return Column(name, DateTime(timezone=True))


def _flag(name: str) -> Column[object]:
    return Column(name, Boolean, nullable=False, server_default=text("false"))


def _count(name: str) -> Column[object]:
    return Column(name, BigInteger, nullable=False, server_default=text("0"))


def _json(name: str, default: str = "'{}'::jsonb") -> Column[object]:
    return Column(name, JSONB, nullable=False, server_default=text(default))


# ── who ──────────────────────────────────────────────────────────────────────────────────────────────
spaces = Table(
    "spaces",
    metadata,
    Column("name", Text, primary_key=True),
    Column("description", Text),
    _json("settings"),
    _moment("created_at", default=True),
    _moment("updated_at", default=True),
)

accounts = Table(
    "accounts",
    metadata,
    _id(),
    Column("name", Text, nullable=False),
    Column("space", Text, ForeignKey("spaces.name"), nullable=False),
    Column("description", Text),
    Column("password_hash", Text, nullable=False),
    Column("active", Boolean, nullable=False, server_default=text("true")),
    Column("version", Integer, nullable=False, server_default=text("1")),  # raised to reject every older token
    _moment("created_at", default=True),
    _moment("updated_at", default=True),
    _moment("last_login_at"),
    _moment("blocked_at"),  # set: it is on the blocklist
    Index("ix_accounts_blocked_at", "blocked_at", postgresql_where=text("blocked_at IS NOT NULL")),
    Index("uq_accounts_name", func.lower(text("name")), unique=True),
)

roles = Table(
    "roles",
    metadata,
    _id(),
    Column("name", Text, nullable=False, unique=True),
    _json("rules", "'[]'::jsonb"),  # [{"resources": [...], "verbs": [...], "scope": "space" | "global"}]
    _flag("builtin"),
    _moment("created_at", default=True),
)

bindings = Table(
    "bindings",
    metadata,
    _id(),
    Column("role_id", UUID, ForeignKey("roles.id"), nullable=False),
    Column("account_id", UUID, ForeignKey("accounts.id", ondelete="CASCADE")),  # null: the group `authenticated`
    Column("space", Text, ForeignKey("spaces.name", ondelete="CASCADE")),  # null: everywhere
    _moment("created_at", default=True),
    Index("ix_bindings_account_id", "account_id"),
)

login_failures = Table(  # what slows down guessing; a row counts for five minutes from ``since``
    "login_failures",
    metadata,
    Column("subject", Text, primary_key=True),  # account:<digest of the name> or address:<ip>
    Column("failures", Integer, nullable=False),
    _moment("since", default=True),
)

audit = Table(  # who did what, or was refused; without foreign keys: it outlives what it tells of
    "audit",
    metadata,
    Column("number", BigInteger, Identity(), primary_key=True),  # the order of writing, not of committing
    _moment("at", default=True),
    Column("actor_id", UUID),  # accounts.id; null: nobody was known yet
    Column("actor", Text),  # its name then
    Column("verb", Text, nullable=False),
    Column("resource", Text, nullable=False),  # a kind of thing: agents, secrets, service-accounts, ...
    Column("name", Text),  # which one; null: all of its kind, or none that exists
    Column("space", Text),
    Column("address", Text),  # where the request came from
    Column("allowed", Boolean, nullable=False),
    _json("details"),  # never a secret, a password or a token
)

data_keys = Table(  # one per space and version, wrapped by the master key
    "data_keys",
    metadata,
    Column("space", Text, ForeignKey("spaces.name", ondelete="CASCADE"), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("wrapped", LargeBinary, nullable=False),
    Column("master_key_id", Text, nullable=False),
    _moment("created_at", default=True),
)

kept_answers = Table(  # of requests with an Idempotency-Key, for 24 hours
    "kept_answers",
    metadata,
    Column("account_id", UUID, ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True),
    Column("key", Text, primary_key=True),
    Column("fingerprint", LargeBinary, nullable=False),  # of method, path and body, under a key of the home
    Column("body", LargeBinary, nullable=False),
    _moment("created_at", default=True),
    Index("ix_kept_answers_created_at", "created_at"),
)

# ── agents and their sessions ────────────────────────────────────────────────────────────────────────
sessions = Table(
    "sessions",
    metadata,
    _id(),
    Column("number", BigInteger, Identity(), nullable=False, unique=True),  # host uid = RAWORC_UID_BASE + number
    Column("space", Text, ForeignKey("spaces.name"), nullable=False),
    Column("kind", Text, nullable=False),  # home
    Column("state", Text, nullable=False),  # init idle busy paused slept error terminated
    Column("desired", Text),  # what it should become: idle slept terminated; null when it is there
    Column("node", Text),  # bubblewrap keeps a session on its node
    Column("held_by", UUID),  # operators.id; no foreign key: a dead holder's row may be gone
    Column("hold_epoch", BigInteger, nullable=False, server_default=text("0")),
    Column("copy_of", UUID, ForeignKey("sessions.id")),  # whose files it is to start with; null once they are there
    Column("copy_code", Boolean, nullable=False, server_default=text("true")),  # and whether ``code`` is among them
    _count("event_seq"),
    Column("idle_timeout_s", Integer, nullable=False),
    Column("busy_timeout_s", Integer, nullable=False),
    _moment("idle_from"),
    _moment("busy_from"),
    _moment("busy_hold_from"),  # POST /busy: shown as busy although no turn runs
    _moment("sleep_at"),
    Column("sleep_note", Text),
    Column("sleep_by", Text),
    _moment("context_cutoff_at"),
    _moment("last_activity_at"),
    _moment("created_at", default=True),
    CheckConstraint("state in ('init','idle','busy','paused','slept','error','terminated')", name="state"),
    Index("ix_sessions_held_by", "held_by"),
    Index("ix_sessions_copy_of", "copy_of", postgresql_where=text("copy_of IS NOT NULL")),
    Index("ix_sessions_work", "id", postgresql_where=text("desired IS NOT NULL OR sleep_at IS NOT NULL")),
    Index("ix_sessions_awake", "id", postgresql_where=text("state IN ('init', 'idle', 'busy')")),  # most sleep
)

agents = Table(
    "agents",
    metadata,
    _id(),
    Column("kind", Text, nullable=False),  # named
    Column("name", Text, nullable=False),
    Column("space", Text, ForeignKey("spaces.name"), nullable=False),
    Column("session_id", UUID, ForeignKey("sessions.id"), nullable=False, unique=True),
    Column("owner_id", UUID, ForeignKey("accounts.id"), nullable=False),
    Column("created_by", Text, nullable=False),
    Column("description", Text),
    _json("metadata"),
    Column("tags", ARRAY(Text), nullable=False, server_default=text("'{}'::text[]")),
    Column("instructions", Text),
    Column("setup", Text),
    Column("model", Text),
    Column("max_tokens", Integer),
    Column("network", Text, nullable=False, server_default=text("'none'")),
    _json("limits"),  # memory_mb cpus pids disk_mb
    _json("tools", "'[]'::jsonb"),  # these three lists as the user wrote them, unknown entries included
    _json("guardrails", "'[]'::jsonb"),
    _json("knowledge_bases", "'[]'::jsonb"),
    Column("parent_agent_name", Text),
    _flag("is_published"),
    _moment("published_at"),
    Column("published_by", Text),
    _json("publish_permissions", '\'{"code": true, "secrets": true, "content": true}\'::jsonb'),
    _flag("offers_secrets"),  # the publisher named ``secrets: true``: the default alone gives nothing to strangers
    _moment("created_at", default=True),
    _moment("updated_at", default=True),
    Index("uq_agents_named", func.lower(text("name")), unique=True, postgresql_where=text("kind = 'named'")),
    Index("ix_agents_created_at", "created_at", "id"),
    Index("ix_agents_owner_id", "owner_id", "created_at", "id"),
    Index("ix_agents_tags", "tags", postgresql_using="gin"),
    Index("ix_agents_published", "published_at", "id", postgresql_where=text("is_published")),
)

agent_counts = Table(  # how many agents there are, kept by a trigger: counting a million takes a second
    "agent_counts",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("owner_id", UUID, ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True),
    Column("space", Text, ForeignKey("spaces.name", ondelete="CASCADE"), primary_key=True),
    _count("count"),
)

_COUNT_AGENTS = """
CREATE FUNCTION raworc_count_agents() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        UPDATE agent_counts SET count = count - 1
        WHERE kind = OLD.kind AND owner_id = OLD.owner_id AND space = OLD.space;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO agent_counts (kind, owner_id, space, count) VALUES (NEW.kind, NEW.owner_id, NEW.space, 1)
        ON CONFLICT (kind, owner_id, space) DO UPDATE SET count = agent_counts.count + 1;
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER count_agents AFTER INSERT OR DELETE OR UPDATE OF kind, owner_id, space ON agents
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION raworc_count_agents()
"""  # at commit: the row of a count is locked for as short as can be
event.listen(metadata, "after_create", DDL(_COUNT_AGENTS))

agent_secrets = Table(
    "agent_secrets",
    metadata,
    Column("agent_id", UUID, ForeignKey("agents.id", ondelete="CASCADE"), primary_key=True),
    Column("key", Text, primary_key=True),
    Column("key_version", Integer, nullable=False),
    Column("nonce", LargeBinary, nullable=False),
    Column("ciphertext", LargeBinary, nullable=False),  # AES-256-GCM, bound to table, agent and key name
    _moment("created_at", default=True),
    _moment("updated_at", default=True),
)

knowledge = Table(  # pieces of agents' knowledge bases, by the digest of the text they were cut from
    "knowledge",
    metadata,
    Column("agent_id", UUID, ForeignKey("agents.id", ondelete="CASCADE"), primary_key=True),
    Column("source", Text, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("digest", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("terms", TSVECTOR, Computed("to_tsvector('english', body)", persisted=True), nullable=False),
)

runs = Table(  # from wake to sleep
    "runs",
    metadata,
    _id(),
    Column("session_id", UUID, ForeignKey("sessions.id", ondelete="CASCADE"), nullable=False),
    _moment("started_at", default=True),
    _moment("ended_at"),
    Index("uq_runs_open", "session_id", unique=True, postgresql_where=text("ended_at IS NULL")),
    Index("ix_runs_session_id", "session_id"),
)

# ── turns ────────────────────────────────────────────────────────────────────────────────────────────
turns = Table(
    "turns",
    metadata,
    _id(),
    Column("session_id", UUID, ForeignKey("sessions.id", ondelete="CASCADE"), nullable=False),
    Column("agent_id", UUID),  # no foreign key: deleting an agent must not search every turn
    Column("number", BigInteger, Identity(), nullable=False),  # order of arrival
    Column("kind", Text, nullable=False),  # input, marker, compact (a marker that an operator runs)
    Column("status", Text, nullable=False),
    _json("input"),  # {"content": [...]} as given
    _json("output"),  # what an outside writer put: {"text": ..., other keys}; items become segments
    Column("error", JSONB),  # {"code", "message"} of a failed turn
    Column("attempts", Integer, nullable=False, server_default=text("0")),  # since the last new segment
    Column("attempt_epoch", BigInteger),  # the hold that was counted last: asking again under it counts once
    Column("model_calls", Integer, nullable=False, server_default=text("0")),
    _count("segment_count"),
    Column("cancel_reason", Text),  # set: cancel requested
    Column("created_by", Text),
    _moment("created_at", default=True),
    _moment("updated_at", default=True),
    _moment("started_at"),
    _moment("finished_at"),
    CheckConstraint("status in ('pending','processing','completed','failed','cancelled')", name="status"),
    Index("uq_turns_processing", "session_id", unique=True, postgresql_where=text("status = 'processing'")),
    Index("ix_turns_pending", "session_id", "number", postgresql_where=text("status = 'pending'")),
    Index("ix_turns_session", "session_id", "created_at", "number"),
)

steps = Table(  # what must not be done twice: a model call may, a tool may not
    "steps",
    metadata,
    Column("turn_id", UUID, ForeignKey("turns.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("kind", Text, nullable=False),  # model, tool
    Column("state", Text, nullable=False),  # started, done, unknown
    Column("epoch", BigInteger, nullable=False),
    Column("request_id", UUID),  # of a model call: its recorded request
    Column("tool_use_id", Text),  # of a tool
    _count("tokens"),  # of a model call: all kinds added up
    Column("content", JSONB),  # model: the provider's own blocks; tool: the tool_result block the model gets
    Column("characters", Integer, nullable=False, server_default=text("0")),  # of ``content``, as a model reads it
    Column("context_tokens", Integer),  # of a model call: the history with its answer, as the provider counted it
    _moment("started_at", default=True),
    _moment("finished_at"),
)

context_cutoffs = Table(  # a stack for each session: the newest counts, restoring takes it away
    "context_cutoffs",
    metadata,
    Column("number", BigInteger, Identity(), primary_key=True),
    Column("session_id", UUID, ForeignKey("sessions.id", ondelete="CASCADE"), nullable=False),
    Column("turn_id", UUID),  # the turn that it was made in
    Column("step", Integer, nullable=False),  # how many steps of that very turn it covers
    Column("summary", Text),  # null: cleared
    _moment("counts_from", default=True),  # turns that came before are no history any more
    _moment("cutoff_at", default=True),
    Index("ix_context_cutoffs_session", "session_id", "number"),
)

segments = Table(
    "segments",
    metadata,
    Column("turn_id", UUID, ForeignKey("turns.id", ondelete="CASCADE"), primary_key=True),
    Column("seq", BigInteger, primary_key=True),  # 1, 2, ... within the turn
    Column("session_id", UUID, nullable=False),
    Column("event_seq", BigInteger, nullable=False),  # the SSE id
    Column("type", Text, nullable=False),
    Column("body", JSONB, nullable=False),  # the segment as the API shows it, `type` included
    _moment("created_at", default=True),
    UniqueConstraint("session_id", "event_seq"),
)

session_events = Table(  # state and response changes, in one numbering with segments
    "session_events",
    metadata,
    Column("session_id", UUID, ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True),
    Column("event_seq", BigInteger, primary_key=True),
    Column("kind", Text, nullable=False),  # state, response
    Column("turn_id", UUID),
    Column("body", JSONB, nullable=False),  # {"state"} or {"status", "updated_at"}
    _moment("created_at", default=True),
    Index("ix_session_events_turn_id", "turn_id", "event_seq", postgresql_where=text("turn_id IS NOT NULL")),
)

# ── processes ────────────────────────────────────────────────────────────────────────────────────────
workers = Table(  # operators and servers that run or ran; alive: its lock file is held, or seen lately
    "workers",
    metadata,
    _id(),
    Column("kind", Text, nullable=False),  # operator, server, recorder
    Column("node", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    _moment("started_at", default=True),
    _moment("seen_at", default=True),
)

_AUDIT_ONLY_GROWS = """
CREATE FUNCTION raworc_audit_only_grows() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of audit are only ever added';
END $$;
CREATE TRIGGER audit_only_grows BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION raworc_audit_only_grows()
"""
event.listen(audit, "after_create", DDL(_AUDIT_ONLY_GROWS))
