"""Attacks a fresh sandbox the way hostile code would: ``raworc doctor --attack`` and the suite's own test of it.

``inside/`` is handed in and run as a command; ``outside.py`` looks at the host meanwhile and throws the bombs;
``ground.py`` sets out what must not be reached. A probe that breaks counts as an escape: it proves nothing.
"""

from raworc.sandbox.attack.finding import Finding
from raworc.sandbox.attack.ground import Ground, prepared
from raworc.sandbox.attack.outside import attack, check_outside, probe_inside

__all__ = ["Finding", "Ground", "attack", "check_outside", "prepared", "probe_inside"]
