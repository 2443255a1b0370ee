"""What turns are worked with."""

from dataclasses import dataclass

from raworc.domain.models import Models
from raworc.operator.model import Model
from raworc.services.approvals import Approvals
from raworc.services.knowledge import Knowledge
from raworc.services.requests import Requests
from raworc.services.steps import Steps
from raworc.services.tokens import Tokens


@dataclass(frozen=True)
class Desk:
    """The same for all turns of an operator. ``soft_limit_tokens``: a context that counts as full."""

    steps: Steps
    knowledge: Knowledge
    approvals: Approvals
    requests: Requests
    model: Model
    tokens: Tokens
    models: Models
    max_model_calls: int
    soft_limit_tokens: int
