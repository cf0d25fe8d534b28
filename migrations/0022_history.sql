-- What the registry answered at any instant from now on: what changes or is removed leaves what it was, and the schema public_past
-- shows the tables as they were (lib/db/db.h, db_pool_as_of()). New objects write nothing here: they came with their SubmissionSet.
-- Locks: SHARE ROW EXCLUSIVE on the tables that get triggers, ACCESS EXCLUSIVE on submission_set, for the catalogue only; no row is
-- rewritten.

-- ---- one instant for everything that a transaction does ----

-- Taken at its first change, when it holds its locks already, so that changes of one object are in order. STABLE: it is the same all
-- through a transaction (and a volatile default would make COPY insert row by row).
CREATE FUNCTION change_instant() RETURNS timestamptz LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN coalesce(nullif(current_setting('musubi.change_instant', true), ''),
                    set_config('musubi.change_instant', clock_timestamp()::text, true))::timestamptz;
END $$;

ALTER TABLE submission_set ALTER COLUMN registered_at SET DEFAULT change_instant();

-- ---- objects of the registry ----

CREATE TABLE object_change (
    id                    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    changed_at            timestamptz NOT NULL DEFAULT change_instant(),
    transaction           xid8 NOT NULL DEFAULT pg_current_xact_id(),
    entry_uuid            uuid NOT NULL,
    patient               bigint,
    kind                  smallint NOT NULL,
    status                smallint NOT NULL,
    document_availability smallint,
    is_latest             boolean
);
COMMENT ON TABLE object_change IS 'what an object was before each change of its status, version, patient or availability';
COMMENT ON COLUMN object_change.kind IS '0 DocumentEntry, 1 SubmissionSet, 2 Folder, 3 Association; patient and is_latest are NULL for the last';
CREATE INDEX object_change_entry_uuid ON object_change (entry_uuid, id);

CREATE TABLE removed_object (
    id                    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    removed_at            timestamptz NOT NULL DEFAULT change_instant(),
    transaction           xid8 NOT NULL DEFAULT pg_current_xact_id(),
    came_at               timestamptz NOT NULL,
    entry_uuid            uuid NOT NULL,
    lid                   uuid,
    source_object         uuid,
    target_object         uuid,
    patient               bigint,
    service_start_time    timestamptz,
    creation_time         timestamptz,
    version               integer,
    source_facility       integer,
    class_code            integer,
    type_code             integer,
    kind                  smallint NOT NULL,
    status                smallint NOT NULL,
    document_availability smallint,
    type                  smallint,
    source_kind           smallint,
    target_kind           smallint,
    submission_set_status smallint,
    is_latest             boolean,
    is_on_demand          boolean,
    unique_id             text,
    confidentiality_code  integer[]
);
COMMENT ON TABLE removed_object IS 'what was removed: its identifiers and what decides who could see it; nothing else of its metadata';
COMMENT ON COLUMN removed_object.came_at IS 'when it had been registered; -infinity: see removed_came_at()';
CREATE INDEX removed_object_entry_uuid ON removed_object (entry_uuid);
CREATE INDEX removed_object_patient ON removed_object (patient) WHERE patient IS NOT NULL;
CREATE INDEX removed_object_unique_id ON removed_object (hashtext(unique_id)) WHERE unique_id IS NOT NULL;
CREATE INDEX removed_object_lid ON removed_object (lid) WHERE lid IS NOT NULL;
CREATE INDEX removed_object_source ON removed_object (source_object) WHERE source_object IS NOT NULL;
CREATE INDEX removed_object_target ON removed_object (target_object) WHERE target_object IS NOT NULL;

-- A removed object may come again under its entryUUID: what is there counts before what was removed.
CREATE FUNCTION object_came_at(object uuid) RETURNS timestamptz LANGUAGE sql STABLE AS $$
    SELECT coalesce(
        (SELECT max(package.registered_at) FROM association a CROSS JOIN LATERAL
               (SELECT s.registered_at FROM submission_set s WHERE s.entry_uuid = a.source_object
                UNION ALL
                SELECT r.came_at FROM removed_object r WHERE r.entry_uuid = a.source_object) package
          WHERE a.target_object = object AND a.type = 0 AND a.source_kind = 1 AND a.submission_set_status = 1),
        (SELECT max(package.registered_at) FROM removed_object a CROSS JOIN LATERAL
               (SELECT s.registered_at FROM submission_set s WHERE s.entry_uuid = a.source_object
                UNION ALL
                SELECT r.came_at FROM removed_object r WHERE r.entry_uuid = a.source_object) package
          WHERE a.target_object = object AND a.type = 0 AND a.source_kind = 1 AND a.submission_set_status = 1),
        '-infinity')
