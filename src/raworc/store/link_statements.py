"""The statements of ``store/links.py``: what the driver runs as it stands.

Digests are looked for by expressions, as the indexes of ``links`` have them, and then compared whole. Of ``requests``
only the days that the calls are of are opened: each takes time, and there may be hundreds.
"""

from typing import Final

_NODE: Final = """l.id, l.created_at, l.space, l.train_id, l.session, l.agent, l.parent_agent, l.whole, l.answered,
    l.response, l.body_digest, l.system_digest, l.prompt, l.summary, l.ok, l.side, l.conversation_id, l.branch_id,
    l.source, l.parent_id, l.parent_digest, l.retry_of, l.is_subtask, l.parent_task_id, l.task_use"""
_TO_PLACE: Final = f"SELECT {_NODE}, l.prefixes, l.opening, l.tasks FROM links l "  # noqa: S608  our own columns
UNPLACED: Final = _TO_PLACE + "WHERE l.conversation_id IS NULL ORDER BY l.created_at, l.id LIMIT %s"
OF_CONVERSATIONS: Final = _TO_PLACE + "WHERE l.conversation_id = ANY(%s) ORDER BY l.created_at, l.id"
DISTURBED: Final = """
SELECT DISTINCT l.conversation_id
FROM unnest(%(at)s::timestamptz[], %(id)s::uuid[], %(space)s::text[], %(session)s::text[], %(first)s::bytea[],
    %(response)s::bytea[]) AS c (at, id, space, session, first, response)
CROSS JOIN LATERAL (
    SELECT conversation_id FROM links
    WHERE hash_record_extended(ROW(space, session, first), 0)
            = hash_record_extended(ROW(c.space, c.session, c.first), 0)
        AND space = c.space AND session = '' AND c.session = '' AND first = c.first AND created_at >= c.at
        AND (created_at, id) > (c.at, c.id) AND conversation_id IS NOT NULL
    UNION ALL SELECT conversation_id FROM links
    WHERE hash_record_extended(ROW(space, session, first), 0)
            = hash_record_extended(ROW(c.space, c.session, c.response), 0)
        AND space = c.space AND session = '' AND c.session = '' AND first = c.response AND created_at >= c.at
        AND (created_at, id) > (c.at, c.id) AND conversation_id IS NOT NULL
    UNION ALL SELECT conversation_id FROM links
    WHERE space = c.space AND session = c.session AND session <> '' AND created_at >= c.at
        AND (created_at, id) > (c.at, c.id) AND conversation_id IS NOT NULL
) l
"""
DISTURBED_TASKS: Final = """
SELECT DISTINCT l.conversation_id
FROM unnest(%(at)s::timestamptz[], %(space)s::text[], %(prompt)s::bytea[]) AS c (at, space, prompt)
JOIN links l ON l.space = c.space AND l.prompt = c.prompt AND l.created_at >= c.at
    AND l.conversation_id IS NOT NULL
"""
DISTURBED_SUMMARIES: Final = """
SELECT DISTINCT conversation_id FROM links
WHERE space = %(space)s AND created_at BETWEEN %(at)s AND %(until)s AND parent_id IS NULL
    AND conversation_id IS NOT NULL AND strpos(opening, %(probe)s) > 0
"""
SHARING: Final = f"""
SELECT q.digest, l.*
FROM unnest(%(space)s::text[], %(session)s::text[], %(first)s::bytea[], %(digest)s::bytea[])
    AS q (space, session, first, digest)
CROSS JOIN LATERAL (
    (SELECT {_NODE} FROM links l
    WHERE hash_record_extended(ROW(l.space, l.session, l.first), 0)
            = hash_record_extended(ROW(q.space, q.session, q.first), 0)
        AND SUBSTRING(l.whole FROM 1 FOR 7) = SUBSTRING(q.digest FROM 1 FOR 7)
        AND l.space = q.space AND l.session = q.session AND l.whole = q.digest AND l.created_at <= %(bound)s
        AND l.conversation_id IS NOT NULL
    ORDER BY l.created_at DESC, l.id DESC LIMIT %(limit)s)
    UNION ALL
    (SELECT {_NODE} FROM links l
    WHERE hash_record_extended(ROW(l.space, l.session, l.first), 0)
            = hash_record_extended(ROW(q.space, q.session, q.first), 0)
        AND SUBSTRING(l.answered FROM 1 FOR 7) = SUBSTRING(q.digest FROM 1 FOR 7)
        AND l.space = q.space AND l.session = q.session AND l.answered = q.digest AND l.created_at <= %(bound)s
        AND l.conversation_id IS NOT NULL
    ORDER BY l.created_at DESC, l.id DESC LIMIT %(limit)s)
    UNION ALL
    (SELECT {_NODE} FROM links l
    WHERE q.first = q.digest AND hash_record_extended(ROW(l.space, l.session, l.response), 0)
            = hash_record_extended(ROW(q.space, q.session, q.first), 0)
        AND l.space = q.space AND l.session = q.session AND l.response = q.digest
        AND l.created_at <= %(bound)s AND l.conversation_id IS NOT NULL
    ORDER BY l.created_at DESC, l.id DESC LIMIT %(limit)s)
) l
"""  # noqa: S608  our own columns
AGENTS: Final = f"""
SELECT l.* FROM unnest(%(space)s::text[], %(session)s::text[], %(agent)s::text[]) AS q (space, session, agent)
CROSS JOIN LATERAL (
    (SELECT {_NODE} FROM links l WHERE l.space = q.space AND l.session = q.session AND l.agent = q.agent
        AND l.session <> '' AND l.conversation_id IS NOT NULL
    ORDER BY l.created_at, l.id LIMIT 1)
    UNION ALL
    (SELECT {_NODE} FROM links l WHERE l.space = q.space AND l.session = q.session AND l.agent = q.agent
        AND l.session <> '' AND l.conversation_id IS NOT NULL
    ORDER BY l.created_at DESC, l.id DESC LIMIT 1)
) l
"""  # noqa: S608  our own columns
TASKS: Final = f"""
SELECT {_NODE}, t.prompt AS task_prompt, t.tool_use_id, t.number
FROM unnest(%(space)s::text[], %(prompt)s::bytea[]) AS q (space, prompt)
JOIN link_tasks t ON t.space = q.space AND t.prompt = q.prompt AND NOT t.taken
JOIN links l ON l.id = t.request_id AND l.created_at = t.created_at
ORDER BY t.created_at, t.request_id, t.number
"""  # noqa: S608  our own columns
SUMMARIES: Final = f"""
SELECT {_NODE} FROM links l
WHERE l.space = %(space)s AND l.summary IS NOT NULL AND l.ok AND l.created_at BETWEEN %(since)s AND %(until)s
    AND l.conversation_id IS NOT NULL
ORDER BY l.created_at DESC, l.id DESC LIMIT %(limit)s
"""  # noqa: S608  our own columns
CONTINUED: Final = """
SELECT DISTINCT ON (l.parent_id) l.parent_id, l.whole
FROM unnest(%(ids)s::uuid[], %(conversations)s::uuid[]) AS n (id, conversation_id)
JOIN links l ON l.conversation_id = n.conversation_id AND l.parent_id = n.id
WHERE l.retry_of IS NULL AND l.ok
ORDER BY l.parent_id, l.created_at, l.id
"""
STATES: Final = """
SELECT id, last_at, numbers, main_taken,
    array(SELECT branch_id FROM conversation_branches b WHERE b.conversation_id = c.id) AS branches
FROM conversations c WHERE id = ANY(%s)
"""
FORGET: Final = (
    """
    UPDATE link_tasks t SET taken = false FROM links l
    WHERE l.conversation_id = ANY(%(ids)s) AND t.request_id = l.parent_task_id AND t.tool_use_id = l.task_use
        AND t.conversation_id <> ALL(%(ids)s)
    """,
    "DELETE FROM link_tasks WHERE conversation_id = ANY(%(ids)s)",
    "DELETE FROM conversation_branches WHERE conversation_id = ANY(%(ids)s)",
    "DELETE FROM conversations WHERE id = ANY(%(ids)s)",
    "UPDATE links SET conversation_id = NULL WHERE conversation_id = ANY(%(ids)s)",
)
SAVE: Final = """
UPDATE links l SET conversation_id = v.conversation_id, branch_id = v.branch_id, source = v.source,
    parent_id = v.parent_id, parent_digest = v.parent_digest, retry_of = v.retry_of, is_subtask = v.is_subtask,
    parent_task_id = v.parent_task_id, task_use = v.task_use
FROM unnest(%s::uuid[], %s::timestamptz[], %s::uuid[], %s::text[], %s::text[], %s::uuid[], %s::bytea[], %s::uuid[],
    %s::boolean[], %s::uuid[], %s::text[])
    AS v (id, created_at, conversation_id, branch_id, source, parent_id, parent_digest, retry_of, is_subtask,
        parent_task_id, task_use)
WHERE l.id = v.id AND l.created_at = v.created_at
"""
SAVE_TASKS: Final = """
INSERT INTO link_tasks (request_id, number, conversation_id, tool_use_id, space, prompt, created_at, taken)
SELECT v.*, false FROM unnest(%s::uuid[], %s::integer[], %s::uuid[], %s::text[], %s::text[], %s::bytea[],
    %s::timestamptz[]) v
"""
TAKE: Final = """
UPDATE link_tasks t SET taken = true FROM unnest(%s::uuid[], %s::text[]) AS v (request_id, tool_use_id)
WHERE t.request_id = v.request_id AND t.tool_use_id = v.tool_use_id
"""
ADD_BRANCHES: Final = """
INSERT INTO conversation_branches (conversation_id, branch_id, parent_digest, created_at, message_count, is_subtask)
SELECT l.conversation_id, l.branch_id, (array_agg(l.parent_digest ORDER BY l.created_at, l.id))[1],
    min(l.created_at), coalesce(max(r.message_count), 0), bool_or(l.is_subtask)
FROM links l
JOIN unnest(%(ids)s::uuid[], %(at)s::timestamptz[]) AS a (id, at) ON l.id = a.id AND l.created_at = a.at
LEFT JOIN requests r ON r.id = l.id AND r.created_at = l.created_at
    AND r.created_at BETWEEN %(since)s AND %(until)s
GROUP BY 1, 2 ORDER BY 1, 2
ON CONFLICT (conversation_id, branch_id) DO UPDATE SET
    message_count = greatest(conversation_branches.message_count, excluded.message_count)
"""


