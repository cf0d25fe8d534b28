-- Whether a file that comes under a known SOP Instance UID is the same instance is found by reading both, when that happens;
-- a CRC says where that is needless. Locks: ACCESS EXCLUSIVE on imaging_instance, for the catalogue only; no row is rewritten.

ALTER TABLE imaging_instance ADD COLUMN data_set_crc32c bigint, DROP COLUMN data_set_sha256;
COMMENT ON COLUMN imaging_instance.data_set_crc32c IS 'of the data set alone; NULL: not known';