$$;
COMMENT ON FUNCTION object_came_at IS 'when the SubmissionSet was registered that holds a DocumentEntry or Folder as Original; -infinity: none does';

-- One statement may remove an object together with its membership, which then is not among what was removed yet.
CREATE FUNCTION removed_came_at(removed removed_object) RETURNS timestamptz LANGUAGE sql STABLE AS $$
    SELECT CASE removed.came_at WHEN '-infinity' THEN object_came_at(removed.entry_uuid) ELSE removed.came_at END
$$;

-- Of an UPDATE row by row: tables of old and new rows would be joined by a plan that is made for as many rows as the first statement
-- of a session has, and a merge of 10 000 documents behind an update of one would take a minute.

CREATE FUNCTION keep_document_entry() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        INSERT INTO object_change (kind, entry_uuid, status, is_latest, patient, document_availability)
        VALUES (0, OLD.entry_uuid, OLD.status, OLD.is_latest, OLD.patient, OLD.document_availability);
    ELSE
        INSERT INTO removed_object (kind, came_at, entry_uuid, lid, unique_id, patient, version, source_facility, status, is_latest,
                                    document_availability, class_code, type_code, confidentiality_code, service_start_time,
                                    creation_time, is_on_demand)
        SELECT 0, object_came_at(o.entry_uuid), o.entry_uuid, o.lid, o.unique_id, o.patient, o.version, o.source_facility, o.status,
               o.is_latest, o.document_availability, o.class_code, o.type_code, o.confidentiality_code, o.service_start_time,
               o.creation_time, o.is_on_demand
          FROM old_rows o;
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION keep_folder() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        INSERT INTO object_change (kind, entry_uuid, status, is_latest, patient)
        VALUES (2, OLD.entry_uuid, OLD.status, OLD.is_latest, OLD.patient);
    ELSE
        INSERT INTO removed_object (kind, came_at, entry_uuid, lid, unique_id, patient, version, source_facility, status, is_latest)
        SELECT 2, object_came_at(o.entry_uuid), o.entry_uuid, o.lid, o.unique_id, o.patient, o.version, o.source_facility, o.status,
               o.is_latest
          FROM old_rows o;
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION keep_association() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        INSERT INTO object_change (kind, entry_uuid, status) VALUES (3, OLD.entry_uuid, OLD.status);
    ELSE
        INSERT INTO removed_object (kind, came_at, entry_uuid, status, source_object, target_object, type, source_kind, target_kind,
                                    submission_set_status)
        SELECT 3, '-infinity', o.entry_uuid, o.status, o.source_object, o.target_object, o.type, o.source_kind, o.target_kind,
               o.submission_set_status
          FROM old_rows o;
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION keep_submission_set() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        INSERT INTO object_change (kind, entry_uuid, status, patient) VALUES (1, OLD.entry_uuid, OLD.status, OLD.patient);
    ELSE
        INSERT INTO removed_object (kind, came_at, entry_uuid, unique_id, patient, source_facility, status)
        SELECT 1, o.registered_at, o.entry_uuid, o.unique_id, o.patient, o.source_facility, o.status FROM old_rows o;
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER keep_changed AFTER UPDATE ON document_entry FOR EACH ROW
    WHEN ((OLD.status, OLD.is_latest, OLD.patient, OLD.document_availability) IS DISTINCT FROM (NEW.status, NEW.is_latest, NEW.patient, NEW.document_availability))
    EXECUTE FUNCTION keep_document_entry();
CREATE TRIGGER keep_removed AFTER DELETE ON document_entry REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION keep_document_entry();
CREATE TRIGGER keep_changed AFTER UPDATE ON folder FOR EACH ROW
    WHEN ((OLD.status, OLD.is_latest, OLD.patient) IS DISTINCT FROM (NEW.status, NEW.is_latest, NEW.patient))
    EXECUTE FUNCTION keep_folder();
CREATE TRIGGER keep_removed AFTER DELETE ON folder REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION keep_folder();
CREATE TRIGGER keep_changed AFTER UPDATE ON association FOR EACH ROW
    WHEN (OLD.status IS DISTINCT FROM NEW.status)
    EXECUTE FUNCTION keep_association();
CREATE TRIGGER keep_removed AFTER DELETE ON association REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION keep_association();
CREATE TRIGGER keep_changed AFTER UPDATE ON submission_set FOR EACH ROW
    WHEN ((OLD.status, OLD.patient) IS DISTINCT FROM (NEW.status, NEW.patient))
    EXECUTE FUNCTION keep_submission_set();
CREATE TRIGGER keep_removed AFTER DELETE ON submission_set REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION keep_submission_set();

-- ---- patients ----

