-- Metadata update (XDS Metadata Update): documentAvailability of a DocumentEntry.
-- Locks: ACCESS EXCLUSIVE on document_entry for an instant; a column without default rewrites nothing.

ALTER TABLE document_entry ADD COLUMN document_availability smallint;
COMMENT ON COLUMN document_entry.document_availability IS 'NULL Online, 1 Offline';
