"""The part of the data model that says who there is and who may do what. Rows of ``audit`` cannot be changed."""

from sqlalchemy import (
    DDL,
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    event,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import UUID

from raworc.store.columns import count_column, flag_column, id_column, json_column, metadata, moment_column
from raworc.store.triggers import AUDIT_CHAIN, AUDIT_ONLY_GROWS

spaces = Table(
    "spaces",
    metadata,
    Column("name", Text, primary_key=True),
    Column("description", Text),
    json_column("settings"),
    moment_column("created_at", default=True),
    moment_column("updated_at", default=True),
    Index("uq_spaces_name", func.lower(text("name")), unique=True),
)

accounts = Table(
    "accounts",
    metadata,
    id_column(),
    Column("name", Text, nullable=False),
    Column("space", Text, ForeignKey("spaces.name")),  # where it belongs; null: to none of them
    Column("description", Text),
    Column("password_hash", Text, nullable=False),
    Column("active", Boolean, nullable=False, server_default=text("true")),
    Column("version", Integer, nullable=False, server_default=text("1")),  # raised to reject every older token
    moment_column("created_at", default=True),
    moment_column("updated_at", default=True),
    moment_column("last_login_at"),
    moment_column("blocked_at"),  # set: it is on the blocklist
    Index("ix_accounts_blocked_at", "blocked_at", postgresql_where=text("blocked_at IS NOT NULL")),
    Index("uq_accounts_name", func.lower(text("name")), unique=True),
)

roles = Table(
    "roles",
    metadata,
    id_column(),
    Column("name", Text, nullable=False),
    Column("description", Text),
    json_column("rules", "'[]'::jsonb"),  # [{"resources": [...], "verbs": [...], "scope": "space" | "global"}]
    flag_column("builtin"),
    moment_column("created_at", default=True),
    moment_column("updated_at", default=True),
    Index("uq_roles_name", func.lower(text("name")), unique=True),
)

bindings = Table(  # one row for each subject
    "bindings",
    metadata,
    id_column(),
    Column("group_id", UUID),  # the same for all subjects that were bound together; null: bound alone
    Column("name", Text),  # of the group; null: it has none
    flag_column("builtin"),  # its name is its id
    Column("subject_kind", Text, nullable=False, server_default=text("'ServiceAccount'")),  # as it was given
    Column("role_id", UUID, ForeignKey("roles.id"), nullable=False),
    Column("account_id", UUID, ForeignKey("accounts.id", ondelete="CASCADE")),  # null: the group `authenticated`
    Column("space", Text, ForeignKey("spaces.name", ondelete="CASCADE")),  # null: everywhere
    moment_column("created_at", default=True),
    Index("ix_bindings_account_id", "account_id"),
    Index("ix_bindings_name", func.lower(text("name"))),
    Index("uq_bindings_grant", "role_id", "account_id", "space", unique=True, postgresql_nulls_not_distinct=True),
)

login_failures = Table(  # what slows down guessing; a row counts for five minutes from ``since``
    "login_failures",
    metadata,
    Column("subject", Text, primary_key=True),  # account:<digest of the name>, address:<ip>, or a usual place
    Column("failures", Integer, nullable=False),
    moment_column("since", default=True),
)

login_places = Table(  # where accounts log in from; forgotten 30 days after the last login
    "login_places",
    metadata,
    Column("place", Text, primary_key=True),  # account:<digest of the name> from <ip>
    moment_column("last_at", default=True),
    Index("ix_login_places_last_at", "last_at"),
)

audit = Table(  # who did what, or was refused; without foreign keys: it outlives what it tells of
    "audit",
    metadata,
    Column("number", BigInteger, Identity(), primary_key=True),  # the order of writing, not of committing
    moment_column("at", default=True),
    Column("actor_id", UUID),  # accounts.id; null: nobody was known yet
    Column("actor", Text),  # its name then
    Column("verb", Text, nullable=False),
    Column("resource", Text, nullable=False),  # a kind of thing: agents, secrets, service-accounts, ...
    Column("name", Text),  # which one; null: all of its kind, or none that exists
    Column("space", Text),
    Column("address", Text),  # where the request came from
    Column("allowed", Boolean, nullable=False),
    json_column("details"),  # never a secret, a password or a token
    Index("ix_audit_actor", "actor", "number"),
    Index("ix_audit_space", "space", "number"),
)

audit_chain = Table(  # written by a trigger: the hash of each entry, made with that of the entry before
    "audit_chain",
    metadata,
    Column("position", BigInteger, primary_key=True, autoincrement=False),  # 1, 2, 3, ... in the order of commits
    Column("number", BigInteger, nullable=False, unique=True),  # audit.number
    Column("hash", LargeBinary, nullable=False),  # SHA-256
)

denials = Table(  # refusals of the last minute, each with how often it came again; what is over goes to ``audit``
    "denials",
    metadata,
    Column("digest", LargeBinary, primary_key=True),  # of who wanted what, from where
    moment_column("since", default=True),
    count_column("count"),  # further ones, which have no entry of their own
    Column("actor_id", UUID),  # these as in ``audit``
    Column("actor", Text),
    Column("verb", Text, nullable=False),
    Column("resource", Text, nullable=False),
    Column("name", Text),
    Column("space", Text),
    Column("address", Text),
    json_column("details"),
    Index("ix_denials_actor", "actor_id", "since"),
    Index("ix_denials_since", "since"),
)

data_keys = Table(  # one per space and version, wrapped by the master key
    "data_keys",
    metadata,
    Column("space", Text, ForeignKey("spaces.name", ondelete="CASCADE"), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("wrapped", LargeBinary, nullable=False),
    Column("master_key_id", Text, nullable=False),
    moment_column("created_at", default=True),
)

space_secrets = Table(
    "space_secrets",
    metadata,
    Column("space", Text, ForeignKey("spaces.name", ondelete="CASCADE"), primary_key=True),
    Column("key", Text, primary_key=True),
    Column("description", Text),
    Column("key_version", Integer, nullable=False),
    Column("nonce", LargeBinary, nullable=False),
    Column("ciphertext", LargeBinary, nullable=False),  # AES-256-GCM, bound to table, space and key name
    Column("created_by", Text, nullable=False),
    moment_column("created_at", default=True),
    moment_column("updated_at", default=True),
    Index(  # looked up twice a second: what spaces' model calls are made with
        "ix_space_secrets_credentials", "space", postgresql_where=text("key IN ('ANTHROPIC_API_KEY', 'OPENAI_API_KEY')")
    ),
)

kept_answers = Table(  # of requests with an Idempotency-Key, for 24 hours
    "kept_answers",
    metadata,
    Column("account_id", UUID, ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True),
    Column("key", Text, primary_key=True),
    Column("fingerprint", LargeBinary, nullable=False),  # of method, path and body, under a key of the home
    Column("body", LargeBinary, nullable=False),
    moment_column("created_at", default=True),
    Index("ix_kept_answers_created_at", "created_at"),
)

event.listen(audit, "after_create", DDL(AUDIT_ONLY_GROWS))
event.listen(audit_chain, "after_create", DDL(AUDIT_CHAIN))
