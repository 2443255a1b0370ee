"""Roles and role bindings: what requests carry and what is answered."""

from typing import Annotated, Literal

from pydantic import AliasChoices, Field, WithJsonSchema

from raworc.api.bodies import Body
from raworc.api.schemas import Answer, Time
from raworc.domain.access import RESOURCES, VERBS
from raworc.domain.names import LABEL_PATTERN
from raworc.domain.roles import MAX_RULES
from raworc.services.bindings import MAX_SUBJECTS, SubjectKind

Label = Annotated[str, WithJsonSchema({"type": "string", "pattern": LABEL_PATTERN})]
_Scope = Literal["space", "global"]


def _words(known: frozenset[str]) -> WithJsonSchema:
    return WithJsonSchema({"type": "array", "minItems": 1, "items": {"enum": ["*", *sorted(known)]}})


class RuleBody(Body):
    """Verbs on resources."""

    resources: Annotated[list[str], _words(RESOURCES)] = Field(description="What they are about; `*` for all")
    verbs: Annotated[list[str], _words(VERBS)] = Field(description="`get` and `read` are one; `*` for all")
    scope: _Scope | None = Field(
        default=None, description="`global` counts in a binding without a space only; `space` where absent"
    )
    api_groups: list[str] | None = Field(
        default=None,
        validation_alias=AliasChoices("api_groups", "apiGroups"),
        description="Kept and shown; means nothing. `apiGroups` will do, too",
    )


_Rules = Annotated[
    list[RuleBody],
    Field(description=f"At most {MAX_RULES}"),
]


class NewRoleBody(Body):
    """A new role."""

    name: Label = Field(
        validation_alias=AliasChoices("name", "id"), description="Unique, ignoring case. `id` will do, too"
    )
    description: str | None = Field(default=None, description="For people")
    rules: _Rules


class Rule(Answer):
    """Verbs on resources, as the contract spaces shows them."""

    resources: list[str] = Field(description="What they are about; `*` for all")
    verbs: list[str] = Field(description="`get` and `read` are one; `*` for all")
    scope: _Scope = Field(description="`global` counts in a binding without a space only")


class Role(Answer):
    """A role as the contract spaces shows it."""

    id: str = Field(description="UUID; its name will do in paths, too")
    name: str = Field(description="Its name")
    description: str | None = Field(description="For people")
    rules: list[Rule] = Field(description="What it gives")
    created_at: Time = Field(description="When it was made")


class GroupedRule(Answer):
    """Verbs on resources, as the contract organizations shows them."""

    api_groups: list[str] = Field(description="As given")
    resources: list[str] = Field(description="What they are about; `*` for all")
    verbs: list[str] = Field(description="`get` and `read` are one; `*` for all")


class OrganizationRole(Answer):
    """A role as the contract organizations shows it."""

    id: str = Field(description="UUID; its name will do in paths, too")
    name: str = Field(description="Its name")
    rules: list[GroupedRule] = Field(description="What it gives")
    created_at: Time = Field(description="When it was made")
    updated_at: Time = Field(description="When it was last changed")


class NewBindingBody(Body):
    """A role for an account."""

    subject: str = Field(description="The account's name, or `authenticated`: every account")
    role_ref: str = Field(description="The role's name or UUID")
    space: str | None = Field(default=None, description="Where it counts; null: everywhere")


class Binding(Answer):
    """A role for an account, as the contract spaces shows it."""

    id: str = Field(description="UUID; of what is there from the start, a name")
    subject: str = Field(description="The account's name, or `authenticated`: every account")
    role_ref: str = Field(description="The role's name")
    space: str | None = Field(description="Where it counts; null: everywhere")
    created_at: Time = Field(description="When it was made")
    updated_at: Time = Field(description="The same: bindings do not change")


class RoleRefBody(Body):
    """Which role."""

    name: str = Field(description="The role's name or UUID")
    kind: str | None = Field(default=None, description="Not looked at")
    api_group: str | None = Field(
        default=None, validation_alias=AliasChoices("api_group", "apiGroup"), description="Not looked at"
    )


class SubjectBody(Body):
    """Who gets the role, and where."""

    kind: SubjectKind = Field(description="`Group`: every account, by the name `authenticated`")
    name: str = Field(description="The account's name, or the group's")
    namespace: str | None = Field(default=None, description="Where it counts; null: everywhere")


class NewGroupBindingBody(Body):
    """A role for subjects."""

    name: Label = Field(description="Unique, ignoring case")
    role_ref: RoleRefBody = Field(description="Which role")
    subjects: list[SubjectBody] = Field(description=f"1 to {MAX_SUBJECTS}")


class RoleRef(Answer):
    """Which role."""

    api_group: Literal["rbac"] = Field(description="Always `rbac`")
    kind: Literal["Role"] = Field(description="Always `Role`")
    name: str = Field(description="The role's name")


class BindingSubject(Answer):
    """Who has the role, and where."""

    kind: SubjectKind = Field(description="As given")
    name: str = Field(description="The account's name, or `authenticated`: every account")
    namespace: str | None = Field(description="Where it counts; null: everywhere")


class GroupBinding(Answer):
    """A role for subjects, as the contract organizations shows it."""

    id: str = Field(description="UUID; of what is there from the start, a name")
    name: str = Field(description="Its name; its id where it was given none")
    role_ref: RoleRef = Field(description="Which role")
    subjects: list[BindingSubject] = Field(description="Those that the caller may see")
    created_at: Time = Field(description="When it was made")
    updated_at: Time = Field(description="The same: bindings do not change")
