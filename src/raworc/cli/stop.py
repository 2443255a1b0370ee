"""How a command ends early: what to say to the person who typed it, and the exit code."""

FAILED = 1
INTERRUPTED = 130


class Stop(Exception):
    """Ends the command. The message names the next step."""

    def __init__(self, message: str, *, code: int = FAILED) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
