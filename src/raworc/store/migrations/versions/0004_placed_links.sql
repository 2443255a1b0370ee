-- A call that is not placed yet was entered in the index of conversations, too, and once more when it was.
CREATE INDEX ix_links_placed ON links (conversation_id, created_at) WHERE conversation_id IS NOT NULL;
DROP INDEX ix_links_conversation_id;
