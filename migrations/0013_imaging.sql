-- The Imaging Document Source (XDS-I.b): application entities, and studies, series and instances that hospitals pushed. Locks: none,
-- new tables only.

CREATE TABLE imaging_ae (
    node         integer NOT NULL REFERENCES node (id),
    ae_title     text COLLATE "C" NOT NULL,
    authority    integer REFERENCES assigning_authority (id),
    issuers      integer[] NOT NULL DEFAULT '{}',
    institutions text[] NOT NULL DEFAULT '{}',
    manifest     text NOT NULL DEFAULT 'auto' CHECK (manifest IN ('auto', 'source')),
    host         text NOT NULL DEFAULT '',
    port         integer NOT NULL DEFAULT 0,
    is_tls       boolean NOT NULL DEFAULT true,
    fingerprint  text NOT NULL DEFAULT '',
    PRIMARY KEY (node, ae_title)
);
COMMENT ON TABLE imaging_ae IS 'DICOM application entities of nodes; one that only node.ae_titles names has the defaults';
COMMENT ON COLUMN imaging_ae.authority IS 'assigning authority of its PatientIDs; NULL: the only one of its facility that is of kind pacs, else its only one';
COMMENT ON COLUMN imaging_ae.issuers IS 'assigning authorities that its IssuerOfPatientID may name; all others are passed over, and the study is flagged';
COMMENT ON COLUMN imaging_ae.institutions IS 'Institution Names (0008,0080) of its own images; all others are foreign; empty: not known';
COMMENT ON COLUMN imaging_ae.manifest IS 'who makes manifests of its studies: auto this server, source the node itself (RAD-68)';
COMMENT ON COLUMN imaging_ae.host IS 'where it takes C-MOVE sub-operations and storage commitment reports; empty: nowhere';
COMMENT ON COLUMN imaging_ae.fingerprint IS 'SHA-256 of its certificate, where that does not name the host';

CREATE TABLE imaging_study (
    id                bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    received_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    changed_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    started_at        timestamptz,
    facility          integer NOT NULL,
    node              integer NOT NULL,
    authority         integer NOT NULL,
    flags             integer NOT NULL DEFAULT 0,
    is_manifest_due   boolean NOT NULL,
    manifest_kind     smallint NOT NULL DEFAULT 0,
    manifest_version  integer NOT NULL DEFAULT 0,
    manifest_entry    uuid,
    manifest_digest   bytea,
    manifest_unique_id text NOT NULL DEFAULT '',
    manifest_failure  text NOT NULL DEFAULT '',
    study_uid         text COLLATE "C" NOT NULL,
    patient_number    text COLLATE "C" NOT NULL,
    ae_title          text NOT NULL,
    patient_name      text NOT NULL,
    patient_birth_date text COLLATE "C" NOT NULL,
    patient_sex       text NOT NULL,
    study_date        text COLLATE "C" NOT NULL,
    study_time        text COLLATE "C" NOT NULL,
    timezone_offset   text NOT NULL,
    accession_number  text COLLATE "C" NOT NULL,
    study_id          text NOT NULL,
    study_description text NOT NULL,
    referring_physician text NOT NULL,
    institution_name  text NOT NULL,
    accession_oid     text NOT NULL,
    placer_order      text NOT NULL,
    placer_order_oid  text NOT NULL,
    procedure_value   text NOT NULL,
    procedure_scheme  text NOT NULL,
    procedure_meaning text NOT NULL,
    anatomy_value     text NOT NULL,
    anatomy_scheme    text NOT NULL,
    anatomy_meaning   text NOT NULL,
    character_set     text NOT NULL,
    character_set_confidence smallint NOT NULL,
    UNIQUE (study_uid, facility, authority, patient_number)
);
COMMENT ON TABLE imaging_study IS 'a study as one facility sent it for one PatientID; whose it is follows from patient_identifier (authority, patient_number); an unknown patient: it waits';
COMMENT ON COLUMN imaging_study.changed_at IS 'when an instance came, within a second; the instances themselves do not lock this row';
COMMENT ON COLUMN imaging_study.started_at IS 'study_date and study_time by timezone_offset, else by [affinity_domain] source_timezone; NULL: no date';
COMMENT ON COLUMN imaging_study.facility IS '0: of no registered node; so is node';
COMMENT ON COLUMN imaging_study.flags IS 'bits of StudyFlag (repository/imaging/index.h)';
COMMENT ON COLUMN imaging_study.is_manifest_due IS 'what is stored has changed since a manifest was made, and this server is to make one';
COMMENT ON COLUMN imaging_study.manifest_kind IS '0 none, 1 of the source (RAD-68), 2 made by this server';
COMMENT ON COLUMN imaging_study.manifest_version IS 'manifests that this server made';
COMMENT ON COLUMN imaging_study.manifest_entry IS 'entryUUID of its DocumentEntry, manifest_unique_id its uniqueId';
COMMENT ON COLUMN imaging_study.manifest_digest IS 'SHA-256 over the instances that it lists';
COMMENT ON COLUMN imaging_study.manifest_failure IS 'why the last attempt to make or register one failed';
COMMENT ON COLUMN imaging_study.ae_title IS 'application entity that sent its first instance; texts are those of that instance, in UTF-8';
COMMENT ON COLUMN imaging_study.character_set IS 'what its texts are in, and how sure that is, in percent (lib/dicom/text.h)';
CREATE INDEX imaging_study_patient ON imaging_study (authority, patient_number);
CREATE INDEX imaging_study_accession ON imaging_study (accession_number) WHERE accession_number <> '';
CREATE INDEX imaging_study_date ON imaging_study (study_date, id);
CREATE INDEX imaging_study_due ON imaging_study (changed_at) WHERE is_manifest_due;
CREATE INDEX imaging_study_flagged ON imaging_study (id) WHERE flags <> 0;

