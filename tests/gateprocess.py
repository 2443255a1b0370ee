"""A gateway in a process of its own, to be killed: ``gateprocess.py HOME BASE_URL`` prints its address and a token."""

import asyncio
import json
import sys
from pathlib import Path

from gate import gate


async def main() -> None:
    async with gate(Path(sys.argv[1]), base_url=sys.argv[2], api_key="k") as at:
        sys.stdout.write(json.dumps({"url": at.url, "token": at.login()}) + "\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
