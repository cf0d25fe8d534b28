-- Document Repository: which documents may be served, and where their bytes are named. Locks: none, new tables only.

CREATE TABLE repository_document_kind (
    id                   integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    digest               uuid NOT NULL UNIQUE,
    mime_type            text NOT NULL,
    patient_id_authority text NOT NULL,
    class_code           text NOT NULL,
    confidentiality_code text[] NOT NULL
);
COMMENT ON TABLE repository_document_kind IS 'what many documents have alike, each combination once; rows are never changed or removed';
COMMENT ON COLUMN repository_document_kind.digest IS 'first 16 bytes of the SHA-256 over the other columns';
COMMENT ON COLUMN repository_document_kind.patient_id_authority IS 'patientId (CX) from its first ^ on';

CREATE TABLE repository_document (
    size_bytes        bigint NOT NULL,
    stored_at         timestamptz NOT NULL DEFAULT now(),
    digest            uuid PRIMARY KEY,
    kind              integer NOT NULL,
    source_facility   integer NOT NULL,
    state             smallint NOT NULL,
    sha256            bytea NOT NULL,
    sha1              bytea NOT NULL,
    unique_id         text NOT NULL,
    patient_id_number text NOT NULL
);
COMMENT ON TABLE repository_document IS 'alone says what ITI-43 may serve; the bytes are the blob named by sha256';
COMMENT ON COLUMN repository_document.digest IS 'first 16 bytes of the SHA-256 of unique_id, a third of its size';
COMMENT ON COLUMN repository_document.kind IS 'row of repository_document_kind';
COMMENT ON COLUMN repository_document.state IS '0 pending, 1 registered, 2 quarantined, 3 removed';
COMMENT ON COLUMN repository_document.patient_id_number IS 'patientId (CX) up to its first ^';
-- Seven bytes and their length fill the eight that an index entry takes at least.
CREATE INDEX repository_document_sha256 ON repository_document (substr(sha256, 1, 7));
CREATE INDEX repository_document_pending ON repository_document (stored_at) WHERE state = 0;