CREATE TABLE imaging_source_manifest (
    facility      integer NOT NULL,
    received_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    study_uid     text COLLATE "C" NOT NULL,
    unique_id     text COLLATE "C" NOT NULL,
    sop_instances text[] COLLATE "C" NOT NULL,
    PRIMARY KEY (study_uid, facility)
);
COMMENT ON TABLE imaging_source_manifest IS 'the last manifest that a facility provided of a study (RAD-68); this server makes none then';
COMMENT ON COLUMN imaging_source_manifest.sop_instances IS 'what it lists, stored here or not';

CREATE TABLE imaging_series (
    id                 bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    study              bigint NOT NULL REFERENCES imaging_study (id),
    position           bigint NOT NULL,
    series_uid         text COLLATE "C" NOT NULL,
    modality           text NOT NULL,
    series_number      text NOT NULL,
    series_description text NOT NULL,
    series_date        text COLLATE "C" NOT NULL,
    series_time        text COLLATE "C" NOT NULL,
    body_part_examined text NOT NULL,
    laterality         text NOT NULL,
    performed_date     text COLLATE "C" NOT NULL,
    performed_time     text COLLATE "C" NOT NULL,
    station_name       text NOT NULL,
    manufacturer       text NOT NULL,
    UNIQUE (study, series_uid)
);
COMMENT ON COLUMN imaging_series.position IS 'series_number as a number; what is none comes last';
CREATE INDEX imaging_series_uid ON imaging_series (series_uid);

