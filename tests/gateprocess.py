"""A gateway in a process of its own, to be killed or attacked.

``gateprocess.py HOME BASE_URL [PATIENCE_S]`` prints its address and a token.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from gate import gate


@asynccontextmanager
async def gate_process(
    home: Path, base_url: str, *patience_s: float
) -> AsyncIterator[tuple[asyncio.subprocess.Process, dict[str, str]]]:
    """One that runs until the block ends, and what it printed."""
    words = (sys.executable, __file__, str(home), base_url, *map(str, patience_s))
    process = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            said = json.loads(await process.stdout.readline())
        yield process, said
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def main() -> None:
    patience_s = float(sys.argv[3]) if len(sys.argv) > 3 else None
    async with gate(Path(sys.argv[1]), base_url=sys.argv[2], api_key="k", patience_s=patience_s) as at:
        sys.stdout.write(json.dumps({"url": at.url, "token": at.login()}) + "\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