def _united(name: str) -> str:
    """Both sets, a hundred of both at most: the same ones in whatever order calls come."""
    old, new = f"conversations.{name}", f"excluded.{name}"
    both = f"array(SELECT DISTINCT one FROM unnest({old} || {new}) one ORDER BY one LIMIT 100)"  # noqa: S608  our own names
    return f"{name} = CASE WHEN {old} @> {new} THEN {old} ELSE {both} END"


ADD_CONVERSATIONS: Final = f"""
INSERT INTO conversations (id, space, train_id, account_id, first_at, last_at, latest_request_id, requests, failed,
    tokens, cost_usd, unpriced, models, request_types, status_codes, message_count, subtasks, numbers, main_taken)
SELECT l.conversation_id, min(l.space), (array_agg(l.train_id ORDER BY l.created_at DESC, l.id DESC))[1],
    (array_agg(r.account_id ORDER BY l.created_at DESC, l.id DESC))[1], min(l.created_at), max(l.created_at),
    (array_agg(l.id ORDER BY l.created_at DESC, l.id DESC))[1], count(*), count(r.error_type),
    coalesce(sum(r.input_tokens + r.output_tokens), 0), coalesce(sum(r.cost_usd), 0),
    count(*) FILTER (WHERE r.cost_usd IS NULL AND r.input_tokens + r.output_tokens + r.cache_creation_input_tokens
        + r.cache_read_input_tokens > 0),
    (array_agg(DISTINCT coalesce(r.model, '')))[:100], array_agg(DISTINCT coalesce(r.request_type, '')),
    (array_agg(DISTINCT coalesce(r.status_code, 0)))[:100], coalesce(max(r.message_count), 0),
    min(s.subtasks), min(s.numbers), bool_or(s.main_taken)
FROM links l
JOIN unnest(%(ids)s::uuid[], %(at)s::timestamptz[]) AS a (id, at) ON l.id = a.id AND l.created_at = a.at
JOIN unnest(%(standing)s::uuid[], %(subtasks)s::integer[], %(numbers)s::integer[], %(heads)s::boolean[])
    AS s (id, subtasks, numbers, main_taken) ON s.id = l.conversation_id
LEFT JOIN requests r ON r.id = l.id AND r.created_at = l.created_at
    AND r.created_at BETWEEN %(since)s AND %(until)s
GROUP BY l.conversation_id ORDER BY l.conversation_id
ON CONFLICT (id) DO UPDATE SET
    train_id = CASE WHEN excluded.last_at >= conversations.last_at THEN excluded.train_id
        ELSE conversations.train_id END,
    account_id = CASE WHEN excluded.last_at >= conversations.last_at THEN excluded.account_id
        ELSE conversations.account_id END,
    latest_request_id = CASE WHEN excluded.last_at >= conversations.last_at THEN excluded.latest_request_id
        ELSE conversations.latest_request_id END,
    first_at = least(conversations.first_at, excluded.first_at),
    last_at = greatest(conversations.last_at, excluded.last_at),
    requests = conversations.requests + excluded.requests,
    failed = conversations.failed + excluded.failed,
    tokens = conversations.tokens + excluded.tokens,
    cost_usd = conversations.cost_usd + excluded.cost_usd,
    unpriced = conversations.unpriced + excluded.unpriced,
    {_united("models")}, {_united("request_types")}, {_united("status_codes")},
    message_count = greatest(conversations.message_count, excluded.message_count),
    subtasks = excluded.subtasks, numbers = excluded.numbers, main_taken = excluded.main_taken
"""  # noqa: S608  our own names
CLEAR: Final = (
    "DELETE FROM link_tasks",
    "DELETE FROM conversation_branches",
    "DELETE FROM conversations",
    """
    UPDATE links SET conversation_id = NULL, branch_id = NULL, source = NULL, parent_id = NULL, parent_digest = NULL,
        retry_of = NULL, is_subtask = false, parent_task_id = NULL, task_use = NULL
    WHERE conversation_id IS NOT NULL
    """,
)
