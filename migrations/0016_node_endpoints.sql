-- Where messages for a node may be sent. Locks: none, a new table only.

CREATE TABLE node_endpoint (
    node        integer NOT NULL REFERENCES node (id),
    url         text COLLATE "C" NOT NULL,
    fingerprint text NOT NULL DEFAULT '',
    PRIMARY KEY (node, url)
);
COMMENT ON TABLE node_endpoint IS 'addresses that a node may name in its messages: replies and notifications go nowhere else';
COMMENT ON COLUMN node_endpoint.url IS 'the address itself, or what comes before a / or ? of it';
COMMENT ON COLUMN node_endpoint.fingerprint IS 'SHA-256 of the certificate of the server there; empty: its certificate names the host';
