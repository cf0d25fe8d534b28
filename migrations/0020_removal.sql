-- Removal of metadata and documents (ITI-62, ITI-86), and what forbids it: how long documents are to be kept, legal holds. Locks: SHARE
-- on imaging_study and imaging_source_manifest, for one pass over each.

CREATE TABLE retention_rule (
    id         integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    facility   integer REFERENCES facility (id),
    class_code integer REFERENCES code (id),
    years      integer NOT NULL DEFAULT 0,
    days       integer NOT NULL DEFAULT 0,
    reason     text NOT NULL DEFAULT '',
    added_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    added_by   text NOT NULL,
    removed_at timestamptz,
    removed_by text NOT NULL DEFAULT '',
    CHECK (years >= 0 AND days >= 0 AND years + days > 0)
);
COMMENT ON TABLE retention_rule IS 'how long documents are to be kept at least; of several rules the longest counts';
COMMENT ON COLUMN retention_rule.facility IS 'source facility of the documents; NULL: any; also class_code';
COMMENT ON COLUMN retention_rule.years IS 'from the later of creationTime and registration on';

CREATE TABLE legal_hold (
    id          integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    patient     bigint,
    unique_id   text NOT NULL DEFAULT '',
    reason      text NOT NULL,
    added_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    added_by    text NOT NULL,
    released_at timestamptz,
    released_by text NOT NULL DEFAULT '',
    CHECK ((patient IS NULL) <> (unique_id = ''))
);
COMMENT ON TABLE legal_hold IS 'of a patient or of one document nothing is removed until it is released';
COMMENT ON COLUMN legal_hold.patient IS 'row of patient_identifier; identifiers that were merged with it count too';
COMMENT ON COLUMN legal_hold.unique_id IS 'of a document';

CREATE TABLE removal (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    removed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    is_bytes   boolean NOT NULL,
    node       text NOT NULL,
    user_id    text NOT NULL,
    unique_id  text NOT NULL,
    patient_id text NOT NULL,
    entry_uuid uuid,
    size_bytes bigint,
    sha256     bytea
);
COMMENT ON TABLE removal IS 'DocumentEntries and documents that were removed, rows are never changed; the audit trail has the same, and what else was removed';
COMMENT ON COLUMN removal.is_bytes IS 'true: the document of a repository (ITI-86), with size_bytes and sha256; false: a DocumentEntry (ITI-62)';
COMMENT ON COLUMN removal.node IS 'who asked for it; user_id: the person of its assertion';
CREATE INDEX removal_unique_id ON removal (hashtext(unique_id));

-- Removal looks for the studies whose manifest goes.
CREATE INDEX imaging_study_manifest ON imaging_study (hashtext(manifest_unique_id)) WHERE manifest_unique_id <> '';
CREATE INDEX imaging_source_manifest_document ON imaging_source_manifest (hashtext(unique_id));
