"""Which conversation a model call belongs to, and where in it.

A conversation is a tree of nodes; a node is a request with its answer, and a resend of it is another try of the same
node. A branch is one chain of nodes: the first child of a node stays on its branch, every other one opens a branch of
its own. Calls are placed in the order of their start, each from what was placed before it, so that placing them one
by one, in batches or all over again gives the same. Nothing is ever linked across spaces.
"""

import hashlib
import uuid
from collections import defaultdict
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

from raworc.domain.digests import Digest, Fingerprint, TaskUse, continues

LinkSource = Literal["header", "prefix", "compact", "task", "none"]

MAIN: Final = "main"
_SUBTASK: Final = "subtask_"
WINDOW: Final = timedelta(hours=24)
"""How long an answer's tasks and summary wait to be taken up."""
MOST_CANDIDATES: Final = 50
"""Of nodes that say the same, as many of the newest are looked at."""
MOST_SUMMARIES: Final = 200
RETRY_WINDOW: Final = timedelta(minutes=10)
"""How long an opening that failed may be resent; after that it is a conversation of its own."""


HELD: Final = "conversation:"
"""Sessions of this kind are kept by the provider: a request says what is new only, and follows the newest call."""


@dataclass(frozen=True)
class SessionKey:
    """What a client itself says: its session, and which of its agents calls for whom (None: the session's own)."""

    session: str
    agent: str | None = None
    parent: str | None = None


@dataclass(frozen=True)
class Call:
    """A recorded call to be placed. ``body``: the digest of the whole request; ``ok``: it was answered in full.

    ``side`` is a call beside the work of its session (it has a key, and no tools): it does not take ``main``.
    """

    id: uuid.UUID
    at: datetime
    space: str
    train_id: str
    said: Fingerprint
    body: Digest
    ok: bool = True
    side: bool = False
    system: Digest | None = None
    key: SessionKey | None = None

    @property
    def session(self) -> str | None:
        """The session that the client names."""
        return self.key.session if self.key else None

    @property
    def agent(self) -> str | None:
        """The agent of that session, None for its own."""
        return self.key.agent if self.key else None

    @property
    def is_held(self) -> bool:
        """Whether the provider knows what was said before, and the request does not say it again."""
        return self.key is not None and self.key.session.startswith(HELD)


@dataclass(frozen=True)
class Link:
    """Where a call was placed. ``parent_id`` is the node it goes on from, ``retry_of`` the node it is a try of.

    ``parent_digest`` is the digest of the part that was found in the parent; ``parent_task_id`` the request whose
    answer started the subtask that this call belongs to, by the tool use ``task_use``.
    """

    conversation_id: uuid.UUID
    branch_id: str
    source: LinkSource
    parent_id: uuid.UUID | None = None
    parent_digest: Digest | None = None
    retry_of: uuid.UUID | None = None
    is_subtask: bool = False
    parent_task_id: uuid.UUID | None = None
    task_use: str | None = None


@dataclass(frozen=True)
class Node:
    """A call that has its place."""

    call: Call
    link: Link

    @property
    def id(self) -> uuid.UUID:
        """The node's identity: its first try."""
        return self.link.retry_of or self.call.id

    @property
    def age(self) -> tuple[datetime, uuid.UUID]:
        """Nodes in the order in which they were placed."""
        return self.call.at, self.call.id


@dataclass
class Task:
    """A subtask that an answer has started. ``number`` counts those of a conversation; ``taken``: it has begun."""

    node: Node
    use: TaskUse
    number: int
    taken: bool = False


@dataclass
class Conversation:
    """What placing needs of one. ``numbers``: subtasks so far; ``main_taken``: its main chain has begun.

    ``last_at`` is when the newest call started that was placed before those in hand, ``former_branches`` are the
    branches of such calls.
    """

    last_at: datetime | None = None
    former_branches: frozenset[str] = frozenset()
    branches: set[str] = field(default_factory=set[str])
    numbers: int = 0
    main_taken: bool = False

    @property
    def subtasks(self) -> int:
        """How many of its subtasks have begun."""
        return sum(branch.startswith(_SUBTASK) for branch in self.branches)


