CREATE TABLE spaces (
    name TEXT NOT NULL,
    description TEXT,
    settings JSONB DEFAULT '{}'::jsonb NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_spaces PRIMARY KEY (name)
);

CREATE TABLE roles (
    id UUID NOT NULL,
    name TEXT NOT NULL,
    rules JSONB DEFAULT '[]'::jsonb NOT NULL,
    builtin BOOLEAN DEFAULT false NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_roles PRIMARY KEY (id),
    CONSTRAINT uq_roles_name UNIQUE (name)
);

CREATE TABLE login_failures (
    subject TEXT NOT NULL,
    failures INTEGER NOT NULL,
    since TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_login_failures PRIMARY KEY (subject)
);

CREATE TABLE workers (
    id UUID NOT NULL,
    kind TEXT NOT NULL,
    node TEXT NOT NULL,
    pid INTEGER NOT NULL,
    started_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    seen_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_workers PRIMARY KEY (id)
);

CREATE TABLE requests (
    id UUID NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    caller TEXT NOT NULL,
    caller_id UUID,
    space TEXT,
    train_id TEXT NOT NULL,
    session_id UUID,
    turn_id UUID,
    account_id TEXT,
    method TEXT NOT NULL,
    path TEXT NOT NULL,
    query TEXT,
    model TEXT,
    request_type TEXT NOT NULL,
    streamed BOOLEAN NOT NULL,
    status_code INTEGER,
    upstream_status INTEGER,
    error_type TEXT,
    error_message TEXT,
    stop_reason TEXT,
    bodies TEXT NOT NULL,
    input_tokens INTEGER DEFAULT 0 NOT NULL,
    output_tokens INTEGER DEFAULT 0 NOT NULL,
    cache_creation_input_tokens INTEGER DEFAULT 0 NOT NULL,
    cache_creation_5m_input_tokens INTEGER DEFAULT 0 NOT NULL,
    cache_creation_1h_input_tokens INTEGER DEFAULT 0 NOT NULL,
    cache_read_input_tokens INTEGER DEFAULT 0 NOT NULL,
    usage JSONB,
    cost_usd NUMERIC,
    price_version TEXT,
    first_byte_ms INTEGER,
    duration_ms INTEGER,
    session_key TEXT,
    conversation_id UUID,
    branch_id TEXT DEFAULT 'main',
    message_count INTEGER,
    system_hash TEXT,
    current_message_hash TEXT,
    parent_message_hash TEXT,
    parent_request_id UUID,
    retry_of UUID,
    link_source TEXT,
    is_subtask BOOLEAN DEFAULT false NOT NULL,
    parent_task_request_id UUID,
    task_tool_invocation JSONB,
    CONSTRAINT pk_requests PRIMARY KEY (id, created_at)
)
 PARTITION BY RANGE (created_at);

CREATE INDEX ix_requests_created_at ON requests (created_at, id);

CREATE INDEX ix_requests_session_id ON requests (session_id, created_at) WHERE session_id IS NOT NULL;

CREATE INDEX ix_requests_space ON requests (space, created_at);

CREATE INDEX ix_requests_turn_id ON requests (turn_id, created_at) WHERE turn_id IS NOT NULL;

CREATE TABLE request_bodies (
    id UUID NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    request_headers JSONB,
    request_body BYTEA,
    response_headers JSONB,
    response_body BYTEA,
    stream BYTEA,
    offsets INTEGER[],
    at_ms INTEGER[],
    CONSTRAINT pk_request_bodies PRIMARY KEY (id, created_at)
)
 PARTITION BY RANGE (created_at);

CREATE TABLE request_hours (
    hour TIMESTAMP WITH TIME ZONE NOT NULL,
    space TEXT NOT NULL,
    train_id TEXT NOT NULL,
    account_id TEXT NOT NULL,
    model TEXT NOT NULL,
    request_type TEXT NOT NULL,
    requests BIGINT DEFAULT 0 NOT NULL,
    failed BIGINT DEFAULT 0 NOT NULL,
    input_tokens BIGINT DEFAULT 0 NOT NULL,
    output_tokens BIGINT DEFAULT 0 NOT NULL,
    cache_creation_input_tokens BIGINT DEFAULT 0 NOT NULL,
    cache_read_input_tokens BIGINT DEFAULT 0 NOT NULL,
    duration_ms BIGINT DEFAULT 0 NOT NULL,
    cost_usd NUMERIC DEFAULT 0 NOT NULL,
    unpriced BIGINT DEFAULT 0 NOT NULL,
    CONSTRAINT pk_request_hours PRIMARY KEY (hour, space, train_id, account_id, model, request_type)
);

CREATE TABLE spool_positions (
    worker_id UUID NOT NULL,
    node TEXT NOT NULL,
    number INTEGER NOT NULL,
    position BIGINT NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_spool_positions PRIMARY KEY (worker_id)
);

