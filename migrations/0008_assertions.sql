-- Who vouches for users (XUA), and which of their assertions were presented. Locks: none, new tables only.

CREATE TABLE identity_provider (
    issuer      text NOT NULL,
    fingerprint text NOT NULL,
    certificate bytea NOT NULL,
    subject     text NOT NULL,
    valid_from  timestamptz NOT NULL,
    valid_to    timestamptz NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    revoked_at  timestamptz,
    PRIMARY KEY (issuer, fingerprint)
);
COMMENT ON TABLE identity_provider IS 'keys pinned for each issuer of assertions; two during a renewal';
COMMENT ON COLUMN identity_provider.issuer IS 'saml:Issuer, exactly as its assertions have it';
COMMENT ON COLUMN identity_provider.fingerprint IS 'SHA-256 of the certificate, 64 lower-case hexadecimal digits';
COMMENT ON COLUMN identity_provider.certificate IS 'DER; only its key and its dates count';

CREATE TABLE assertion_seen (
    assertion       bytea PRIMARY KEY,
    not_on_or_after timestamptz NOT NULL,
    bound_to        text NOT NULL,
    seen_at         timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE assertion_seen IS 'who presented an assertion first: durable before anything is given out; kept until it has expired';
COMMENT ON COLUMN assertion_seen.assertion IS 'SHA-256 of issuer and ID: the table names nobody';
COMMENT ON COLUMN assertion_seen.bound_to IS 'tls: and the SHA-256 of the TLS client certificate, or plain: and the node of the plain listener';
CREATE INDEX assertion_seen_expiry ON assertion_seen (not_on_or_after);
