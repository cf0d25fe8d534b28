-- The rows that the feed of a new person writes, and nothing else: number, XAD-PID, record, names, keys, audit event. n is the
-- number; what indexes look at differs as much as it does in a population. Variables: own, local (authorities), audit.
\set n random(1000000000, 999999999999999)
\set k random(1, 1000000000)
\startpipeline
BEGIN;
INSERT INTO patient_identifier (id, authority, value, person, is_xad_pid) OVERRIDING SYSTEM VALUE VALUES (2 * :n::int8, :local::int4, 'W' || :n::text, :n::int8, false);
INSERT INTO patient_identifier (id, authority, value, person, is_xad_pid) OVERRIDING SYSTEM VALUE VALUES (2 * :n::int8 + 1, :own::int4, 'X' || :n::text, :n::int8, true);
INSERT INTO patient_demographics (identifier, birth_date, sex, postal_code, phones, match_profile, record) VALUES (2 * :n::int8, (19000101 + :k::int8 % 30000)::text, 'F', '2610024', ARRAY['090' || :k::text], '1|佐藤|花子|サトウ|ハナコ|sato|hanako|19700102||F|2610024|千葉県千葉市中央|1-2-3|09012345678||', '佐藤^花子^^^^^L^I~サトウ^ハナコ^^^^^L^P||19700102|F|||中央1-2-3^^千葉市^千葉県^2610024^JPN^H||090-1234-5678^PRN^CP');
INSERT INTO patient_name (identifier, family, given) VALUES (2 * :n::int8, '佐藤' || (:k::int8 % 5000)::text, '花子' || (:k::int8 % 3000)::text), (2 * :n::int8, 'サトウ' || (:k::int8 % 5000)::text, 'ハナコ' || (:k::int8 % 3000)::text);
INSERT INTO match_key (key, identifier) SELECT hashint8extended(:n::int8, i), 2 * :n::int8 FROM generate_series(1::int8, 6) i;
INSERT INTO audit_outbox (message) VALUES (:audit::text);
COMMIT;
\endpipeline