@dataclass
class Known:
    """What was placed before, as far as the calls in hand may need it; ``place`` adds to it. Lists are in order of age.

    ``nodes`` are found by their space, their session and the digest of their messages, with and without the answer,
    or of the answer's id;
    ``agents`` are the first and the newest node of each agent of a session, ``continued`` the digest of a node's
    first child, ``started`` the subtasks of nodes that ``place`` has added.
    """

    nodes: dict[tuple[str, str | None, Digest], list[Node]] = field(default_factory=lambda: defaultdict(list[Node]))
    agents: dict[tuple[str, str, str | None], tuple[Node, Node]] = field(
        default_factory=dict[tuple[str, str, str | None], tuple[Node, Node]]
    )
    tasks: dict[tuple[str, Digest], list[Task]] = field(default_factory=lambda: defaultdict(list[Task]))
    started: list[Task] = field(default_factory=list[Task])
    summaries: dict[str, list[Node]] = field(default_factory=lambda: defaultdict(list[Node]))
    continued: dict[uuid.UUID, Digest] = field(default_factory=dict[uuid.UUID, Digest])
    conversations: dict[uuid.UUID, Conversation] = field(default_factory=lambda: defaultdict(Conversation))


def place(call: Call, known: Known) -> Link | None:
    """Place a call among those that started before it; None for one without messages, which is in no conversation."""
    if call.said.whole is None:
        return None
    link = _placed(call, known)
    remember(Node(call, link), known)
    return link


def is_late(call: Call, link: Link, known: Known) -> bool:
    """Whether a call that was just placed should have been there before others of its conversation.

    It starts subtasks or a branch, and later calls have numbers and names already that count from it.
    """
    last_at = known.conversations[link.conversation_id].last_at
    opens = bool(call.said.tasks) or link.branch_id not in known.conversations[link.conversation_id].former_branches
    return opens and last_at is not None and last_at > call.at


def remember(node: Node, known: Known) -> None:
    """Make a node known that was just placed."""
    call, link = node.call, node.link
    for digest in (call.said.whole, call.said.answered, call.said.response):
        if digest is not None:
            known.nodes[call.space, call.session, digest].append(node)
    if call.session is not None:
        agent = (call.space, call.session, call.agent)
        known.agents[agent] = (known.agents[agent][0] if agent in known.agents else node, node)
    if call.said.summary is not None and call.ok:
        known.summaries[call.space].append(node)
    conversation = known.conversations[link.conversation_id]
    conversation.branches.add(link.branch_id)
    conversation.main_taken |= link.branch_id == MAIN and not call.side
    if link.parent_id is not None and link.retry_of is None and call.ok and call.said.whole is not None:
        known.continued.setdefault(link.parent_id, call.said.whole)
    for use in call.said.tasks:
        conversation.numbers += 1
        task = Task(node, use, conversation.numbers)
        known.tasks[call.space, use.prompt].append(task)
        known.started.append(task)


def _placed(call: Call, known: Known) -> Link:
    parent, digest = _longest(call, known)
    first_try = _first_try(call, known, parent)
    if first_try is not None:
        return replace(first_try.link, retry_of=first_try.id)
    if call.session is None:
        link = _child(call, known, parent, digest) or _compacted(call, known) or _task(call, known)
        return link or Link(_conversation_id(str(call.id)), MAIN, "none")
    if call.is_held:
        return _next(call, known) or _root(call, known)
    link = _of_agent(call, known, parent, digest) if call.agent is not None else None
    link = link or _child(call, known, parent, digest) or _compacted(call, known) or _task(call, known)
    return replace(link, source="header") if link else _root(call, known)


def _longest(call: Call, known: Known) -> tuple[Node | None, Digest | None]:
    """The node that shares the longest part of the call's messages, short of all of them as a request."""
    for digest in reversed(call.said.prefixes):
        shared = _sharing(call, known, digest)
        if digest == call.said.whole:
            shared = [node for node in shared if node.call.said.whole != digest]
        if shared:
            return max(shared, key=lambda node: _nearness(call, node, known)), digest
    return None, None


def _first_try(call: Call, known: Known, parent: Node | None) -> Node | None:
    """The node that this call is another try of: the same request, sent again.

    An opening is one only after a failure: whole conversations may begin, and go on, alike. So what could as well
    go on from another node, that nobody went on from, does.
    """
    same = [
        node
        for node in _sharing(call, known, call.said.whole or b"")
        if node.call.said.whole == call.said.whole
        if node.call.body == call.body and node.call.agent == call.agent
    ]
    if not same:
        return None
    newest = max(same, key=lambda node: node.age)
    if len(call.said.prefixes) == 1:
        return newest if not newest.call.ok and call.at - newest.call.at <= RETRY_WINDOW else None
    if parent is not None and parent.id != newest.link.parent_id and parent.id not in known.continued:
        return None
    return newest


def _sharing(call: Call, known: Known, digest: Digest) -> list[Node]:
    """The nodes of the call's session, or of none, that say what ``digest`` stands for."""
    return known.nodes.get((call.space, call.session, digest), [])[-MOST_CANDIDATES:]


def _nearness(call: Call, node: Node, known: Known) -> tuple[object, ...]:
    return (
        node.call.agent == call.agent,
        node.call.train_id == call.train_id,
        node.call.system == call.system,
        node.id not in known.continued,
        node.age,
    )


