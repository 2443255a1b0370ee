-- Conversations know what their calls asked for and were answered, so that they can be chosen by it.
ALTER TABLE conversations
    ADD COLUMN failed BIGINT DEFAULT 0 NOT NULL,
    ADD COLUMN models TEXT[] DEFAULT '{}' NOT NULL,
    ADD COLUMN request_types TEXT[] DEFAULT '{}' NOT NULL,
    ADD COLUMN status_codes INTEGER[] DEFAULT '{}' NOT NULL;

UPDATE conversations c SET failed = s.failed, models = s.models[:100], request_types = s.request_types,
    status_codes = s.status_codes[:100]
FROM (
    SELECT l.conversation_id, count(r.error_type) AS failed, array_agg(DISTINCT coalesce(r.model, '')) AS models,
        array_agg(DISTINCT coalesce(r.request_type, '')) AS request_types,
        array_agg(DISTINCT coalesce(r.status_code, 0)) AS status_codes
    FROM links l LEFT JOIN requests r ON r.id = l.id AND r.created_at = l.created_at
    WHERE l.conversation_id IS NOT NULL
    GROUP BY l.conversation_id
) s
WHERE s.conversation_id = c.id;

ALTER TABLE conversations
    ALTER COLUMN models DROP DEFAULT,
    ALTER COLUMN request_types DROP DEFAULT,
    ALTER COLUMN status_codes DROP DEFAULT;
