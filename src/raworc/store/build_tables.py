"""The part of the data model that says what was built from repositories: builds of spaces, and what came of them.

What their handlers said is here, too.
"""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import UUID

from raworc.store.columns import count_column, id_column, metadata, moment_column

builds = Table(
    "builds",
    metadata,
    id_column(),
    Column("number", BigInteger, Identity(), nullable=False),  # order of asking
    Column("space", Text, ForeignKey("spaces.name", ondelete="CASCADE"), nullable=False),
    Column("status", Text, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("node", Text),  # whose disk holds what it made
    Column("held_by", UUID),  # workers.id of who builds; no foreign key: a dead holder's row may be gone
    count_column("hold_epoch"),
    Column("attempts", Integer, nullable=False, server_default=text("0")),  # holders that died with it
    Column("log", Text, nullable=False, server_default=text("''")),
    moment_column("created_at", default=True),
    moment_column("started_at"),
    moment_column("finished_at"),
    CheckConstraint("status in ('pending','building','completed','failed')", name="status"),
    Index("uq_builds_pending", "space", unique=True, postgresql_where=text("status = 'pending'")),
    Index("uq_builds_building", "space", unique=True, postgresql_where=text("status = 'building'")),
    Index("ix_builds_space", "space", "number"),
)

built_agents = Table(  # of a build that went well, and of the others what did
    "built_agents",
    metadata,
    Column("build_id", UUID, ForeignKey("builds.id", ondelete="CASCADE"), primary_key=True),
    Column("agent_id", UUID, ForeignKey("agents.id", ondelete="CASCADE"), primary_key=True),
    Column("digest", Text, nullable=False),  # names the folder of its files, <home>/builds/<digest>
    Column("runtime", Text, nullable=False),  # python3, node
    Column("handler", Text, nullable=False),  # module.function
    Column("description", Text),  # as its manifest has them
    Column("purpose", Text),
    Column("commit", Text, nullable=False),
    Index("ix_built_agents_agent_id", "agent_id"),
)

agent_logs = Table(  # the newest lines of each code agent's handler; the oldest go when there are too many bytes
    "agent_logs",
    metadata,
    Column("number", BigInteger, Identity(), primary_key=True),
    Column("agent_id", UUID, ForeignKey("agents.id", ondelete="CASCADE"), nullable=False),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("level", Text, nullable=False),
    Column("line", Text, nullable=False),
    Index("ix_agent_logs_agent_id", "agent_id", "number"),
)
