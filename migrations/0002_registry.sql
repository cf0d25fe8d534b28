-- Document Registry: metadata at rest (ITI TF-3 4.2). One wide row per object version with what queries look at, and the
-- rendered object beside it as a small compressed blob (lib/ebrim/rendered.h). Locks: none, new tables only.

CREATE TABLE code (
    id     integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    scheme text NOT NULL,
    code   text NOT NULL,
    UNIQUE (scheme, code)
);
COMMENT ON TABLE code IS 'interned (codingScheme, code) pairs; rows are never removed';

CREATE TABLE metadata_dictionary (
    id    bigint PRIMARY KEY,
    bytes bytea NOT NULL
);
COMMENT ON TABLE metadata_dictionary IS 'zstd dictionaries that stored metadata needs; kept for ever';

CREATE TABLE repository (
    id        integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    unique_id text NOT NULL UNIQUE
);
COMMENT ON TABLE repository IS 'interned repositoryUniqueId values';

CREATE TABLE unique_id (
    size_bytes bigint,
    digest     uuid PRIMARY KEY,
    kind       smallint NOT NULL,
    hash       bytea
);
COMMENT ON TABLE unique_id IS 'every uniqueId once, claimed first in each transaction: first 16 bytes of its SHA-256; kind 0 DocumentEntry, 1 SubmissionSet, 2 Folder; size and SHA-1 of the document (TF-2 3.42.4.1.3.3)';

CREATE TABLE submission_set (
    entry_uuid        uuid PRIMARY KEY,
    patient           bigint NOT NULL,
    submission_time   timestamptz NOT NULL,
    registered_at     timestamptz NOT NULL DEFAULT now(),
    content_type_code integer NOT NULL,
    source_facility   integer NOT NULL,
    status            smallint NOT NULL,
    unique_id         text NOT NULL,
    source_id         text NOT NULL,
    metadata          bytea NOT NULL
);
ALTER TABLE submission_set ALTER COLUMN metadata SET STORAGE EXTERNAL;
COMMENT ON COLUMN submission_set.registered_at IS 'also of everything that it holds as Original';
-- Indexes on uniqueId hold hashtext(), as hash indexes do, but in half the room: queries test it beside the text.
CREATE INDEX submission_set_patient ON submission_set (patient, submission_time);
CREATE INDEX submission_set_unique_id ON submission_set (hashtext(unique_id));

CREATE TABLE document_entry (
    entry_uuid                    uuid PRIMARY KEY,
    lid                           uuid,
    patient                       bigint NOT NULL,
    size_bytes                    bigint,
    creation_time                 timestamptz,
    service_start_time            timestamptz,
    service_stop_time             timestamptz,
    version                       integer NOT NULL,
    class_code                    integer NOT NULL,
    type_code                     integer NOT NULL,
    format_code                   integer NOT NULL,
    practice_setting_code         integer NOT NULL,
    healthcare_facility_type_code integer NOT NULL,
    repository                    integer NOT NULL,
    source_facility               integer NOT NULL,
    status                        smallint NOT NULL,
    is_on_demand                  boolean NOT NULL,
    is_latest                     boolean NOT NULL,
    hash                          bytea,
    unique_id                     text NOT NULL,
    source_patient_id             text NOT NULL,
    confidentiality_code          integer[] NOT NULL,
    event_code_list               integer[],
    reference_id_list             text[],
    metadata                      bytea NOT NULL
);
COMMENT ON COLUMN document_entry.lid IS 'logicalID; NULL = entry_uuid (first version)';
COMMENT ON COLUMN document_entry.status IS '0 Approved, 1 Deprecated';
ALTER TABLE document_entry ALTER COLUMN metadata SET STORAGE EXTERNAL;
CREATE INDEX document_entry_patient ON document_entry (patient, creation_time);
CREATE INDEX document_entry_unique_id ON document_entry (hashtext(unique_id));
CREATE INDEX document_entry_lid ON document_entry (lid) WHERE lid IS NOT NULL;

CREATE TABLE folder (
    entry_uuid       uuid PRIMARY KEY,
    lid              uuid,
    patient          bigint NOT NULL,
    last_update_time timestamptz NOT NULL,
    version          integer NOT NULL,
    source_facility  integer NOT NULL,
    status           smallint NOT NULL,
    is_latest        boolean NOT NULL,
    unique_id        text NOT NULL,
    code_list        integer[] NOT NULL,
    metadata         bytea NOT NULL
);
ALTER TABLE folder ALTER COLUMN metadata SET STORAGE EXTERNAL;
CREATE INDEX folder_patient ON folder (patient, last_update_time);
CREATE INDEX folder_unique_id ON folder (hashtext(unique_id));
CREATE INDEX folder_lid ON folder (lid) WHERE lid IS NOT NULL;

CREATE TABLE association (
    entry_uuid            uuid PRIMARY KEY,
    source_object         uuid NOT NULL,
    target_object         uuid NOT NULL,
    type                  smallint NOT NULL,
    source_kind           smallint NOT NULL,
    target_kind           smallint NOT NULL,
    submission_set_status smallint NOT NULL,
    status                smallint NOT NULL,
    metadata              bytea NOT NULL DEFAULT ''
);
COMMENT ON COLUMN association.type IS 'row of lib/ebrim/association_types.def, counted from 0';
COMMENT ON COLUMN association.source_kind IS '0 DocumentEntry, 1 SubmissionSet, 2 Folder, 3 Association (also target_kind)';
COMMENT ON COLUMN association.submission_set_status IS '0 none, 1 Original, 2 Reference';
COMMENT ON COLUMN association.metadata IS 'Slots and Classifications besides SubmissionSetStatus; empty: none (not NULL, which would cost each row 8 bytes)';
ALTER TABLE association ALTER COLUMN metadata SET STORAGE EXTERNAL;
CREATE INDEX association_source ON association (source_object);
CREATE INDEX association_target ON association (target_object);
