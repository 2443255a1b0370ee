"""A program: asks ``/livez`` again and again, and prints what it measured in ms when its input ends.

``took``: how long each answer took. ``late``: how much later than it had asked for it was woken before each request;
so long does a process wait for a processor here. A process of its own, so that nothing but the server and the
machine makes an answer late.
"""

import http.client
import json
import select
import sys
import time

_EVERY_S = 0.02


def main(host: str, port: int) -> dict[str, list[float]]:
    took: list[float] = []
    late: list[float] = []
    slept = time.perf_counter()
    while not select.select([sys.stdin], [], [], _EVERY_S)[0]:
        began = time.perf_counter()
        late.append((began - slept - _EVERY_S) * 1000)
        connection = http.client.HTTPConnection(host, port, timeout=30)
        connection.request("GET", "/livez")
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, b"OK")
        connection.close()
        slept = time.perf_counter()
        took.append((slept - began) * 1000)
    return {"took": took, "late": late}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]))))  # noqa: T201  what it is for