def _child(call: Call, known: Known, parent: Node | None, digest: Digest | None) -> Link | None:
    if parent is None:
        return None
    branch = parent.link.branch_id
    if known.continued.get(parent.id, call.said.whole) != call.said.whole:
        branch = _branch(call, known, parent.link.conversation_id)
    if digest == parent.call.said.response:
        digest = parent.call.said.answered  # it was named, not repeated
    return replace(
        parent.link, branch_id=branch, source="prefix", parent_id=parent.id, parent_digest=digest, retry_of=None
    )


def _compacted(call: Call, known: Known) -> Link | None:
    """The newest summary that the call's first message goes on from."""
    for node in reversed(known.summaries.get(call.space, [])[-MOST_SUMMARIES:]):
        if call.session is not None and node.call.session != call.session:
            continue
        if _recent(call, node) and continues(call.said.opening, node.call.said.summary or ""):
            name = f"compact_{call.at.astimezone(UTC):%H%M%S}"
            branch = _unused(name, known.conversations[node.link.conversation_id])
            return replace(
                node.link, branch_id=branch, source="compact", parent_id=node.id, parent_digest=None, retry_of=None
            )
    return None


def _task(call: Call, known: Known) -> Link | None:
    """The oldest subtask with this prompt that nobody has begun."""
    for task in known.tasks.get((call.space, call.said.prompt or b""), ()):
        same_session = call.session is None or task.node.call.session == call.session
        if same_session and not task.taken and _recent(call, task.node):
            task.taken = True
            return _subtask(task)
    return None


def _of_agent(call: Call, known: Known, parent: Node | None, digest: Digest | None) -> Link | None:
    """What another agent of a session says: a subtask of the agent that it works for. None: it goes on as it was."""
    key = call.key
    if key is None or (parent is not None and parent.call.agent == key.agent):
        return None
    known_as = known.agents.get((call.space, key.session, key.agent))
    if known_as is not None:
        return replace(known_as[0].link, parent_id=None, parent_digest=None, retry_of=None)
    link = _task(call, known)
    if link is None:
        master = known.agents.get((call.space, key.session, key.parent))
        conversation = known.conversations[session_conversation(call)]
        conversation.numbers += 1
        link = Link(session_conversation(call), f"{_SUBTASK}{conversation.numbers}", "header", is_subtask=True)
        link = replace(link, parent_task_id=master[1].call.id) if master else link
    return replace(link, parent_id=parent.id, parent_digest=digest) if parent else link


def _next(call: Call, known: Known) -> Link | None:
    """Behind the newest call of a session that its provider keeps; one that failed changed nothing there."""
    seat = known.agents.get((call.space, call.session or "", call.agent))
    if seat is None:
        return None
    _, newest = seat
    link = replace(newest.link, source="header", retry_of=None)
    return replace(link, parent_id=newest.id, parent_digest=newest.call.said.answered) if newest.call.ok else link


def _root(call: Call, known: Known) -> Link:
    """The first message of a session, or one that goes on from nothing that was said in it."""
    conversation_id = session_conversation(call)
    taken = known.conversations[conversation_id].main_taken
    branch = _branch(call, known, conversation_id) if taken and not call.side else MAIN
    return Link(conversation_id, branch, "header")


def _subtask(task: Task) -> Link:
    return Link(
        task.node.link.conversation_id,
        f"{_SUBTASK}{task.number}",
        "task",
        is_subtask=True,
        parent_task_id=task.node.call.id,
        task_use=task.use.tool_use_id,
    )


def _recent(call: Call, node: Node) -> bool:
    return node.age < (call.at, call.id) and call.at - node.call.at <= WINDOW


def _branch(call: Call, known: Known, conversation_id: uuid.UUID) -> str:
    return _unused(f"branch_{call.at.astimezone(UTC):%Y%m%d%H%M%S}", known.conversations[conversation_id])


def _unused(name: str, conversation: Conversation) -> str:
    """``name``, with a number where the conversation has a branch of that second already."""
    number, free = 1, name
    while free in conversation.branches:
        number += 1
        free = f"{name}_{number}"
    return free


def session_conversation(call: Call) -> uuid.UUID:
    """The conversation of the session that a call names."""
    return _conversation_id(call.space, call.session or "")


def _conversation_id(*parts: str) -> uuid.UUID:
    """The same id for the same parts, always, in the form of a version 4 UUID."""
    digest = hashlib.sha256("\0".join(["raworc conversation", *parts]).encode("utf-8", "surrogatepass")).digest()
    return uuid.UUID(bytes=digest[:16], version=4)