CREATE TABLE patient_identifier_change (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    changed_at   timestamptz NOT NULL DEFAULT change_instant(),
    created_at   timestamptz NOT NULL,
    identifier   bigint NOT NULL,
    survivor     bigint,
    person       bigint NOT NULL,
    authority    integer NOT NULL,
    is_xad_pid   boolean NOT NULL,
    is_announced boolean NOT NULL,
    value        text NOT NULL
);
COMMENT ON TABLE patient_identifier_change IS 'what an identifier was before each merge, undone merge or removal';
CREATE INDEX patient_identifier_change_identifier ON patient_identifier_change (identifier, id);

CREATE FUNCTION keep_patient_identifier() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        INSERT INTO patient_identifier_change (identifier, survivor, created_at, person, authority, is_xad_pid, is_announced, value)
        VALUES (OLD.id, OLD.survivor, OLD.created_at, OLD.person, OLD.authority, OLD.is_xad_pid, OLD.is_announced, OLD.value);
    ELSE
        INSERT INTO patient_identifier_change (identifier, survivor, created_at, person, authority, is_xad_pid, is_announced, value)
        SELECT o.id, o.survivor, o.created_at, o.person, o.authority, o.is_xad_pid, o.is_announced, o.value FROM old_rows o;
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER keep_changed AFTER UPDATE ON patient_identifier FOR EACH ROW
    WHEN (OLD.survivor IS DISTINCT FROM NEW.survivor)
    EXECUTE FUNCTION keep_patient_identifier();
CREATE TRIGGER keep_removed AFTER DELETE ON patient_identifier REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION keep_patient_identifier();

-- ---- rules ----
-- Tables enrolment and disclosure keep what they were themselves.

CREATE TABLE rule_history (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    valid_from timestamptz NOT NULL DEFAULT change_instant(),
    valid_to   timestamptz,
    relation   text NOT NULL,
    content    jsonb NOT NULL
);
COMMENT ON TABLE rule_history IS 'every row that a small table of rules has or had, and when; the oldest says when history begins';
COMMENT ON COLUMN rule_history.relation IS 'name of the table';
CREATE INDEX rule_history_relation ON rule_history (relation);

INSERT INTO rule_history (relation, content)
    SELECT 'node', to_jsonb(t) FROM node t UNION ALL SELECT 'access_role', to_jsonb(t) FROM access_role t
    UNION ALL SELECT 'access_role_code', to_jsonb(t) FROM access_role_code t
    UNION ALL SELECT 'access_role_confidentiality', to_jsonb(t) FROM access_role_confidentiality t;

-- A row that was kept before its table got another column is contained in what it is now.
CREATE FUNCTION keep_rule() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        UPDATE rule_history h SET valid_to = change_instant() FROM old_rows o
         WHERE h.relation = TG_TABLE_NAME AND h.valid_to IS NULL AND to_jsonb(o) @> h.content;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO rule_history (relation, content) SELECT TG_TABLE_NAME, to_jsonb(n) FROM new_rows n;
    END IF;
    RETURN NULL;
END $$;

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['node', 'access_role', 'access_role_code', 'access_role_confidentiality'] LOOP
        EXECUTE format('CREATE TRIGGER keep_added AFTER INSERT ON %I REFERENCING NEW TABLE AS new_rows'
                       ' FOR EACH STATEMENT EXECUTE FUNCTION keep_rule()', name);
        EXECUTE format('CREATE TRIGGER keep_changed AFTER UPDATE ON %I REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows'
                       ' FOR EACH STATEMENT EXECUTE FUNCTION keep_rule()', name);
        EXECUTE format('CREATE TRIGGER keep_removed AFTER DELETE ON %I REFERENCING OLD TABLE AS old_rows'
                       ' FOR EACH STATEMENT EXECUTE FUNCTION keep_rule()', name);
    END LOOP;
END $$;

-- ---- the tables as they were ----
-- A connection whose search_path begins with this schema, and whose musubi.as_of names an instant, reads the past with the statements
-- of the present: a view hides the table of its name, and now() is the instant. While this file runs no view hides its own table yet.

DO $$
BEGIN
    EXECUTE format('CREATE SCHEMA IF NOT EXISTS %I', current_schema() || '_past');
    PERFORM set_config('search_path', format('%I, pg_catalog, %I', current_schema() || '_past', current_schema()), true);
END $$;

CREATE OR REPLACE FUNCTION now() RETURNS timestamptz LANGUAGE sql STABLE AS $$
    SELECT timestamptz 'epoch' + current_setting('musubi.as_of')::bigint * interval '1 microsecond'
$$;

