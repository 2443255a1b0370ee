"""What Postgres itself does when rows of ``schema.py`` change."""

from typing import Final

COUNT_AGENTS: Final = """
CREATE FUNCTION raworc_count_agents() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        UPDATE agent_counts SET count = count - 1
        WHERE kind = OLD.kind AND owner_id = OLD.owner_id AND space = OLD.space;
    END IF;
    IF TG_OP <> 'DELETE' AND NEW.owner_id IS NOT NULL THEN
        INSERT INTO agent_counts (kind, owner_id, space, count) VALUES (NEW.kind, NEW.owner_id, NEW.space, 1)
        ON CONFLICT (kind, owner_id, space) DO UPDATE SET count = agent_counts.count + 1;
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER count_agents AFTER INSERT OR DELETE OR UPDATE OF kind, owner_id, space ON agents
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION raworc_count_agents()
"""  # at commit: the row of a count is locked for as short as can be

AUDIT_HASH: Final = """sha256({before} || convert_to(jsonb_build_array(
        {entry}.number, {entry}.at, {entry}.actor_id, {entry}.actor, {entry}.verb, {entry}.resource, {entry}.name,
        {entry}.space, {entry}.address, {entry}.allowed, {entry}.details)::text, 'UTF8'))"""
"""SQL for the hash of an entry of ``audit`` behind the hash ``before``. The session's time zone has to be UTC."""

AUDIT_ONLY_GROWS: Final = """
CREATE FUNCTION raworc_audit_only_grows() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of audit are only ever added';
END $$;
CREATE TRIGGER audit_only_grows BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION raworc_audit_only_grows()
"""

AUDIT_CHAIN: Final = f"""
CREATE TRIGGER audit_chain_only_grows BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_chain
    FOR EACH STATEMENT EXECUTE FUNCTION raworc_audit_only_grows();
CREATE FUNCTION raworc_chain_audit() RETURNS trigger LANGUAGE plpgsql SET timezone = 'UTC' AS $$
DECLARE
    last audit_chain;
BEGIN
    PERFORM pg_advisory_xact_lock(7236904);
    SELECT * INTO last FROM audit_chain ORDER BY position DESC LIMIT 1;
    INSERT INTO audit_chain (position, number, hash)
    VALUES (coalesce(last.position, 0) + 1, NEW.number,
        {AUDIT_HASH.format(before="coalesce(last.hash, ''::bytea)", entry="NEW")});
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER chain_audit AFTER INSERT ON audit
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION raworc_chain_audit()
"""  # noqa: S608  constants. At commit: writers wait for each other for as short as can be, in the order of commits
