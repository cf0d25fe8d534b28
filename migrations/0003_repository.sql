-- Document Repository: which documents may be served, and where their bytes are named. Locks: none, new table only.

CREATE TABLE repository_document (
    size_bytes           bigint NOT NULL,
    stored_at            timestamptz NOT NULL DEFAULT now(),
    source_facility      integer NOT NULL,
    state                smallint NOT NULL,
    sha256               bytea NOT NULL,
    sha1                 bytea NOT NULL,
    unique_id            text PRIMARY KEY,
    mime_type            text NOT NULL,
    patient_id           text NOT NULL,
    class_code           text NOT NULL,
    confidentiality_code text[] NOT NULL
);
COMMENT ON TABLE repository_document IS 'alone says what ITI-43 may serve; the bytes are the blob named by sha256';
COMMENT ON COLUMN repository_document.state IS '0 pending, 1 registered, 2 quarantined, 3 removed';
CREATE INDEX repository_document_sha256 ON repository_document USING hash (sha256);
CREATE INDEX repository_document_pending ON repository_document (stored_at) WHERE state = 0;
