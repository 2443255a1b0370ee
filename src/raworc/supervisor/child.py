"""Where a child process of ``raworc up`` begins: ``python -m raworc.supervisor.child <kind> <launch>``.

Its program is loaded with the garbage collector off, which takes a fifth of the time away, and what was loaded is
never looked at by it again.
"""

import gc
import importlib
import sys


def main() -> None:
    """Load the module of this kind of process, then run it."""
    gc.disable()
    module = importlib.import_module(f"raworc.supervisor.{sys.argv[1]}")
    gc.freeze()
    gc.enable()
    module.child()


if __name__ == "__main__":
    main()
