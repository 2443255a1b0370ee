"""The data model: agents, their sessions and turns. All of ``store/`` speaks of these tables only.

Who there is and who may do what: ``tenants.py``; builds: ``build_tables.py``; their tables are named here again.
Recorded model calls: ``records.py``. Times are Postgres' own (``now()``): no process's clock decides anything. Rows
of ``segments`` and ``session_events`` are only ever added.
"""

from sqlalchemy import (
    DDL,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    event,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TSVECTOR, UUID

from raworc.store.build_tables import agent_logs, builds, built_agents
from raworc.store.columns import count_column, flag_column, id_column, json_column, metadata, moment_column
from raworc.store.tenants import (
    accounts,
    audit,
    bindings,
    data_keys,
    kept_answers,
    login_failures,
    login_places,
    roles,
    spaces,
)
from raworc.store.triggers import COUNT_AGENTS

__all__ = [
    "accounts",
    "agent_counts",
    "agent_logs",
    "agent_secrets",
    "agents",
    "approvals",
    "audit",
    "bindings",
    "builds",
    "built_agents",
    "context_cutoffs",
    "data_keys",
    "kept_answers",
    "knowledge",
    "login_failures",
    "login_places",
    "metadata",
    "roles",
    "runs",
    "segments",
    "session_agents",
    "session_events",
    "sessions",
    "shared_sessions",
    "spaces",
    "steps",
    "turns",
    "workers",
]

# ── agents and their sessions ────────────────────────────────────────────────────────────────────────
sessions = Table(
    "sessions",
    metadata,
    id_column(),
    Column("number", BigInteger, Identity(), nullable=False, unique=True),  # host uid = RAWORC_UID_BASE + number
    Column("space", Text, ForeignKey("spaces.name"), nullable=False),
    Column("kind", Text, nullable=False),  # home (of a named agent), shared (of spaces and organizations)
    Column("state", Text, nullable=False),  # init idle busy paused slept error terminated
    Column("desired", Text),  # what it should become: idle slept terminated; null when it is there
    Column("node", Text),  # bubblewrap keeps a session on its node
    Column("held_by", UUID),  # operators.id; no foreign key: a dead holder's row may be gone
    Column("hold_epoch", BigInteger, nullable=False, server_default=text("0")),
    Column("copy_of", UUID, ForeignKey("sessions.id")),  # whose files it is to start with; null once they are there
    Column("copy_code", Boolean, nullable=False, server_default=text("true")),  # and whether ``code`` is among them
    count_column("event_seq"),
    Column("paused_epoch", BigInteger),  # the hold whose operator keeps the frozen memory of a paused one
    Column("sandbox_id", Text),  # of the sandbox that was opened last
    Column("idle_timeout_s", Integer, nullable=False),  # 0: never
    Column("busy_timeout_s", Integer, nullable=False),
    moment_column("idle_from"),
    moment_column("busy_from"),
    moment_column("busy_hold_from"),  # POST /busy: shown as busy although no turn runs
    moment_column("sleep_at"),
    Column("sleep_note", Text),
    Column("sleep_by", Text),
    moment_column("context_cutoff_at"),
    moment_column("last_activity_at"),
    moment_column("created_at", default=True),
    CheckConstraint("state in ('init','idle','busy','paused','slept','error','terminated')", name="state"),
    Index("ix_sessions_held_by", "held_by"),
    Index("ix_sessions_copy_of", "copy_of", postgresql_where=text("copy_of IS NOT NULL")),
    Index("ix_sessions_work", "id", postgresql_where=text("desired IS NOT NULL OR sleep_at IS NOT NULL")),
    Index("ix_sessions_paused", "id", postgresql_where=text("state = 'paused'")),
    Index("ix_sessions_shared", "created_at", "id", postgresql_where=text("kind = 'shared'")),
    Index("ix_sessions_shared_space", "space", "created_at", "id", postgresql_where=text("kind = 'shared'")),
    Index("ix_sessions_awake", "id", postgresql_where=text("state IN ('init', 'idle', 'busy')")),  # most sleep
)

shared_sessions = Table(  # what only sessions of spaces and organizations have
    "shared_sessions",
    metadata,
    Column("session_id", UUID, ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True),
    Column("name", Text),
    Column("starting_prompt", Text),
    Column("created_by", Text, nullable=False),
    Column("parent_id", UUID),  # no foreign key: the parent may be deleted
    json_column("metadata"),
    moment_column("started_at"),  # when it first had a sandbox
    moment_column("terminated_at"),
    Column("termination_reason", Text),
    moment_column("deleted_at"),  # nobody sees it any more; it goes with its workspace
    moment_column("messages_cleared_at"),  # messages from before are hidden, and on their way out
)

session_agents = Table(  # the definitions that a session was made with, in their order; none: those of its space
    "session_agents",
    metadata,
    Column("session_id", UUID, ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("agent_id", UUID, ForeignKey("agents.id", ondelete="CASCADE"), nullable=False),
    UniqueConstraint("session_id", "agent_id"),
    Index("ix_session_agents_agent_id", "agent_id"),
)

agents = Table(
    "agents",
    metadata,
    id_column(),
    Column("kind", Text, nullable=False),  # named; definition (of the contract organizations); code (of spaces)
    Column("name", Text, nullable=False),
    Column("space", Text, ForeignKey("spaces.name"), nullable=False),
    Column("session_id", UUID, ForeignKey("sessions.id"), unique=True),  # of a named one: its home
    Column("owner_id", UUID, ForeignKey("accounts.id")),  # of a named one; others belong to their space
    Column("created_by", Text, nullable=False),
    Column("description", Text),
    json_column("metadata"),
    Column("tags", ARRAY(Text), nullable=False, server_default=text("'{}'::text[]")),
    Column("instructions", Text),
    Column("setup", Text),
    Column("model", Text),
    Column("max_tokens", Integer),
    Column("network", Text, nullable=False, server_default=text("'none'")),
    json_column("limits"),  # memory_mb cpus pids disk_mb
    json_column("tools", "'[]'::jsonb"),  # these three lists as the user wrote them, unknown entries included
    json_column("guardrails", "'[]'::jsonb"),
    json_column("knowledge_bases", "'[]'::jsonb"),
    json_column("routes", "'[]'::jsonb"),  # of a definition
    Column("purpose", Text),  # these three of code: what it is for, and where its code comes from
    Column("source_repo", Text),
    Column("source_branch", Text),
    moment_column("deployed_at"),  # of code: set while it is to be kept warm
    Column("active", Boolean, nullable=False, server_default=text("true")),  # of both: it takes part
    moment_column("deleted_at"),  # of both: gone for everybody, kept for what it said
    Column("parent_agent_name", Text),
    flag_column("is_published"),
    moment_column("published_at"),
    Column("published_by", Text),
    json_column("publish_permissions", '\'{"code": true, "secrets": true, "content": true}\'::jsonb'),
    flag_column("offers_secrets"),  # the publisher named ``secrets: true``; the default gives nothing to strangers
    moment_column("created_at", default=True),
    moment_column("updated_at", default=True),
    Index("uq_agents_named", func.lower(text("name")), unique=True, postgresql_where=text("kind = 'named'")),
    Index(
        "uq_agents_definition",
        func.lower(text("name")),  # first, as a name alone is looked for, too
        "space",
        unique=True,
        postgresql_where=text("kind = 'definition' AND deleted_at IS NULL"),
    ),
    Index(
        "uq_agents_code",
        "space",
        func.lower(text("name")),
        unique=True,
        postgresql_where=text("kind = 'code' AND deleted_at IS NULL"),
    ),
    CheckConstraint("kind <> 'code' OR source_repo IS NOT NULL", name="source"),
    CheckConstraint("kind <> 'named' OR session_id IS NOT NULL AND owner_id IS NOT NULL", name="home"),
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
    count_column("count"),
)

event.listen(metadata, "after_create", DDL(COUNT_AGENTS))

agent_secrets = Table(
    "agent_secrets",
    metadata,
    Column("agent_id", UUID, ForeignKey("agents.id", ondelete="CASCADE"), primary_key=True),
    Column("key", Text, primary_key=True),
    Column("key_version", Integer, nullable=False),
    Column("nonce", LargeBinary, nullable=False),
    Column("ciphertext", LargeBinary, nullable=False),  # AES-256-GCM, bound to table, agent and key name
    moment_column("created_at", default=True),
    moment_column("updated_at", default=True),
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
    id_column(),
    Column("session_id", UUID, ForeignKey("sessions.id", ondelete="CASCADE"), nullable=False),
    moment_column("started_at", default=True),
    moment_column("ended_at"),
    Index("uq_runs_open", "session_id", unique=True, postgresql_where=text("ended_at IS NULL")),
    Index("ix_runs_session_id", "session_id"),
)

# ── turns ────────────────────────────────────────────────────────────────────────────────────────────
turns = Table(
    "turns",
    metadata,
    id_column(),
    Column("session_id", UUID, ForeignKey("sessions.id", ondelete="CASCADE"), nullable=False),
    Column("agent_id", UUID),  # who answers; no foreign key: deleting an agent must not search every turn
    flag_column("is_routed"),  # of a shared session: ``agent_id`` is decided (null: the space's default model)
    Column("reply_id", UUID),  # of a shared session's input: what its answer is called as a message
    Column("number", BigInteger, Identity(), nullable=False),  # order of arrival
    Column(
        "kind", Text, nullable=False
    ),  # input, said (a message that nobody answers), marker, compact (one that is run)
    Column("status", Text, nullable=False),
    json_column("input"),  # {"content": [...]} as given; of messages besides: "role", "metadata"
    json_column("output"),  # what an outside writer put: {"text": ..., other keys}; items become segments
    Column("error", JSONB),  # {"code", "message"} of a failed turn
    Column("attempts", Integer, nullable=False, server_default=text("0")),  # since the last new segment
    Column("attempt_epoch", BigInteger),  # the hold that was counted last: asking again under it counts once
    Column("model_calls", Integer, nullable=False, server_default=text("0")),
    count_column("stepless_tokens"),  # of model calls that are no steps: summaries, and who answers
    count_column("segment_count"),
    Column("cancel_reason", Text),  # set: cancel requested
    Column("created_by", Text),
    moment_column("created_at", default=True),
    moment_column("updated_at", default=True),
    moment_column("started_at"),
    moment_column("finished_at"),
    CheckConstraint("status in ('pending','processing','completed','failed','cancelled')", name="status"),
    Index("uq_turns_processing", "session_id", unique=True, postgresql_where=text("status = 'processing'")),
    Index("ix_turns_pending", "session_id", "number", postgresql_where=text("status = 'pending'")),
    Index("ix_turns_session", "session_id", "created_at", "number"),
    Index("ix_turns_replies", "session_id", "finished_at", "number", postgresql_where=text("reply_id IS NOT NULL")),
)

steps = Table(  # what must not be done twice: a model call may, a tool may not
    "steps",
    metadata,
    Column("turn_id", UUID, ForeignKey("turns.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("kind", Text, nullable=False),  # model, tool, handler (of a code agent: answers as a model)
    Column("state", Text, nullable=False),  # started, done, unknown
    Column("epoch", BigInteger, nullable=False),
    Column("request_id", UUID),  # of a model call: its recorded request
    Column("tool_use_id", Text),  # of a tool
    count_column("tokens"),  # of a model call: all kinds added up
    Column("content", JSONB),  # model: the provider's own blocks; tool: the tool_result block the model gets
    Column("characters", Integer, nullable=False, server_default=text("0")),  # of ``content``, as a model reads it
    Column("context_tokens", Integer),  # of a model call: the history with its answer, as the provider counted it
    moment_column("started_at", default=True),
    moment_column("finished_at"),
)

approvals = Table(  # tool calls that a person has to decide about before they are made
    "approvals",
    metadata,
    id_column(),
    Column("turn_id", UUID, ForeignKey("turns.id", ondelete="CASCADE"), nullable=False),
    Column("step", Integer, nullable=False),  # steps.number that the call has once it is made
    Column("tool_use_id", Text, nullable=False),
    Column("tool", Text, nullable=False),
    Column("args", JSONB, nullable=False),  # as people may see them
    Column("decision", Text),  # approve, deny; null: nobody has decided yet
    Column("reason", Text),
    Column("decided_by", Text),
    moment_column("asked_at", default=True),
    moment_column("decided_at"),
    UniqueConstraint("turn_id", "step"),
)

context_cutoffs = Table(  # a stack for each session: the newest counts, restoring takes it away
    "context_cutoffs",
    metadata,
    Column("number", BigInteger, Identity(), primary_key=True),
    Column("session_id", UUID, ForeignKey("sessions.id", ondelete="CASCADE"), nullable=False),
    Column("turn_id", UUID),  # the turn that it was made in
    Column("step", Integer, nullable=False),  # how many steps of that very turn it covers
    Column("summary", Text),  # null: cleared
    moment_column("counts_from", default=True),  # turns that came before are no history any more
    moment_column("cutoff_at", default=True),
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
    moment_column("created_at", default=True),
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
    moment_column("created_at", default=True),
    Index("ix_session_events_turn_id", "turn_id", "event_seq", postgresql_where=text("turn_id IS NOT NULL")),
)

# ── processes ────────────────────────────────────────────────────────────────────────────────────────
workers = Table(  # operators and servers that run or ran; alive: its lock file is held, or seen lately
    "workers",
    metadata,
    id_column(),
    Column("kind", Text, nullable=False),  # operator, server, recorder
    Column("node", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    moment_column("started_at", default=True),
    moment_column("seen_at", default=True),
)
