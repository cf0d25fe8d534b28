-- The Audit Record Repository (ITI TF-2 3.20): records in month partitions, chained by SHA-256, with signed heads.
-- atna/README.md says what the tables mean and how the chain is made. Locks: none, new tables only.

CREATE TABLE audit_chain (
    id               integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    uuid             uuid NOT NULL UNIQUE,
    created_at       timestamptz NOT NULL DEFAULT now(),
    sequence         bigint NOT NULL DEFAULT 0,
    hash             bytea NOT NULL,
    received_at      timestamptz NOT NULL DEFAULT '-infinity',
    public_key       bytea NOT NULL,
    signed_at        timestamptz NOT NULL,
    signature        bytea NOT NULL,
    received_segment bigint NOT NULL DEFAULT 0,
    received_offset  bigint NOT NULL DEFAULT 0,
    own_segment      bigint NOT NULL DEFAULT 0,
    own_offset       bigint NOT NULL DEFAULT 0
);
COMMENT ON TABLE audit_chain IS 'one chain of audit records per data_dir, and where it ends: changed in the transaction that adds records';
COMMENT ON COLUMN audit_chain.sequence IS 'of the last record; 0: none yet';
COMMENT ON COLUMN audit_chain.hash IS 'of the last record; before the first one: SHA-256 of the 16 bytes of uuid';
COMMENT ON COLUMN audit_chain.received_at IS 'of the last record';
COMMENT ON COLUMN audit_chain.signature IS 'Ed25519 by public_key over the head that these columns are (atna/head.h)';
COMMENT ON COLUMN audit_chain.received_segment IS 'what data_dir/audit/received holds before this place is in the table audit_record';
COMMENT ON COLUMN audit_chain.own_segment IS 'the same for data_dir/audit, the spool of this server''s own events';

CREATE TABLE audit_head (
    chain      integer NOT NULL REFERENCES audit_chain (id),
    sequence   bigint NOT NULL,
    purpose    text NOT NULL,
    hash       bytea NOT NULL,
    public_key bytea NOT NULL,
    signed_at  timestamptz NOT NULL,
    signature  bytea NOT NULL,
    PRIMARY KEY (chain, sequence, purpose)
);
COMMENT ON TABLE audit_head IS 'signed statements about the chain, made at an interval: the record of this sequence has this hash';
COMMENT ON COLUMN audit_head.purpose IS 'head; or anchor: the records up to here were removed when their retention was over';

-- The order of the columns is part of the hash.
CREATE TABLE audit_record (
    chain       integer NOT NULL,
    sequence    bigint NOT NULL,
    received_at timestamptz NOT NULL,
    event_at    timestamptz NOT NULL,
    sender      text COLLATE "C" NOT NULL,
    kind        smallint NOT NULL,
    defects     bigint NOT NULL,
    event_id    text COLLATE "C" NOT NULL,
    event_types text[] NOT NULL,
    action      text COLLATE "C" NOT NULL,
    outcome     smallint NOT NULL,
    source_id   text COLLATE "C" NOT NULL,
    keys        bigint[] NOT NULL,
    raw         bytea NOT NULL,
    hash        bytea NOT NULL
) PARTITION BY RANGE (received_at);
COMMENT ON TABLE audit_record IS 'every audit message that this repository took; rows are added and never changed';
COMMENT ON COLUMN audit_record.sequence IS '1, 2, 3, ... of its chain, without gaps';
COMMENT ON COLUMN audit_record.received_at IS 'when the last byte was here, or the own event was made; never in a month before that of the record before it';
COMMENT ON COLUMN audit_record.event_at IS 'EventDateTime, else the TIMESTAMP of the syslog header, else received_at; the defects say which';
COMMENT ON COLUMN audit_record.sender IS 'audit_sender.sender: who handed the message over, which is proven; what the message says of itself is not';
COMMENT ON COLUMN audit_record.kind IS 'row of atna/record_kinds.def';
COMMENT ON COLUMN audit_record.defects IS 'bit set: rows of atna/defects.def';
COMMENT ON COLUMN audit_record.event_id IS 'code of EventID, e.g. 110112; empty: none';
COMMENT ON COLUMN audit_record.event_types IS 'codes of EventTypeCode, e.g. ITI-18';
COMMENT ON COLUMN audit_record.action IS 'EventActionCode: C, R, U, D, E; empty: none';
COMMENT ON COLUMN audit_record.outcome IS 'EventOutcomeIndicator: 0, 4, 8, 12; -1: none';
COMMENT ON COLUMN audit_record.source_id IS 'AuditSourceID';
COMMENT ON COLUMN audit_record.keys IS 'what the record is found by: hashes of patients, users, nodes, objects, events, sources (atna/repository.h: audit_key)';
COMMENT ON COLUMN audit_record.raw IS 'the message as received: syslog header and all; of own events the XML';
COMMENT ON COLUMN audit_record.hash IS 'SHA-256 of the hash of the record before it and the other columns in the form of COPY BINARY';
CREATE INDEX audit_record_sequence ON audit_record (chain, sequence);
CREATE INDEX audit_record_event_at ON audit_record (event_at);
CREATE INDEX audit_record_keys ON audit_record USING gin (keys);

