-- How long audit records are kept is for the owner of the tables to say, not for the service role that removes them.
-- `musubi migrate` writes [audit] retention here. Locks: none, a new table only.

CREATE TABLE audit_retention (
    is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
    days    integer NOT NULL CHECK (days > 30)
);
COMMENT ON TABLE audit_retention IS 'one row at most: a month of audit records may be removed when it was over so many days ago; no row: never';

CREATE OR REPLACE FUNCTION audit_drop_partition(at timestamptz) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    next_at timestamptz := (date_trunc('month', at AT TIME ZONE 'UTC') + interval '1 month') AT TIME ZONE 'UTC';
    name text := audit_partition_name(at);
    kept_days integer := (SELECT days FROM audit_retention);
    has_rest boolean;
BEGIN
    IF to_regclass(name) IS NULL THEN
        RETURN false;
    END IF;
    IF kept_days IS NULL OR next_at > now() - make_interval(days => kept_days) THEN
        RAISE EXCEPTION 'these audit records are kept: table audit_retention says %, and musubi migrate writes [audit] retention there',
            coalesce(kept_days || ' days', 'for ever');
    END IF;
    EXECUTE format('SELECT EXISTS (SELECT FROM %I r WHERE NOT EXISTS (SELECT FROM audit_head h'
                   ' WHERE h.chain = r.chain AND h.purpose = ''anchor'' AND h.sequence >= r.sequence))', name) INTO has_rest;
    IF has_rest THEN
        RAISE EXCEPTION 'no anchor says that these audit records were removed';
    END IF;
    EXECUTE format('DROP TABLE %I', name);
    RETURN true;
END $$;

DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION audit_drop_partition(timestamptz) SET search_path = %I, pg_temp', current_schema());
END $$;
