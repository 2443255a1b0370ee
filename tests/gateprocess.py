"""A gateway in a process of its own, to be killed or attacked.

``gateprocess.py HOME BASE_URL [PATIENCE_S]`` prints its address and a token.
"""

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from gate import gate
from nursery import Process, nursery
from waiting import until


@asynccontextmanager
async def gate_process(home: Path, base_url: str, *patience_s: float) -> AsyncIterator[tuple[Process, dict[str, str]]]:
    """One that runs until the block ends, and what it printed."""
    words = [__file__, str(home), base_url, *map(str, patience_s)]
    with tempfile.NamedTemporaryFile() as output:

        def printed() -> bytes:
            return Path(output.name).read_bytes()

        process = nursery().start(words, env=dict(os.environ), output=output, pass_fds=())
        try:
            await until(lambda: printed().endswith(b"\n") or process.poll() is not None)
            assert process.poll() is None, printed()
            yield process, json.loads(printed())
        finally:
            process.kill()
            process.wait()


async def main() -> None:
    patience_s = float(sys.argv[3]) if len(sys.argv) > 3 else None
    async with gate(Path(sys.argv[1]), base_url=sys.argv[2], api_key="k", patience_s=patience_s) as at:
        sys.stdout.write(json.dumps({"url": at.url, "token": at.login()}) + "\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
