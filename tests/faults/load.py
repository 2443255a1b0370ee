"""Agents at work while things are killed around them: one thread an agent, one turn after the other."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count

from faults.ledger import Ledger, Promise, prompt
from raworc.client import Raworc
from raworc.client.errors import ClientError, Unavailable, Unreachable

TOOLS = 3
_RETRY_S = 0.05
_RUNS = count(1)


@dataclass
class Load:
    """What the threads share. ``refusals`` are answers that no fault excuses; ``refused`` counts the excused ones."""

    ledger: Ledger
    run: int = field(default_factory=lambda: next(_RUNS))  # tells the marks of two loads on one agent apart
    tools: int = TOOLS
    linger_s: float = 0.05
    refusals: list[str] = field(default_factory=list)
    refused: int = 0
    segments: int = 0
    completed: int = 0
    stop: threading.Event = field(default_factory=threading.Event)
    progress: threading.Condition = field(default_factory=threading.Condition)

    def wait_for_progress(self, *, deadline_s: float) -> bool:
        """True when one more segment was seen before the deadline."""
        with self.progress:
            seen = self.segments
            return self.progress.wait_for(lambda: self.segments > seen, deadline_s)

    def _saw(self, *, segments: int = 0, completed: int = 0) -> None:
        with self.progress:
            self.segments += segments
            self.completed += completed
            self.progress.notify_all()

    def work(self, client: Raworc, agent: str) -> None:
        """Give ``agent`` turns until told to stop. A turn not acknowledged is given up, the next has new marks."""
        number = 0
        while not self.stop.is_set():
            number += 1
            marks = tuple(f"{agent}-{self.run}-{number}-{tool}" for tool in range(self.tools))
            try:
                turn = client.responses.create(agent, prompt(marks, linger_s=self.linger_s))
                self.ledger.acknowledge(Promise(agent, turn.id, marks))
                self._follow(client, agent, turn.id)
            except (Unavailable, Unreachable):
                self.refused += 1
                self.stop.wait(_RETRY_S)
            except ClientError as error:
                self.refusals.append(f"{type(error).__name__}: {error}")
                return

    def _follow(self, client: Raworc, agent: str, response_id: str) -> None:
        seen: set[int] = set()
        for event in client.responses.events(agent, response_id):
            number = getattr(event, "id", None)
            if number is None:
                continue
            if number in seen or number < max(seen, default=0):
                self.refusals.append(f"event {number} of '{agent}' came twice or late")
            seen.add(number)
            self._saw(segments=1)
        self._saw(completed=1)


@contextmanager
def working(load: Load, client: Raworc, agents: list[str]) -> Iterator[None]:
    """Keep ``agents`` busy inside the block; afterwards each finishes its turn."""
    threads = [threading.Thread(target=load.work, args=(client, agent), name=agent) for agent in agents]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        load.stop.set()
        for thread in threads:
            thread.join(60)
