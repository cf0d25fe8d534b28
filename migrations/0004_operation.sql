-- Nodes, facilities, their activity, and the audit outbox. Locks: none, new tables only.

CREATE TABLE facility (
    id   integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE
);

CREATE TABLE node (
    id           integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name         text NOT NULL UNIQUE,
    facility     integer NOT NULL REFERENCES facility (id),
    transactions text[] NOT NULL,
    sources      text[] NOT NULL DEFAULT '{}',
    ae_titles    text[] NOT NULL DEFAULT '{}',
    source_ids   text[] NOT NULL DEFAULT '{}',
    is_operator  boolean NOT NULL DEFAULT false,
    created_at   timestamptz NOT NULL DEFAULT now(),
    revoked_at   timestamptz
);
COMMENT ON COLUMN node.transactions IS 'transaction numbers such as ITI-41, or * for all';
COMMENT ON COLUMN node.sources IS 'MSH-3|MSH-4 pairs that this node may send HL7 v2 messages as';
COMMENT ON COLUMN node.source_ids IS 'SubmissionSet.sourceId values that this node may submit with; empty = any';

CREATE TABLE node_certificate (
    fingerprint text PRIMARY KEY,
    node        integer NOT NULL REFERENCES node (id),
    subject     text NOT NULL,
    not_after   timestamptz NOT NULL
);
COMMENT ON COLUMN node_certificate.fingerprint IS 'SHA-256 of the certificate, 64 lower-case hexadecimal digits';

CREATE TABLE node_activity (
    node           integer NOT NULL,
    transaction    text NOT NULL,
    success_count  bigint NOT NULL DEFAULT 0,
    error_count    bigint NOT NULL DEFAULT 0,
    received_bytes bigint NOT NULL DEFAULT 0,
    sent_bytes     bigint NOT NULL DEFAULT 0,
    last_success   timestamptz,
    last_error     timestamptz,
    last_error_code text,
    PRIMARY KEY (node, transaction)
);
COMMENT ON TABLE node_activity IS 'what each node did last: durable, flushed every few seconds; node 0 = no registered node';

CREATE TABLE audit_outbox (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    queued_at timestamptz NOT NULL DEFAULT now(),
    message   text NOT NULL
);
COMMENT ON TABLE audit_outbox IS 'audit events of writes, put in with the write itself; the only audit table that may be deleted from';
