"""A program: asks ``/livez`` again and again, and prints how long each answer took in ms when its input ends.

A process of its own, so that nothing but the server and the machine makes an answer late.
"""

import http.client
import json
import select
import sys
import time

_EVERY_S = 0.02


def main(host: str, port: int) -> list[float]:
    took: list[float] = []
    while not select.select([sys.stdin], [], [], _EVERY_S)[0]:
        began = time.perf_counter()
        connection = http.client.HTTPConnection(host, port, timeout=30)
        connection.request("GET", "/livez")
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, b"OK")
        connection.close()
        took.append((time.perf_counter() - began) * 1000)
    return took


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]))))  # noqa: T201  what it is for
