#pragma once

/**
 * Whose a PatientID is, as SQL: whom the PIX manager knows by the number in its own domain, else,
 * if the domain derives from another (assigning_authority.derive_from), whom it knows by the number
 * there that it derives from. As authority_underive() and ITI-9 have it: several such numbers, or
 * one of a person with a number of the domain itself, lead to nobody.
 */

/* Expressions, of derive_rule and a number: what the number becomes, NULL if nothing. */
#define DERIVED_NUMBER(rule, value)                                                                \
    "CASE WHEN " rule " LIKE 'pad=%' THEN CASE WHEN octet_length(" value ") <= substr(" rule       \
    ", 5)::integer THEN repeat('0', substr(" rule ", 5)::integer - octet_length(" value            \
    ")) || " value " END "                                                                         \
    "WHEN " rule " = 'strip-zeros' THEN coalesce(nullif(ltrim(" value ", '0'), ''), '0') "         \
    "WHEN " rule " LIKE 'prefix=%' THEN substr(" rule ", 8) || " value " END"

/* All numbers that may have become it (20: NUMBER_MAX_DIGITS of pix/authorities.c). */
#define ORIGINAL_NUMBERS(rule, value)                                                              \
    "CASE WHEN " value " = '' THEN NULL "                                                          \
    "WHEN " rule " LIKE 'pad=%' THEN CASE WHEN octet_length(" value ") = substr(" rule             \
    ", 5)::integer THEN ARRAY(SELECT substr(" value ", zeros + 1) FROM generate_series(0, "        \
    "length(" value ") - greatest(length(ltrim(" value ", '0')), 1)) zeros) END "                  \
    "WHEN " rule " = 'strip-zeros' THEN CASE WHEN " value " = '0' OR " value                       \
    " NOT LIKE '0%' THEN ARRAY(SELECT repeat('0', zeros) || " value                                \
    " FROM generate_series(0, 20 - octet_length(" value ")) zeros) END "                           \
    "WHEN starts_with(" value ", substr(" rule ", 8)) AND " rule " LIKE 'prefix=%' "               \
    "AND length(" value ") > length(" rule ") - 7 "                                                \
    "THEN ARRAY[substr(" value ", length(" rule ") - 6)] END"

/* Joins: i.person, NULL if nobody knows the number, and x, the row of the person's XAD-PID.
 * named.id is NULL where the number derives from another. Under the collation of
 * patient_identifier, or its index would not serve. */
#define PERSON_JOINS(authority_id, number)                                                         \
    " LEFT JOIN patient_identifier named ON named.authority = " authority_id                       \
    " AND named.value = " number " COLLATE \"default\" "                                           \
    "LEFT JOIN LATERAL (SELECT min(o.person) person FROM (SELECT p.person "                        \
    "FROM (SELECT " number " COLLATE \"default\" v, d.derive_rule r, d.derive_from a "             \
    "FROM assigning_authority d WHERE d.id = " authority_id " AND named.id IS NULL) t "            \
    "JOIN patient_identifier p ON p.authority = t.a AND p.survivor IS NULL "                       \
    "AND p.value = ANY (" ORIGINAL_NUMBERS(                                                        \
        "r", "v") ") LIMIT 2) o "                                                                  \
                  "HAVING count(*) = 1 AND NOT EXISTS (SELECT FROM patient_identifier q "          \
                  "WHERE q.person = min(o.person) AND q.authority = " authority_id                 \
                  " AND q.survivor IS NULL)) "                                                     \
                  "origin ON true "                                                                \
                  "CROSS JOIN LATERAL (SELECT coalesce(named.person, origin.person) person) i "    \
                  "LEFT JOIN patient_identifier x ON x.person = i.person AND x.is_xad_pid "        \
                  "AND x.survivor IS NULL "

#define STUDY_PERSON_JOINS PERSON_JOINS("s.authority", "s.patient_number")

/* Rows (id, authority, value, origin, is_merged) of the numbers by which a person may be named: his
 * own, and those that derive from them. origin is the domain of row id. Which of the derived ones
 * are his, PERSON_JOINS tells. d.id > 0: sequential scans are dear (lib/db/pool.c). */
#define PERSON_NUMBERS(person_id)                                                                  \
    "(SELECT n.id, n.authority, n.value, n.authority origin, n.survivor IS NOT NULL is_merged "    \
    "FROM patient_identifier n WHERE n.person = " person_id " UNION ALL "                          \
    "SELECT n.id, d.id, " DERIVED_NUMBER(                                                          \
        "d.derive_rule", "n.value") ", n.authority, false "                                        \
                                    "FROM patient_identifier n JOIN assigning_authority d ON "     \
                                    "d.derive_from = n.authority "                                 \
                                    "WHERE n.person = " person_id                                  \
                                    " AND n.survivor IS NULL AND d.id > 0) "

/* Rows of imaging_study, s, that name a person by any of these numbers. */
#define STUDIES_NAMING(person_id)                                                                  \
    PERSON_NUMBERS(person_id)                                                                      \
    "k JOIN imaging_study s ON s.authority = k.authority AND s.patient_number = k.value "          \
    "COLLATE \"C\" "

/* The study_uid of studies whose rows are of different persons. */
#define CONFLICTING_STUDIES                                                                        \
    "SELECT s.study_uid FROM imaging_study s" STUDY_PERSON_JOINS                                   \
    "WHERE s.study_uid IN (SELECT study_uid FROM imaging_study GROUP BY study_uid "                \
    "HAVING count(*) > 1) GROUP BY s.study_uid HAVING min(i.person) <> max(i.person)"

/* Condition: whether the document that was submitted under a uniqueId is of a person; NULL is
 * nobody. A document without a known patient is everybody's. */
#define IS_DOCUMENT_OF(unique_id, person_id)                                                       \
    "(" person_id " IS NOT NULL AND NOT EXISTS (SELECT FROM repository_document v "                \
    "JOIN repository_document_kind k ON k.id = v.kind "                                            \
    "JOIN assigning_authority g ON g.oid = split_part(k.patient_id_authority, '&', 2) "            \
    "JOIN patient_identifier f ON f.authority = g.id AND f.value = v.patient_id_number "           \
    "WHERE v.digest = encode(substr(sha256(convert_to(" unique_id                                  \
    ", 'UTF8')), 1, 16), 'hex')::uuid AND f.person <> " person_id ")) "