CREATE TABLE imaging_instance (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    series           bigint NOT NULL REFERENCES imaging_series (id),
    study            bigint NOT NULL,
    position         bigint NOT NULL,
    received_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    size_bytes       bigint NOT NULL,
    data_set_offset  bigint NOT NULL,
    pixel_offset     bigint NOT NULL,
    number_of_frames bigint NOT NULL,
    facility         integer NOT NULL,
    node             integer NOT NULL,
    variant          integer NOT NULL,
    image_rows       integer NOT NULL,
    image_columns    integer NOT NULL,
    bits_allocated   integer NOT NULL,
    samples_per_pixel integer NOT NULL,
    has_pixel_data   boolean NOT NULL,
    is_lossy         boolean NOT NULL,
    sha256           bytea NOT NULL,
    data_set_sha256  bytea NOT NULL,
    sop_instance     text COLLATE "C" NOT NULL,
    sop_class        text COLLATE "C" NOT NULL,
    transfer_syntax  text COLLATE "C" NOT NULL,
    instance_number  text NOT NULL,
    content_date     text COLLATE "C" NOT NULL,
    content_time     text COLLATE "C" NOT NULL,
    rejected         text NOT NULL DEFAULT '',
    rejected_by      text NOT NULL DEFAULT '',
    frames           bytea NOT NULL,
    metadata         bytea NOT NULL,
    UNIQUE (sop_instance, facility, variant)
);
COMMENT ON TABLE imaging_instance IS 'what is kept; the bytes are the blob named by sha256, a whole file (PS3.10)';
COMMENT ON COLUMN imaging_instance.study IS 'row of imaging_study; the same as that of its series';
COMMENT ON COLUMN imaging_instance.position IS 'instance_number as a number; what is none comes last';
COMMENT ON COLUMN imaging_instance.variant IS '0: what is served; others came later under the same UID with another data set: kept, not served';
COMMENT ON COLUMN imaging_instance.data_set_sha256 IS 'of the data set alone: tells whether two files are the same instance';
COMMENT ON COLUMN imaging_instance.pixel_offset IS 'of native pixel data in the data set; 0: none, or encapsulated';
COMMENT ON COLUMN imaging_instance.rejected IS 'code of the rejection note that names it (IOCM), and its SOP Instance UID in rejected_by; not given out';
COMMENT ON COLUMN imaging_instance.frames IS 'of encapsulated pixel data: offset and length (64 bits each) and fragments (32 bits) of each frame, little endian';
COMMENT ON COLUMN imaging_instance.metadata IS 'DICOM JSON (PS3.18 F), zstd';
ALTER TABLE imaging_instance ALTER COLUMN frames SET STORAGE EXTERNAL, ALTER COLUMN metadata SET STORAGE EXTERNAL;
CREATE INDEX imaging_instance_series ON imaging_instance (series, position, id) WHERE variant = 0 AND rejected = '';
CREATE INDEX imaging_instance_study ON imaging_instance (study) WHERE variant = 0 AND rejected = '';
-- Seven bytes and their length fill the eight that an index entry takes at least.
CREATE INDEX imaging_instance_sha256 ON imaging_instance (substr(sha256, 1, 7));

CREATE TABLE imaging_commitment (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    received_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    due_at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    closed_at       timestamptz,
    node            integer NOT NULL,
    facility        integer NOT NULL,
    attempts        integer NOT NULL DEFAULT 0,
    ae_title        text NOT NULL,
    transaction_uid text COLLATE "C" NOT NULL,
    failure         text NOT NULL DEFAULT '',
    sop_classes     text[] NOT NULL,
    sop_instances   text[] NOT NULL,
    reasons         integer[],
    UNIQUE (transaction_uid, node, ae_title)
);
COMMENT ON TABLE imaging_commitment IS 'requests for storage commitment (PS3.4 J), kept for 30 days after they are closed: a Transaction UID is used once';
COMMENT ON COLUMN imaging_commitment.due_at IS 'when the report is to be sent next';
COMMENT ON COLUMN imaging_commitment.closed_at IS 'the report was taken, or was given up (failure)';
COMMENT ON COLUMN imaging_commitment.reasons IS 'of each instance: 0 committed, else the Failure Reason; NULL: not looked at yet';
CREATE INDEX imaging_commitment_due ON imaging_commitment (due_at) WHERE closed_at IS NULL;
CREATE INDEX imaging_commitment_closed ON imaging_commitment (closed_at) WHERE closed_at IS NOT NULL;