CREATE VIEW document_entry AS
SELECT d.entry_uuid, d.lid, coalesce(c.patient, d.patient) AS patient, d.size_bytes, d.creation_time, d.service_start_time,
       d.service_stop_time, d.version, d.class_code, d.type_code, d.format_code, d.practice_setting_code,
       d.healthcare_facility_type_code, d.repository, d.source_facility, coalesce(c.status, d.status) AS status, d.is_on_demand,
       coalesce(c.is_latest, d.is_latest) AS is_latest, d.hash, d.unique_id, d.source_patient_id, d.confidentiality_code,
       d.event_code_list, d.reference_id_list, d.metadata,
       CASE WHEN c.id IS NULL THEN d.document_availability ELSE c.document_availability END AS document_availability,
       object_came_at(d.entry_uuid) AS came_at, NULL::timestamptz AS removed_at
  FROM document_entry d
  LEFT JOIN LATERAL (SELECT * FROM object_change o WHERE o.entry_uuid = d.entry_uuid AND o.changed_at > now()
                      ORDER BY o.id LIMIT 1) c ON true
 WHERE object_came_at(d.entry_uuid) <= now()
UNION ALL
SELECT r.entry_uuid, r.lid, coalesce(c.patient, r.patient), NULL::bigint, r.creation_time, r.service_start_time, NULL::timestamptz,
       r.version, r.class_code, r.type_code, NULL::integer, NULL::integer, NULL::integer, NULL::integer, r.source_facility,
       coalesce(c.status, r.status), r.is_on_demand, coalesce(c.is_latest, r.is_latest), NULL::bytea, r.unique_id, NULL::text,
       r.confidentiality_code, NULL::integer[], NULL::text[], NULL::bytea,
       CASE WHEN c.id IS NULL THEN r.document_availability ELSE c.document_availability END, removed_came_at(r), r.removed_at
  FROM removed_object r
  LEFT JOIN LATERAL (SELECT * FROM object_change o WHERE o.entry_uuid = r.entry_uuid AND o.changed_at > now()
                        AND o.changed_at <= r.removed_at ORDER BY o.id LIMIT 1) c ON true
 WHERE r.kind = 0 AND removed_came_at(r) <= now() AND r.removed_at > now();
COMMENT ON VIEW document_entry IS 'of what was removed since only what removed_object has';

CREATE VIEW patient_identifier AS
SELECT p.id, p.survivor, p.created_at, p.person, p.authority, p.is_xad_pid, p.is_announced, p.value
  FROM patient_identifier p
 WHERE p.created_at <= now()
   AND NOT EXISTS (SELECT FROM patient_identifier_change c WHERE c.identifier = p.id AND c.changed_at > now())
UNION ALL
SELECT c.identifier, c.survivor, c.created_at, c.person, c.authority, c.is_xad_pid, c.is_announced, c.value
  FROM (SELECT DISTINCT ON (h.identifier) * FROM patient_identifier_change h WHERE h.changed_at > now()
         ORDER BY h.identifier, h.id) c
 WHERE c.created_at <= now();
COMMENT ON COLUMN patient_identifier.person IS 'of today: links are not undone here';

CREATE VIEW enrolment AS SELECT * FROM enrolment e WHERE e.decided_at <= now();

CREATE VIEW disclosure AS
SELECT d.id, d.patient, d.source_facility, d.reader_facility, d.class_codes, d.is_permit, d.level, d.period_from, d.period_to,
       d.valid_from, d.valid_to, d.added_at, CASE WHEN d.revoked_at <= now() THEN d.revoked_at END AS revoked_at
  FROM disclosure d WHERE d.added_at <= now();

CREATE VIEW node AS
SELECT r.* FROM rule_history h CROSS JOIN LATERAL jsonb_populate_record(NULL::node, h.content) r
 WHERE h.relation = 'node' AND h.valid_from <= now() AND (h.valid_to IS NULL OR h.valid_to > now());
CREATE VIEW access_role AS
SELECT r.* FROM rule_history h CROSS JOIN LATERAL jsonb_populate_record(NULL::access_role, h.content) r
 WHERE h.relation = 'access_role' AND h.valid_from <= now() AND (h.valid_to IS NULL OR h.valid_to > now());
CREATE VIEW access_role_code AS
SELECT r.* FROM rule_history h CROSS JOIN LATERAL jsonb_populate_record(NULL::access_role_code, h.content) r
 WHERE h.relation = 'access_role_code' AND h.valid_from <= now() AND (h.valid_to IS NULL OR h.valid_to > now());
CREATE VIEW access_role_confidentiality AS
SELECT r.* FROM rule_history h CROSS JOIN LATERAL jsonb_populate_record(NULL::access_role_confidentiality, h.content) r
 WHERE h.relation = 'access_role_confidentiality' AND h.valid_from <= now() AND (h.valid_to IS NULL OR h.valid_to > now());

DO $$
BEGIN
    PERFORM set_config('search_path', regexp_replace(current_schema(), '_past$', ''), true);
END $$;
