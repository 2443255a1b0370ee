"""What guest and operator say to each other about one command. Imported on both sides of the wall."""

import struct

REQUEST = struct.Struct("!dQQII")
"""Time limit (s), most output and largest file (bytes), lengths of environment and script, which follow."""
FRAME = struct.Struct("!cI")
"""Kind and length. Kinds: ``o`` output, ``x`` an EXIT, ``e`` a FAILURE."""
EXIT = struct.Struct("!iBIQQ")
"""Status, reason (0 exited, 1 timeout, 2 cancelled), duration (ms), bytes left out, bytes before the gap."""
FAILURE = struct.Struct("!I")
"""The errno that prevented the start."""

GRACE_S = 5.0
"""Between asking a command to end and killing it."""
MAX_REQUEST_BYTES = 16_777_216
MAX_FRAME_BYTES = 65_536
