"""How long one access check takes in process, in microseconds, and a login over HTTP, in milliseconds.

    .venv/bin/python bench/access.py

Three callers: one who may what everybody may, a member of twenty spaces, and one with as many rules as a role can
have. Each is asked what he may and what he may not; the slower of both counts.

Logins go to a `raworc up`, one after the other, with the password hash as it is: of an account, with a wrong password,
and of names that nobody has. Failures are forgotten now and then, or the server would soon refuse to try.
"""

import statistics
import time
import timeit
from collections.abc import Callable

import psycopg

from installation import Answered, Api, installed
from raworc.domain.access import Grant, may, rule
from reads import database_url

SELF_SERVICE = Grant((rule(["own-agents", "own-keys"], ["*"]),), None)
OPERATOR = (
    rule(["sessions", "agents", "secrets"], ["create", "read", "update", "delete", "list"]),
    rule(["secrets"], ["read-values"]),
    rule(["spaces"], ["read", "list"], "global"),
)
CALLERS = {
    "everybody": ([SELF_SERVICE], "default"),
    "operator of 20 spaces": ([SELF_SERVICE, *(Grant(OPERATOR, f"space-{n}") for n in range(20))], "space-19"),
    "64 rules": (
        [Grant((*(rule([f"r{n}"], ["read"]) for n in range(63)), rule(["agents"], ["update"])), None)],
        "a",
    ),
}
ROUNDS = 20_000
AIM_US = 20.0
LOGINS = 60
LOGIN_AIM_MS = 100.0


def main() -> None:
    """Print a line for each caller, and for each kind of login."""
    for name, (grants, space) in CALLERS.items():
        found = max(_us(grants, verb, space) for verb in ("update", "read-values"))
        print(f"{name:<24} {found:6.2f} us  {'ok' if found <= AIM_US else f'above {AIM_US:g} us'}")
    _logins()


def _logins() -> None:
    with installed() as installation, psycopg.connect(database_url(installation.home), autocommit=True) as conn:
        api = Api(installation.port)
        kinds: dict[str, Callable[[int], tuple[str, str]]] = {
            "login": lambda _: ("admin", "admin"),
            "login, wrong password": lambda _: ("admin", "not-the-password"),
            "login, nobody's name": lambda number: (f"nobody-{number}", "not-the-password"),
        }
        for kind, who in kinds.items():
            times_ms: list[float] = []
            for number in range(LOGINS):
                if number % 5 == 0:
                    conn.execute("DELETE FROM login_failures")
                times_ms.append(_login_ms(api, *who(number), is_right=kind == "login"))
            p50, p95 = statistics.median(times_ms), statistics.quantiles(times_ms, n=20)[18]
            told = "ok" if p95 <= LOGIN_AIM_MS else f"above {LOGIN_AIM_MS:g} ms"
            print(f"{kind:<24} {p50:6.1f} ms at p50, {p95:6.1f} ms at p95  {told}")


def _login_ms(api: Api, name: str, password: str, *, is_right: bool) -> float:
    began = time.perf_counter()
    try:
        api.call("POST", f"/operators/{name}/login", {"pass": password})
    except Answered as answered:
        if is_right or " 401 " not in str(answered):
            raise
    return (time.perf_counter() - began) * 1000


def _us(grants: list[Grant], verb: str, space: str) -> float:
    best = min(timeit.repeat(lambda: may(grants, verb, "agents", space=space), number=ROUNDS // 10, repeat=10))
    return best / (ROUNDS // 10) * 1e6


if __name__ == "__main__":
    main()
