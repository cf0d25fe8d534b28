-- The PIX manager: authorities with their sources, persons, demographics, links with history, matching, subscribers
-- (ITI TF-1 5, 8, 23; TF-2 3.8, 3.9, 3.10, 3.21, 3.30, 3.64). Each identifier of the affinity domain known so far becomes the
-- XAD-PID of a person of its own. Locks: assigning_authority and patient_identifier exclusively, for one pass over them.

-- ---- assigning authorities ----

ALTER TABLE assigning_authority
    ADD COLUMN is_configured      boolean NOT NULL DEFAULT false,
    ADD COLUMN facility           integer REFERENCES facility (id),
    ADD COLUMN kind               text NOT NULL DEFAULT '',
    ADD COLUMN source_application text NOT NULL DEFAULT '',
    ADD COLUMN source_facility    text NOT NULL DEFAULT '',
    ADD COLUMN source_node        text NOT NULL DEFAULT '',
    ADD COLUMN valid_from         timestamptz,
    ADD COLUMN valid_to           timestamptz,
    ADD COLUMN derive_from        integer REFERENCES assigning_authority (id),
    ADD COLUMN derive_rule        text NOT NULL DEFAULT '';
COMMENT ON COLUMN assigning_authority.is_configured IS 'false: only named by something; no feed and no query for it';
COMMENT ON COLUMN assigning_authority.kind IS 'system that numbers its patients: emr, pacs, department, other';
COMMENT ON COLUMN assigning_authority.source_application IS 'MSH-3 of the one Patient Identity Source; * any; empty: any node that may feed';
COMMENT ON COLUMN assigning_authority.source_facility IS 'MSH-4 of the same';
COMMENT ON COLUMN assigning_authority.source_node IS 'registered node that alone may feed it; empty: told by MSH-3|MSH-4';
COMMENT ON COLUMN assigning_authority.valid_from IS 'epoch of the system; NULL: open. Feeds outside are refused, queries go on';
COMMENT ON COLUMN assigning_authority.derive_from IS 'its numbers follow from those of this authority, by derive_rule';
COMMENT ON COLUMN assigning_authority.derive_rule IS 'pad=N, strip-zeros or prefix=TEXT: from a number of derive_from to one of this authority';
CREATE UNIQUE INDEX assigning_authority_namespace ON assigning_authority (namespace) WHERE namespace <> '' AND is_configured;

-- ---- identifiers and persons ----

CREATE SEQUENCE person_id;
ALTER TABLE patient_identifier
    ADD COLUMN person       bigint,
    ADD COLUMN is_xad_pid   boolean NOT NULL DEFAULT true,
    ADD COLUMN is_announced boolean NOT NULL DEFAULT true;
UPDATE patient_identifier SET person = coalesce(survivor, id);
SELECT setval('person_id', greatest(1, (SELECT max(id) FROM patient_identifier)));
ALTER TABLE patient_identifier
    ALTER COLUMN person SET NOT NULL,
    ALTER COLUMN is_xad_pid DROP DEFAULT;
COMMENT ON COLUMN patient_identifier.person IS 'identifiers of the same value are one person';
COMMENT ON COLUMN patient_identifier.is_xad_pid IS 'of the affinity domain''s authority';
COMMENT ON COLUMN patient_identifier.is_announced IS 'false: minted, and not yet known to every other registry; not handed out until then';
CREATE INDEX patient_identifier_person ON patient_identifier (person);
CREATE UNIQUE INDEX patient_identifier_xad_pid ON patient_identifier (person) WHERE is_xad_pid AND survivor IS NULL;

CREATE TABLE patient_demographics (
    identifier  bigint PRIMARY KEY,
    updated_at  timestamptz NOT NULL DEFAULT now(),
    birth_date  text COLLATE "C" NOT NULL,
    sex         text COLLATE "C" NOT NULL,
    postal_code text COLLATE "C" NOT NULL,
    phones      text[] NOT NULL,
    match_profile text NOT NULL,
    record      text NOT NULL
);
COMMENT ON TABLE patient_demographics IS 'what the source of an identifier said of its patient, as last fed';
COMMENT ON COLUMN patient_demographics.record IS 'lib/hl7/demographics.h; the other columns are made from it';
COMMENT ON COLUMN patient_demographics.match_profile IS 'normal forms that matching compares (pix/matching/match.h)';
COMMENT ON COLUMN patient_demographics.birth_date IS 'YYYY, YYYYMM, YYYYMMDD or empty';
COMMENT ON COLUMN patient_demographics.phones IS 'digits only';
CREATE INDEX patient_demographics_birth_date ON patient_demographics (birth_date);
CREATE INDEX patient_demographics_phones ON patient_demographics USING gin (phones) WITH (fastupdate = off);

