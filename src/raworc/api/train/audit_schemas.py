"""The audit log: what is answered."""

from pydantic import Field

from raworc.api.schemas import Answer, Json, Time


class AuditEntry(Answer):
    """One deed, or one refusal."""

    number: int = Field(description="Of the entry; later ones have larger numbers")
    at: Time = Field(description="When")
    actor: str | None = Field(description="The account that asked; null: nobody was known yet")
    verb: str = Field(description="What it wanted to do")
    resource: str = Field(description="To what kind of thing")
    name: str | None = Field(description="To which one; null: none, or all of them")
    space: str | None = Field(description="In which space")
    address: str | None = Field(description="Where the request came from")
    allowed: bool = Field(description="False: it was refused")
    details: Json = Field(description="More about it; never a secret")
    hash: str = Field(description="SHA-256 of this entry and of the hash before it, in hexadecimal")


class AuditPage(Answer):
    """One page of the audit log."""

    entries: list[AuditEntry] = Field(description="Newest first")
    next_before: int | None = Field(description="`before` of the next page; null: there is none")
