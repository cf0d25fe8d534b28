-- Who may see and do what: roles, confidentiality, enrolment of patients, disclosure between facilities, consent policies,
-- emergency access. Default deny: without rows here a registered node sees nothing. Locks: node and repository_document
-- exclusively, for one pass over the latter.

-- ---- nodes ----

ALTER TABLE node
    ADD COLUMN roles      text[] NOT NULL DEFAULT '{}',
    ADD COLUMN may_submit boolean NOT NULL DEFAULT true,
    ADD COLUMN facilities integer[] NOT NULL DEFAULT '{}';
COMMENT ON COLUMN node.roles IS 'roles (access_role) of requests without a user; empty: node';
COMMENT ON COLUMN node.may_submit IS 'false: it may not submit, whatever its transactions';
COMMENT ON COLUMN node.facilities IS 'facilities besides its own for which it submits, told by the authority of sourcePatientId';

-- ---- roles ----

CREATE TABLE access_role (
    name            text PRIMARY KEY,
    level           smallint NOT NULL CHECK (level BETWEEN 0 AND 2),
    may_break_glass boolean NOT NULL DEFAULT false
);
COMMENT ON COLUMN access_role.level IS 'the most it gets: 0 nothing of a patient, 1 view, 2 download';
COMMENT ON COLUMN access_role.may_break_glass IS 'may see without a disclosure in an emergency that it declares, with a reason';

CREATE TABLE access_role_code (
    code        text NOT NULL,
    code_system text NOT NULL,
    role        text NOT NULL REFERENCES access_role (name),
    PRIMARY KEY (code, code_system)
);
COMMENT ON TABLE access_role_code IS 'which role a subject:role of an assertion is (ITI TF-2 3.40.4.1.2.1)';

CREATE TABLE access_role_confidentiality (
    role text NOT NULL REFERENCES access_role (name),
    code integer NOT NULL REFERENCES code (id),
    PRIMARY KEY (role, code)
);
COMMENT ON TABLE access_role_confidentiality IS 'the confidentialityCodes that a role may see; a document shows only if each of its codes is among them (TF-1 10.2.9)';

INSERT INTO access_role (name, level, may_break_glass) VALUES
    ('node', 2, false), ('physician', 2, true), ('nurse', 2, false), ('pharmacist', 2, false),
    ('clerk', 1, false), ('auditor', 0, false), ('operator', 0, false);
INSERT INTO code (scheme, code)
    SELECT '2.16.840.1.113883.5.25', unnest(ARRAY['U', 'L', 'M', 'N', 'R', 'V']) ON CONFLICT DO NOTHING;
INSERT INTO access_role_confidentiality (role, code)
    SELECT r.name, c.id FROM access_role r, code c
     WHERE c.scheme = '2.16.840.1.113883.5.25' AND r.level > 0
       AND (c.code IN ('U', 'L', 'M', 'N') OR (c.code = 'R' AND r.name = 'physician'));

-- ---- patients ----

CREATE TABLE enrolment (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    patient          bigint NOT NULL,
    decided_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    is_enrolled      boolean NOT NULL,
    decided_by       text NOT NULL,
    form             text NOT NULL DEFAULT '',
    consent_document text NOT NULL DEFAULT '',
    valid_from       timestamptz,
    valid_to         timestamptz
);
COMMENT ON TABLE enrolment IS 'the patient''s decisions, never changed; the last one of an XAD-PID and of all that were merged into it counts';
COMMENT ON COLUMN enrolment.decided_by IS 'operator''s account, or node that submitted consent_document';
COMMENT ON COLUMN enrolment.form IS 'number of the signed form';
COMMENT ON COLUMN enrolment.consent_document IS 'uniqueId of the document (BPPC) that says so';
COMMENT ON COLUMN enrolment.valid_from IS 'a decision that has not begun does not count yet; one to take part ends at valid_to, one not to does not end';
CREATE INDEX enrolment_patient ON enrolment (patient, id DESC) INCLUDE (is_enrolled, valid_from, valid_to);
CREATE INDEX enrolment_consent ON enrolment (consent_document) WHERE consent_document <> '';

