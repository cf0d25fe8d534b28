-- When users had logged in, told by a name and a time: a report on hundreds of users would else read each of their login records.
-- Locks: nobody adds audit records meanwhile; all of them are read once. Keys that are not of a name are taken along from records
-- that are there already (migration 0007: a hash says not of what); nobody looks for them.

CREATE TABLE audit_login (
    key         bigint NOT NULL,
    event_at    timestamptz NOT NULL,
    received_at timestamptz NOT NULL
) WITH (autovacuum_vacuum_insert_scale_factor = 0.02);
COMMENT ON TABLE audit_login IS 'the login records of audit_record (event type 110122), once for each name of their user; proves nothing: audit_record does';
COMMENT ON COLUMN audit_login.key IS 'as in audit_record.keys, of a UserID or UserName (atna/repository.h: AUDIT_KEY_LOGIN)';

LOCK TABLE audit_record IN SHARE ROW EXCLUSIVE MODE;
INSERT INTO audit_login SELECT key, event_at, received_at FROM audit_record, unnest(keys) AS key WHERE event_types @> '{110122}';
CREATE INDEX audit_login_key ON audit_login (key, event_at);
ANALYZE audit_login;

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
    DELETE FROM audit_login WHERE received_at < next_at;
    RETURN true;
END $$;

DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION audit_drop_partition(timestamptz) SET search_path = %I, pg_temp', current_schema());
END $$;
