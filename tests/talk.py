"""Clients that talk at random, and a memory of who said what: what linking must find out from the calls alone."""

import json
import random
from dataclasses import dataclass, field

from raworc.domain.conversations import SessionKey


def user(said):
    return {"role": "user", "content": said}


def assistant(said):
    return {"role": "assistant", "content": said}


def agent_use(number: int, prompt: str):
    return {"type": "tool_use", "id": f"toolu_{number}", "name": "Agent", "input": {"prompt": prompt}}


def blocks(said) -> list:
    return [{"type": "text", "text": said}] if isinstance(said, str) else said


def as_chat(message):
    """The same message on the wire of Chat Completions."""
    given = blocks(message["content"])
    uses = [one for one in given if one["type"] == "tool_use"]
    texts = [{"type": "text", "text": one["text"]} for one in given if one["type"] == "text"]
    calls = [
        {"id": one["id"], "type": "function", "function": {"name": one["name"], "arguments": json.dumps(one["input"])}}
        for one in uses
    ]
    return {"role": message["role"], "content": texts or None, **({"tool_calls": calls} if calls else {})}


def as_items(message) -> list:
    """The same message as items of the Responses wire."""
    given, kind = blocks(message["content"]), "input_text" if message["role"] == "user" else "output_text"
    return [
        {"type": "message", "role": message["role"], "content": [{"type": kind, "text": one["text"]}]}
        if one["type"] == "text"
        else {
            "type": "function_call",
            "call_id": one["id"],
            "name": one["name"],
            "arguments": json.dumps(one["input"], indent=1),
        }
        for one in given
    ]


@dataclass
class Said:
    """One request as its client made it, and what must be found out about it."""

    messages: list
    answer: object
    conversation: int
    branch: object
    key: SessionKey | None
    parent: "Said | None" = None  # the nearest one that was recorded
    recorded: bool = True
    ok: bool = True
    tries_of: "Said | None" = None
    subtask: bool = False
    children: list["Said"] = field(default_factory=list)
    tasks: list[str] = field(default_factory=list)


class World:
    """Clients that talk at random, and a memory of who said what. ``dice`` decides everything.

    Without ``losses`` every call is recorded.
    """

    def __init__(self, dice: random.Random, *, losses: bool = True) -> None:
        self.dice = dice
        self.losses = losses
        self.sent: list[Said] = []
        self.alive: list[Said] = []
        self.words = 0
        self.conversations = 0

    def word(self) -> str:
        self.words += 1
        return f"word {self.words}"

    def step(self) -> None:
        moves = [self.open, self.go_on, self.go_on, self.go_on, self.fork, self.retry, self.lose, self.begin_task]
        self.dice.choice(moves if self.alive else [self.open])()

    def open(self) -> None:
        self.conversations += 1
        key = SessionKey(f"session {self.conversations}") if self.dice.random() < 0.3 else None
        opening = "hello" if key else self.word()
        self.say([user(opening)], None, self.conversations, key=key)

    def go_on(self) -> None:
        leaves = [said for said in self.alive if not said.children]
        if leaves:
            self.follow(self.dice.choice(leaves))

    def fork(self) -> None:
        self.follow(self.dice.choice(self.alive))

    def lose(self) -> None:
        self.follow(self.dice.choice(self.alive), recorded=not self.losses)

    def follow(self, before: Said, *, recorded: bool = True) -> None:
        messages = [*before.messages, assistant(before.answer), user(self.word())]
        self.say(messages, before, before.conversation, key=before.key, recorded=recorded)

    def retry(self) -> None:
        tries = [said for said in self.alive if said.recorded and len(said.messages) > 1 and not said.children]
        if tries:
            first = self.dice.choice(tries)
            again = Said(first.messages, self.word(), first.conversation, first.branch, first.key, first.parent)
            again.tries_of, again.subtask = first.tries_of or first, first.subtask
            self.sent.append(again)

    def begin_task(self) -> None:
        open_tasks = [(said, prompt) for said in self.alive if said.recorded for prompt in said.tasks]
        if open_tasks:
            said, prompt = self.dice.choice(open_tasks)
            said.tasks.remove(prompt)
            self.say([user(prompt)], None, said.conversation, key=said.key, subtask=True)

    def say(self, messages, before, conversation, *, key, recorded=True, subtask=False) -> None:
        said = Said(messages, self.word(), conversation, object(), key, recorded=recorded)
        if self.dice.random() < 0.2:
            said.tasks = [self.word() for _ in range(self.dice.randint(1, 3))]
            said.answer = [agent_use(self.words * 10 + n, prompt) for n, prompt in enumerate(said.tasks)]
        nearest = before
        while nearest is not None and not nearest.recorded:
            nearest = nearest.parent
        said.parent, said.subtask = nearest, subtask or (nearest.subtask if nearest else False)
        if recorded and nearest is not None:
            if not any(child.recorded for child in nearest.children):
                said.branch = nearest.branch
            nearest.children.append(said)
        elif before is not None:
            before.children.append(said)
            said.parent = before
        self.alive.append(said)
        self.sent.append(said)