CREATE TABLE accounts (
    id UUID NOT NULL,
    name TEXT NOT NULL,
    space TEXT NOT NULL,
    description TEXT,
    password_hash TEXT NOT NULL,
    active BOOLEAN DEFAULT true NOT NULL,
    version INTEGER DEFAULT 1 NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    last_login_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_accounts PRIMARY KEY (id),
    CONSTRAINT fk_accounts_space FOREIGN KEY(space) REFERENCES spaces (name)
);

CREATE UNIQUE INDEX uq_accounts_name ON accounts (lower(name));

CREATE TABLE data_keys (
    space TEXT NOT NULL,
    version INTEGER NOT NULL,
    wrapped BYTEA NOT NULL,
    master_key_id TEXT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_data_keys PRIMARY KEY (space, version),
    CONSTRAINT fk_data_keys_space FOREIGN KEY(space) REFERENCES spaces (name) ON DELETE CASCADE
);

CREATE TABLE sessions (
    id UUID NOT NULL,
    number BIGINT GENERATED BY DEFAULT AS IDENTITY,
    space TEXT NOT NULL,
    kind TEXT NOT NULL,
    state TEXT NOT NULL,
    desired TEXT,
    node TEXT,
    held_by UUID,
    hold_epoch BIGINT DEFAULT 0 NOT NULL,
    event_seq BIGINT DEFAULT 0 NOT NULL,
    idle_timeout_s INTEGER NOT NULL,
    busy_timeout_s INTEGER NOT NULL,
    idle_from TIMESTAMP WITH TIME ZONE,
    busy_from TIMESTAMP WITH TIME ZONE,
    busy_hold_from TIMESTAMP WITH TIME ZONE,
    sleep_at TIMESTAMP WITH TIME ZONE,
    sleep_note TEXT,
    sleep_by TEXT,
    context_cutoff_at TIMESTAMP WITH TIME ZONE,
    last_activity_at TIMESTAMP WITH TIME ZONE,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_sessions PRIMARY KEY (id),
    CONSTRAINT ck_sessions_state CHECK (state in ('init','idle','busy','paused','slept','error','terminated')),
    CONSTRAINT uq_sessions_number UNIQUE (number),
    CONSTRAINT fk_sessions_space FOREIGN KEY(space) REFERENCES spaces (name)
);

CREATE INDEX ix_sessions_awake ON sessions (id) WHERE state IN ('init', 'idle', 'busy');

CREATE INDEX ix_sessions_held_by ON sessions (held_by);

CREATE INDEX ix_sessions_work ON sessions (id) WHERE desired IS NOT NULL OR sleep_at IS NOT NULL;

CREATE TABLE bindings (
    id UUID NOT NULL,
    role_id UUID NOT NULL,
    account_id UUID,
    space TEXT,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_bindings PRIMARY KEY (id),
    CONSTRAINT fk_bindings_role_id FOREIGN KEY(role_id) REFERENCES roles (id),
    CONSTRAINT fk_bindings_account_id FOREIGN KEY(account_id) REFERENCES accounts (id) ON DELETE CASCADE,
    CONSTRAINT fk_bindings_space FOREIGN KEY(space) REFERENCES spaces (name) ON DELETE CASCADE
);

CREATE INDEX ix_bindings_account_id ON bindings (account_id);

CREATE TABLE agents (
    id UUID NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    space TEXT NOT NULL,
    session_id UUID NOT NULL,
    owner_id UUID NOT NULL,
    created_by TEXT NOT NULL,
    description TEXT,
    metadata JSONB DEFAULT '{}'::jsonb NOT NULL,
    tags TEXT[] DEFAULT '{}'::text[] NOT NULL,
    instructions TEXT,
    setup TEXT,
    model TEXT,
    max_tokens INTEGER,
    network TEXT DEFAULT 'none' NOT NULL,
    limits JSONB DEFAULT '{}'::jsonb NOT NULL,
    parent_agent_name TEXT,
    is_published BOOLEAN DEFAULT false NOT NULL,
    published_at TIMESTAMP WITH TIME ZONE,
    published_by TEXT,
    publish_permissions JSONB DEFAULT '{"code": true, "secrets": true, "content": true}'::jsonb NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_agents PRIMARY KEY (id),
    CONSTRAINT fk_agents_space FOREIGN KEY(space) REFERENCES spaces (name),
    CONSTRAINT uq_agents_session_id UNIQUE (session_id),
    CONSTRAINT fk_agents_session_id FOREIGN KEY(session_id) REFERENCES sessions (id),
    CONSTRAINT fk_agents_owner_id FOREIGN KEY(owner_id) REFERENCES accounts (id)
);

CREATE INDEX ix_agents_created_at ON agents (created_at, id);

CREATE INDEX ix_agents_owner_id ON agents (owner_id, created_at, id);

CREATE INDEX ix_agents_tags ON agents USING gin (tags);