CREATE TABLE disclosure (
    id               integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    patient          bigint,
    source_facility  integer REFERENCES facility (id),
    reader_facility  integer REFERENCES facility (id),
    class_codes      integer[],
    is_permit        boolean NOT NULL,
    level            smallint NOT NULL CHECK (level BETWEEN 1 AND 2),
    period_from      timestamptz,
    period_to        timestamptz,
    valid_from       timestamptz,
    valid_to         timestamptz,
    added_at         timestamptz NOT NULL DEFAULT now(),
    added_by         text NOT NULL,
    reason           text NOT NULL DEFAULT '',
    consent_document text NOT NULL DEFAULT '',
    revoked_at       timestamptz,
    revoked_by       text NOT NULL DEFAULT ''
);
COMMENT ON TABLE disclosure IS 'what one facility''s documents may be shown to another; a denial wins over every permission';
COMMENT ON COLUMN disclosure.patient IS 'NULL: every enrolled patient; also source_facility, reader_facility, class_codes (rows of code): any';
COMMENT ON COLUMN disclosure.level IS '1 view, 2 download; a permission reaches up to it, a denial from it on';
COMMENT ON COLUMN disclosure.period_from IS 'of the document: serviceStartTime, else creationTime; one without either is in no period';
COMMENT ON COLUMN disclosure.valid_from IS 'of the rule itself; valid_to is exclusive';
CREATE INDEX disclosure_patient ON disclosure (patient) WHERE revoked_at IS NULL AND patient IS NOT NULL;
CREATE INDEX disclosure_everybody ON disclosure (reader_facility) WHERE revoked_at IS NULL AND patient IS NULL;
CREATE INDEX disclosure_consent ON disclosure (consent_document) WHERE revoked_at IS NULL AND consent_document <> '';

-- ---- consent documents ----

CREATE TABLE consent_policy (
    oid         text PRIMARY KEY,
    name        text NOT NULL,
    is_enrolment boolean NOT NULL
);
COMMENT ON TABLE consent_policy IS 'what the patient who acknowledges a policy (BPPC, TF-3 5.1) decides: to take part, or not to';

CREATE TABLE consent_policy_disclosure (
    id              integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    policy          text NOT NULL REFERENCES consent_policy (oid),
    source_facility integer REFERENCES facility (id),
    reader_facility integer REFERENCES facility (id),
    class_codes     integer[],
    is_permit       boolean NOT NULL,
    level           smallint NOT NULL CHECK (level BETWEEN 1 AND 2)
);
COMMENT ON TABLE consent_policy_disclosure IS 'the disclosures that a consent document with this policy makes for its patient';

-- ---- emergency access ----

CREATE TABLE break_glass (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    patient         bigint NOT NULL,
    started_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    node            integer NOT NULL,
    user_id         text NOT NULL,
    issuer          text NOT NULL,
    reason          text NOT NULL,
    object_count    integer NOT NULL,
    acknowledged_at timestamptz,
    acknowledged_by text NOT NULL DEFAULT ''
);
COMMENT ON TABLE break_glass IS 'each request that saw something only because it declared an emergency: a notice until somebody has looked at it';
CREATE INDEX break_glass_open ON break_glass (started_at) WHERE acknowledged_at IS NULL;

-- ---- documents ----

ALTER TABLE repository_document ADD COLUMN effective_at timestamptz;
COMMENT ON COLUMN repository_document.effective_at IS 'serviceStartTime, else creationTime of its DocumentEntry: for disclosures with a period';
UPDATE repository_document r SET effective_at = coalesce(d.service_start_time, d.creation_time)
  FROM document_entry d
 WHERE hashtext(d.unique_id) = hashtext(r.unique_id) AND d.unique_id = r.unique_id AND d.is_latest;
