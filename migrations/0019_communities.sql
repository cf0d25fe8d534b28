-- Other communities that the Initiating Gateway asks. Locks: none, new tables only.

CREATE TABLE community (
    id            integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    home          text COLLATE "C" NOT NULL UNIQUE,
    name          text NOT NULL,
    query_url     text COLLATE "C" NOT NULL DEFAULT '',
    retrieve_url  text COLLATE "C" NOT NULL DEFAULT '',
    imaging_url   text COLLATE "C" NOT NULL DEFAULT '',
    discovery_url text COLLATE "C" NOT NULL DEFAULT '',
    fingerprint   text COLLATE "C" NOT NULL DEFAULT '',
    timeout_ms    integer NOT NULL CHECK (timeout_ms > 0),
    enabled       boolean NOT NULL DEFAULT true
);
COMMENT ON TABLE community IS 'communities behind Responding Gateways (XCA, XCA-I, XCPD)';
COMMENT ON COLUMN community.home IS 'homeCommunityId: urn:oid:...';
COMMENT ON COLUMN community.query_url IS 'of ITI-38; empty: it answers no queries; likewise ITI-39, RAD-75, ITI-55';
COMMENT ON COLUMN community.fingerprint IS 'SHA-256 of the certificate of its gateway; empty: its certificate names the host';
COMMENT ON COLUMN community.timeout_ms IS 'within which it has to answer';

CREATE TABLE patient_correlation (
    community  integer NOT NULL REFERENCES community (id) ON DELETE CASCADE,
    patient_id text COLLATE "C" NOT NULL,
    foreign_id text COLLATE "C" NOT NULL,
    PRIMARY KEY (community, patient_id)
);
COMMENT ON TABLE patient_correlation IS 'under which id another community knows a patient of this affinity domain';
COMMENT ON COLUMN patient_correlation.patient_id IS 'CX of the affinity domain: id^^^&oid&ISO';
COMMENT ON COLUMN patient_correlation.foreign_id IS 'CX of the other community';
