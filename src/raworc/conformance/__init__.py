"""What a gateway for model calls has to do, as checks that run against any one whose provider is our stand-in.

``CHECKS`` is the table. Nothing here knows how a gateway works inside: a check sends bytes from one side, plays
the provider on the other, and compares. Sources: the public contract for gateways of Claude Code, and HTTP itself.
"""

from raworc.conformance.bench import Bench, Failure, Subject
from raworc.conformance.caller import Address, BadAddress
from raworc.conformance.run import CHECKS, DEADLINE_S, Check, Result, examine, stranger_at
from raworc.conformance.standin import Standin
from raworc.conformance.wires import WIRES, Wire, wire_named

__all__ = [
    "CHECKS",
    "DEADLINE_S",
    "WIRES",
    "Address",
    "BadAddress",
    "Bench",
    "Check",
    "Failure",
    "Result",
    "Standin",
    "Subject",
    "Wire",
    "examine",
    "stranger_at",
    "wire_named",
]