CREATE UNIQUE INDEX uq_agents_named ON agents (lower(name)) WHERE kind = 'named';

CREATE TABLE runs (
    id UUID NOT NULL,
    session_id UUID NOT NULL,
    started_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    ended_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_runs PRIMARY KEY (id),
    CONSTRAINT fk_runs_session_id FOREIGN KEY(session_id) REFERENCES sessions (id) ON DELETE CASCADE
);

CREATE INDEX ix_runs_session_id ON runs (session_id);

CREATE UNIQUE INDEX uq_runs_open ON runs (session_id) WHERE ended_at IS NULL;

CREATE TABLE turns (
    id UUID NOT NULL,
    session_id UUID NOT NULL,
    agent_id UUID,
    number BIGINT GENERATED BY DEFAULT AS IDENTITY,
    kind TEXT NOT NULL,
    status TEXT NOT NULL,
    input JSONB DEFAULT '{}'::jsonb NOT NULL,
    output JSONB DEFAULT '{}'::jsonb NOT NULL,
    error JSONB,
    attempts INTEGER DEFAULT 0 NOT NULL,
    attempt_epoch BIGINT,
    model_calls INTEGER DEFAULT 0 NOT NULL,
    segment_count BIGINT DEFAULT 0 NOT NULL,
    cancel_reason TEXT,
    created_by TEXT,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    started_at TIMESTAMP WITH TIME ZONE,
    finished_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_turns PRIMARY KEY (id),
    CONSTRAINT ck_turns_status CHECK (status in ('pending','processing','completed','failed','cancelled')),
    CONSTRAINT fk_turns_session_id FOREIGN KEY(session_id) REFERENCES sessions (id) ON DELETE CASCADE
);

CREATE INDEX ix_turns_pending ON turns (session_id, number) WHERE status = 'pending';

CREATE INDEX ix_turns_session ON turns (session_id, created_at, number);

CREATE UNIQUE INDEX uq_turns_processing ON turns (session_id) WHERE status = 'processing';

CREATE TABLE session_events (
    session_id UUID NOT NULL,
    event_seq BIGINT NOT NULL,
    kind TEXT NOT NULL,
    turn_id UUID,
    body JSONB NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_session_events PRIMARY KEY (session_id, event_seq),
    CONSTRAINT fk_session_events_session_id FOREIGN KEY(session_id) REFERENCES sessions (id) ON DELETE CASCADE
);

CREATE INDEX ix_session_events_turn_id ON session_events (turn_id, event_seq) WHERE turn_id IS NOT NULL;

CREATE TABLE agent_secrets (
    agent_id UUID NOT NULL,
    key TEXT NOT NULL,
    key_version INTEGER NOT NULL,
    nonce BYTEA NOT NULL,
    ciphertext BYTEA NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_agent_secrets PRIMARY KEY (agent_id, key),
    CONSTRAINT fk_agent_secrets_agent_id FOREIGN KEY(agent_id) REFERENCES agents (id) ON DELETE CASCADE
);

CREATE TABLE steps (
    turn_id UUID NOT NULL,
    number INTEGER NOT NULL,
    kind TEXT NOT NULL,
    state TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    request_id UUID,
    tool_use_id TEXT,
    content JSONB,
    started_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    finished_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_steps PRIMARY KEY (turn_id, number),
    CONSTRAINT fk_steps_turn_id FOREIGN KEY(turn_id) REFERENCES turns (id) ON DELETE CASCADE
);

CREATE TABLE segments (
    turn_id UUID NOT NULL,
    seq BIGINT NOT NULL,
    session_id UUID NOT NULL,
    event_seq BIGINT NOT NULL,
    type TEXT NOT NULL,
    body JSONB NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_segments PRIMARY KEY (turn_id, seq),
    CONSTRAINT uq_segments_session_id_event_seq UNIQUE (session_id, event_seq),
    CONSTRAINT fk_segments_turn_id FOREIGN KEY(turn_id) REFERENCES turns (id) ON DELETE CASCADE
);

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
END $$;

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
FROM requests r LEFT JOIN request_bodies b ON b.id = r.id AND b.created_at = r.created_at;

CREATE VIEW streaming_chunks AS SELECT
    overlay(overlay(md5(s.id::text || '/' || n) PLACING '4' FROM 13) PLACING '8' FROM 17)::uuid AS id,
    s.id AS request_id, n - 1 AS chunk_index,
    raworc_text(substring(s.whole FROM s.offsets[n] + 1
        FOR coalesce(s.offsets[n + 1], length(s.whole)) - s.offsets[n])) AS content,
    (s.created_at + s.at_ms[n] * interval '1 millisecond') AT TIME ZONE 'UTC' AS created_at
FROM (SELECT id, created_at, offsets, at_ms, stream || ''::bytea AS whole FROM request_bodies
    WHERE stream IS NOT NULL OFFSET 0) s
CROSS JOIN LATERAL generate_series(1, cardinality(s.offsets)) n;
