"""The part of the data model that says who logs in by the word of an identity provider."""

from sqlalchemy import Column, DateTime, ForeignKey, Index, LargeBinary, Table, Text, func
from sqlalchemy.dialects.postgresql import UUID

from raworc.store.schema import metadata

__all__ = ["identities", "identity_bindings", "metadata", "used_proofs"]

identities = Table(  # whose account a subject of an issuer is
    "identities",
    metadata,
    Column("issuer", Text, primary_key=True),
    Column("subject", Text, primary_key=True),
    Column("account_id", UUID, ForeignKey("accounts.id", ondelete="CASCADE"), nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Index("ix_identities_account_id", "account_id"),
)

identity_bindings = Table(  # bindings that an issuer's word made, and may take back; all others are left alone
    "identity_bindings",
    metadata,
    Column("binding_id", UUID, ForeignKey("bindings.id", ondelete="CASCADE"), primary_key=True),
    Column("issuer", Text, nullable=False),
)

used_proofs = Table(  # what proves somebody once only; kept until it would prove nothing any more
    "used_proofs",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("until", DateTime(timezone=True), nullable=False),
    Index("ix_used_proofs_until", "until"),
)
