-- On-Demand documents (ITI TF-2 3.61, 3.43.4.2.2): which this server makes when they are asked for.
-- Locks: ACCESS EXCLUSIVE on repository_document for an instant; a column without default rewrites nothing.

CREATE TABLE on_demand_document (
    patient            bigint NOT NULL,
    generator          text NOT NULL,
    unique_id          text NOT NULL UNIQUE,
    noted_at           timestamptz NOT NULL DEFAULT now(),
    registered_at      timestamptz,
    failure            text NOT NULL DEFAULT '',
    snapshot_unique_id text NOT NULL DEFAULT '',
    PRIMARY KEY (patient, generator)
);
COMMENT ON TABLE on_demand_document IS 'one On-Demand DocumentEntry of each patient with documents: noted with the first of them, registered soon after';
COMMENT ON COLUMN on_demand_document.patient IS 'row of patient_identifier, merged or not';
COMMENT ON COLUMN on_demand_document.generator IS 'row of repository/generators.def';
COMMENT ON COLUMN on_demand_document.unique_id IS 'DocumentEntry.uniqueId';
COMMENT ON COLUMN on_demand_document.failure IS 'why it could not be registered; tried again';
COMMENT ON COLUMN on_demand_document.snapshot_unique_id IS 'the newest snapshot; empty: none';
CREATE INDEX on_demand_document_due ON on_demand_document (noted_at) WHERE registered_at IS NULL;

CREATE TABLE on_demand_snapshot (
    digest    uuid PRIMARY KEY,
    documents text[] NOT NULL,
    studies   text[] NOT NULL
);
COMMENT ON TABLE on_demand_snapshot IS 'what a snapshot lists: who may not know of one of these may not have it, whatever became of them since';
COMMENT ON COLUMN on_demand_snapshot.digest IS 'of repository_document';
COMMENT ON COLUMN on_demand_snapshot.documents IS 'uniqueIds';
COMMENT ON COLUMN on_demand_snapshot.studies IS 'Study Instance UIDs';

ALTER TABLE repository_document ADD COLUMN generator text;
COMMENT ON COLUMN repository_document.generator IS 'a snapshot that this generator made, which only who may see all of its patient may have; NULL: a document of somebody else';
