-- Keys of new audit records wait in the pending list of their index: the more of them are merged at a time the less each
-- costs, and the fewer wait the faster is a search. So the loader merges them when it has nothing else to do.
-- Locks: none, a new function only.

CREATE FUNCTION audit_merge_keys() RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    name regclass;
BEGIN
    FOR name IN SELECT i.indexrelid::regclass FROM pg_inherits h JOIN pg_index i ON i.indrelid = h.inhrelid
                JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam
                WHERE h.inhparent = 'audit_record'::regclass AND a.amname = 'gin' LOOP
        PERFORM gin_clean_pending_list(name);
    END LOOP;
END $$;
COMMENT ON FUNCTION audit_merge_keys IS 'merges the pending lists of the indexes of audit_record.keys; only their owner may';

DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION audit_merge_keys() SET search_path = %I, pg_temp', current_schema());
    REVOKE ALL ON FUNCTION audit_merge_keys() FROM PUBLIC;
END $$;