CREATE TABLE patient_name (
    identifier bigint NOT NULL,
    family     text COLLATE "C" NOT NULL,
    given      text COLLATE "C" NOT NULL
);
COMMENT ON TABLE patient_name IS 'every name of patient_demographics folded for search (pix/matching/normal_form.h)';
CREATE INDEX patient_name_identifier ON patient_name (identifier);
CREATE INDEX patient_name_family ON patient_name (family);
CREATE INDEX patient_name_given ON patient_name (given);

CREATE TABLE match_key (
    key        bigint NOT NULL,
    identifier bigint NOT NULL,
    PRIMARY KEY (key, identifier)
);
COMMENT ON TABLE match_key IS 'hashes of what two records of one patient probably share (pix/matching/match.h): blocking';

-- ---- links ----

CREATE TABLE patient_link (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    linked_at      timestamptz NOT NULL DEFAULT now(),
    identifier     bigint NOT NULL,
    from_person    bigint,
    to_person      bigint NOT NULL,
    reason         text NOT NULL,
    score          real,
    other          bigint,
    undoes         bigint,
    undone_at      timestamptz,
    merge          bigint REFERENCES patient_merge (id),
    submission_set uuid,
    node           integer NOT NULL,
    source         text NOT NULL,
    message_id     text NOT NULL
);
COMMENT ON TABLE patient_link IS 'every time that an identifier came to a person that others are or were in: who, when, why';
COMMENT ON COLUMN patient_link.from_person IS 'NULL: it was new';
COMMENT ON COLUMN patient_link.reason IS 'row of pix/link_reasons.def';
COMMENT ON COLUMN patient_link.other IS 'identifier that it was matched, merged or linked with';
COMMENT ON COLUMN patient_link.linked_at IS 'the same for all rows of one change, which are undone together';
COMMENT ON COLUMN patient_link.merge IS 'the merge that it was part of';
COMMENT ON COLUMN patient_link.submission_set IS 'SubmissionSet that moved its documents; NULL: none did';
COMMENT ON COLUMN patient_link.source IS 'MSH-3|MSH-4, or the operator''s account';
CREATE INDEX patient_link_identifier ON patient_link (identifier);

-- History outlives what it names: an identifier that was removed leaves its undone merges behind.
ALTER TABLE patient_merge
    ADD COLUMN submission_set uuid,
    DROP CONSTRAINT patient_merge_subsumed_fkey,
    DROP CONSTRAINT patient_merge_survivor_fkey;
COMMENT ON COLUMN patient_merge.submission_set IS 'SubmissionSet that moved the documents of a local identifier; NULL: none did';

CREATE TABLE link_decision (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    one         bigint NOT NULL,
    other       bigint NOT NULL,
    proposed_at timestamptz NOT NULL DEFAULT now(),
    score       real,
    evidence    text NOT NULL DEFAULT '',
    verdict     text,
    decided_at  timestamptz,
    decided_by  text,
    UNIQUE (one, other),
    CHECK (one < other),
    CHECK ((verdict IS NULL) = (decided_at IS NULL))
);
COMMENT ON TABLE link_decision IS 'pairs of identifiers that a person has to decide on, or has decided on: the review queue and its history';
COMMENT ON COLUMN link_decision.evidence IS 'which attributes agree, and how (pix/matching/match.h); never their values';
COMMENT ON COLUMN link_decision.verdict IS 'NULL: open; same, or different: matching never links the two again';
CREATE INDEX link_decision_other ON link_decision (other);
CREATE INDEX link_decision_open ON link_decision (id) WHERE verdict IS NULL;

CREATE TABLE awaited_link (
    authority       integer NOT NULL,
    value           text NOT NULL,
    other_authority integer NOT NULL,
    other_value     text NOT NULL,
    PRIMARY KEY (authority, value, other_authority, other_value)
);
COMMENT ON TABLE awaited_link IS 'A24 links whose identifiers are not both known yet, in both directions (TF-2 3.30.6.6.4)';

