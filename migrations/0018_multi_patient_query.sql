-- Multi-Patient Stored Query (ITI TF-2 3.51): whose objects match, where the message names no patient.
-- Locks: SHARE on document_entry and folder while their indexes are made: nothing is registered meanwhile, and everything can be
-- read; 10 000 000 entries take a minute. No row is rewritten.

CREATE INDEX document_entry_class_code ON document_entry (class_code);
-- 24 bytes for 128 pages: entries arrive soon after their documents were made, so a span of time is few pages.
CREATE INDEX document_entry_creation_time ON document_entry USING brin (creation_time);
CREATE INDEX folder_code_list ON folder USING gin (code_list);
