"""What a test has an operator do without running one."""

from collections.abc import Awaitable, Callable

Works = Callable[..., Awaitable[int]]
"""``works(name, *entries, **columns)``: write ``entries`` about an agent's session, after setting its columns."""
