-- Certificates of nodes: more than one while they are renewed, each revoked by itself. Locks: node_certificate, briefly.

ALTER TABLE node_certificate
    ADD COLUMN not_before timestamptz,
    ADD COLUMN added_at   timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN revoked_at timestamptz,
    ADD COLUMN der        bytea;
COMMENT ON COLUMN node_certificate.not_before IS 'NULL: only the fingerprint is known';
COMMENT ON COLUMN node_certificate.not_after IS 'infinity: only the fingerprint is known';
COMMENT ON COLUMN node_certificate.revoked_at IS 'refused since then, whatever the state of its node; NULL: not revoked';
COMMENT ON COLUMN node_certificate.der IS 'the certificate itself, for musubi node test; NULL: only the fingerprint is known';