CREATE TABLE audit_sender (
    sender       text COLLATE "C" PRIMARY KEY,
    transport    text NOT NULL,
    node         text NOT NULL,
    address      text NOT NULL,
    is_trusted   boolean NOT NULL,
    first_at     timestamptz NOT NULL,
    last_at      timestamptz NOT NULL,
    record_count bigint NOT NULL
);
COMMENT ON TABLE audit_sender IS 'counters of who hands over audit messages';
COMMENT ON COLUMN audit_sender.sender IS 'TRANSPORT:NODE@ADDRESS';
COMMENT ON COLUMN audit_sender.transport IS 'tls, udp; own: this server''s own events';
COMMENT ON COLUMN audit_sender.node IS 'registered node; empty over udp';
COMMENT ON COLUMN audit_sender.is_trusted IS 'its certificate was verified, or it is this server';

CREATE TABLE audit_sender_defect (
    sender       text COLLATE "C" NOT NULL,
    defect       smallint NOT NULL,
    record_count bigint NOT NULL,
    PRIMARY KEY (sender, defect)
);
COMMENT ON TABLE audit_sender_defect IS 'how many records of a sender have a defect';
COMMENT ON COLUMN audit_sender_defect.defect IS 'row of atna/defects.def';

-- The service role has no DDL: it makes and removes partitions through these.

CREATE FUNCTION audit_partition_name(at timestamptz) RETURNS text LANGUAGE sql IMMUTABLE AS
$$ SELECT 'audit_record_' || to_char(at AT TIME ZONE 'UTC', 'YYYYMM') $$;

-- Attached instead of made as partition, because that waits for no reader.
CREATE FUNCTION audit_make_partition(at timestamptz) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    first_at timestamptz := date_trunc('month', at AT TIME ZONE 'UTC') AT TIME ZONE 'UTC';
    next_at timestamptz := (date_trunc('month', at AT TIME ZONE 'UTC') + interval '1 month') AT TIME ZONE 'UTC';
    name text := audit_partition_name(at);
BEGIN
    IF to_regclass(name) IS NOT NULL THEN
        RETURN false;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('audit_make_partition'));
    IF to_regclass(name) IS NOT NULL THEN
        RETURN false;
    END IF;
    EXECUTE format('CREATE TABLE %I (LIKE audit_record INCLUDING ALL)', name);
    EXECUTE format('ALTER TABLE audit_record ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', name, first_at, next_at);
    RETURN true;
END $$;
COMMENT ON FUNCTION audit_make_partition IS 'makes the partition of audit_record for the month of this time; false: there is one';

CREATE FUNCTION audit_drop_partition(at timestamptz) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    next_at timestamptz := (date_trunc('month', at AT TIME ZONE 'UTC') + interval '1 month') AT TIME ZONE 'UTC';
    name text := audit_partition_name(at);
    has_rest boolean;
BEGIN
    IF to_regclass(name) IS NULL THEN
        RETURN false;
    END IF;
    IF next_at > now() - interval '1 month' THEN
        RAISE EXCEPTION 'audit records of less than a month ago are not removed';
    END IF;
    EXECUTE format('SELECT EXISTS (SELECT FROM %I r WHERE NOT EXISTS (SELECT FROM audit_head h'
                   ' WHERE h.chain = r.chain AND h.purpose = ''anchor'' AND h.sequence >= r.sequence))', name) INTO has_rest;
    IF has_rest THEN
        RAISE EXCEPTION 'no anchor says that these audit records were removed';
    END IF;
    EXECUTE format('DROP TABLE %I', name);
    RETURN true;
END $$;
COMMENT ON FUNCTION audit_drop_partition IS 'removes the records of a month when anchors cover them all; false: there are none';

-- Only their owner calls the partitions by name; everybody else goes through audit_record.
CREATE FUNCTION audit_guard_partitions(role_name text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    name regclass;
BEGIN
    FOR name IN SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'audit_record'::regclass LOOP
        EXECUTE format('REVOKE ALL ON %s FROM %I', name, role_name);
    END LOOP;
END $$;

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['audit_make_partition(timestamptz)', 'audit_drop_partition(timestamptz)'] LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = %I, pg_temp', name, current_schema());
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', name);
    END LOOP;
END $$;
