-- Identifiers of patients, and which of them were merged (ITI-8; ITI TF-2 3.8). Locks: none, new tables only.

CREATE TABLE assigning_authority (
    id        integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    oid       text NOT NULL UNIQUE,
    namespace text NOT NULL DEFAULT ''
);
COMMENT ON TABLE assigning_authority IS 'who assigns identifiers: the affinity domain, and each system that has a domain of its own';
COMMENT ON COLUMN assigning_authority.oid IS 'universal id of CX-4, type ISO';
COMMENT ON COLUMN assigning_authority.namespace IS 'CX-4.1; empty if it has none';

CREATE TABLE patient_identifier (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    survivor   bigint REFERENCES patient_identifier (id),
    created_at timestamptz NOT NULL DEFAULT now(),
    merged_at  timestamptz,
    authority  integer NOT NULL REFERENCES assigning_authority (id),
    value      text NOT NULL,
    UNIQUE (authority, value),
    CHECK ((survivor IS NULL) = (merged_at IS NULL)),
    CHECK (survivor <> id)
);
COMMENT ON TABLE patient_identifier IS 'identifiers learned by a feed; rows of the registry name them by id and are never rewritten by a merge';
COMMENT ON COLUMN patient_identifier.value IS 'CX-1, unescaped';
COMMENT ON COLUMN patient_identifier.survivor IS 'NULL: active; else the last of its merge chain, so that one step always leads to an active row';
CREATE INDEX patient_identifier_survivor ON patient_identifier (survivor) WHERE survivor IS NOT NULL;

CREATE TABLE patient_merge (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subsumed    bigint NOT NULL REFERENCES patient_identifier (id),
    survivor    bigint NOT NULL REFERENCES patient_identifier (id),
    merged_at   timestamptz NOT NULL DEFAULT now(),
    undone_at   timestamptz,
    node        integer NOT NULL,
    source      text NOT NULL,
    message_id  text NOT NULL
);
COMMENT ON TABLE patient_merge IS 'one row per A40 as it was sent; the rows not undone give every chain again';
COMMENT ON COLUMN patient_merge.survivor IS 'the identifier that the message named; a later merge may have subsumed it in turn';
COMMENT ON COLUMN patient_merge.node IS 'registered node that sent it; 0 = none';
COMMENT ON COLUMN patient_merge.source IS 'MSH-3|MSH-4';
COMMENT ON COLUMN patient_merge.message_id IS 'MSH-10';
CREATE INDEX patient_merge_subsumed ON patient_merge (subsumed);
CREATE INDEX patient_merge_survivor ON patient_merge (survivor);