-- ---- subscribers ----

CREATE TABLE identity_subscriber (
    id                    integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name                  text NOT NULL UNIQUE,
    kind                  text NOT NULL,
    url                   text NOT NULL,
    fingerprint           text NOT NULL DEFAULT '',
    receiving_application text NOT NULL DEFAULT '',
    receiving_facility    text NOT NULL DEFAULT '',
    authorities           integer[] NOT NULL DEFAULT '{}',
    created_at            timestamptz NOT NULL DEFAULT now(),
    removed_at            timestamptz
);
COMMENT ON TABLE identity_subscriber IS 'who is told of changes: PIX consumers (ITI-10, ITI-46) and other registries (ITI-8, ITI-64)';
COMMENT ON COLUMN identity_subscriber.kind IS 'consumer-v2, consumer-v3 or registry';
COMMENT ON COLUMN identity_subscriber.url IS 'mllps://HOST:PORT, mllp://LOOPBACK:PORT, https://HOST:PORT/PATH';
COMMENT ON COLUMN identity_subscriber.authorities IS 'domains of interest; empty: all';

CREATE TABLE identity_notification (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subscriber   integer NOT NULL REFERENCES identity_subscriber (id),
    person       bigint NOT NULL,
    kind         text NOT NULL,
    message_id   text NOT NULL,
    content      text NOT NULL,
    patients     text[] NOT NULL,
    xad_pid      bigint,
    queued_at    timestamptz NOT NULL DEFAULT now(),
    attempts     integer NOT NULL DEFAULT 0,
    next_at      timestamptz NOT NULL DEFAULT now(),
    refused_at   timestamptz,
    last_failure text NOT NULL DEFAULT ''
);
COMMENT ON TABLE identity_notification IS 'messages not yet acknowledged, sent in order of id; put in with the change itself';
COMMENT ON COLUMN identity_notification.kind IS 'row of pix/subscribers/notifications.def';
COMMENT ON COLUMN identity_notification.message_id IS 'MSH-10, or Message.id of HL7 v3: the same each time it is sent';
COMMENT ON COLUMN identity_notification.patients IS 'identifiers in it (CX), for its audit record';
COMMENT ON COLUMN identity_notification.xad_pid IS 'identifier that is announced by this message (patient_identifier.is_announced)';
COMMENT ON COLUMN identity_notification.refused_at IS 'the receiver said AE: kept for an operator to see; the next ones go on';
CREATE INDEX identity_notification_queue ON identity_notification (subscriber, id) WHERE refused_at IS NULL;
CREATE INDEX identity_notification_refused ON identity_notification (subscriber) WHERE refused_at IS NOT NULL;
CREATE INDEX identity_notification_xad_pid ON identity_notification (xad_pid) WHERE xad_pid IS NOT NULL;

CREATE TABLE identity_told (
    subscriber integer NOT NULL,
    person     bigint NOT NULL,
    digest     bytea NOT NULL,
    notification bigint NOT NULL,
    PRIMARY KEY (subscriber, person)
);
COMMENT ON TABLE identity_told IS 'what a PIX consumer was last told of a person: it is told again only when that changes';
COMMENT ON COLUMN identity_told.digest IS 'SHA-256 of the identifiers in its domains of interest; of the empty text: none are left';
COMMENT ON COLUMN identity_told.notification IS 'message that told it last: an older one that was refused is never sent again';

-- ---- demographics queries ----

CREATE TABLE pdq_continuation (
    node        integer NOT NULL,
    query_id    text NOT NULL,
    query       text NOT NULL,
    last_person bigint NOT NULL,
    delivered   bigint NOT NULL,
    total       bigint NOT NULL,
    expires_at  timestamptz NOT NULL,
    PRIMARY KEY (node, query_id)
);
COMMENT ON TABLE pdq_continuation IS 'demographics queries of HL7 v3 whose answers are not delivered to their end (TF-2 3.47.4.3)';
COMMENT ON COLUMN pdq_continuation.query_id IS 'extension@root of the queryId';
COMMENT ON COLUMN pdq_continuation.query IS 'queryByParameter';
COMMENT ON COLUMN pdq_continuation.delivered IS 'patients that were sent; last_person is the last of them';
