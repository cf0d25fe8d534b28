#include "registry/consent.h"

#include "registry/uuid_set.h"

#define FORMAT_CODE_SCHEME "1.3.6.1.4.1.19376.1.2.3"
#define URN_OID "urn:oid:"

static const Str format_codes[] = {STR_INIT("urn:ihe:iti:bppc:2007"),
                                   STR_INIT("urn:ihe:iti:bppc-sd:2007")};

/* ---- statements; consent_document of both tables is the uniqueId ---- */

static const DbStatement select_unknown_policies = {
    "consent_unknown_policies", "SELECT wanted FROM unnest($1::text[]) AS wanted WHERE NOT EXISTS"
                                " (SELECT FROM consent_policy WHERE oid = wanted)"};

/* Of several policies one to withdraw decides. To take part until a day that is over, as a form
 * that comes late says, is no decision about today. */
static const DbStatement insert_enrolment = {
    "consent_enrolment",
    "INSERT INTO enrolment (patient, is_enrolled, decided_by, consent_document, valid_from,"
    " valid_to) SELECT $2::int8, bool_and(is_enrolment), $3::text, $4::text, $5::timestamptz,"
    " $6::timestamptz FROM consent_policy WHERE oid = ANY ($1::text[])"
    " HAVING NOT bool_and(is_enrolment) OR $6::timestamptz IS NULL OR $6::timestamptz > now()"};

static const DbStatement insert_disclosures = {
    "consent_disclosures",
    "INSERT INTO disclosure (patient, source_facility, reader_facility, class_codes, is_permit,"
    " level, valid_from, valid_to, added_by, reason, consent_document)"
    " SELECT $2::int8, d.source_facility, d.reader_facility, d.class_codes, d.is_permit, d.level,"
    " $5::timestamptz, $6::timestamptz, $3::text, p.name, $4::text FROM consent_policy p"
    " JOIN consent_policy_disclosure d ON d.policy = p.oid WHERE p.oid = ANY ($1::text[])"};

/* Whether the document d says something, or said it of who takes part. */
#define SQL_SAYS_SOMETHING                                                                         \
    "(EXISTS (SELECT FROM disclosure x WHERE x.consent_document = d.unique_id"                     \
    "   AND x.consent_document <> '' AND x.revoked_at IS NULL)"                                    \
    " OR EXISTS (SELECT FROM enrolment e WHERE e.consent_document = d.unique_id"                   \
    "   AND e.consent_document <> ''))"

/* Of uniqueIds that are taken ($1; $2: by what would be a consent): those of a consent, old or new,
 * that an entry of another facility than $3 or of another patient than $4 has, other than those
 * ($5, lids) of which the message holds a new version. */
static const DbStatement select_foreign = {
    "consent_foreign",
    "SELECT DISTINCT d.unique_id FROM unnest($1::text[]) AS taken JOIN document_entry d"
    " ON hashtext(d.unique_id) = hashtext(taken) AND d.unique_id = taken AND d.is_latest"
    " JOIN patient_identifier i ON i.id = d.patient"
    " WHERE (d.source_facility <> $3::int4 OR coalesce(i.survivor, i.id) <> $4::int8)"
    " AND (d.unique_id = ANY ($2::text[]) OR " SQL_SAYS_SOMETHING ")"
    " AND coalesce(d.lid, d.entry_uuid) <> ALL ($5::uuid[])"};

/* Of what the submission replaced, the documents that said something, and their patients. $1
 * replaced, $2 types of followers */
static const DbStatement select_ended = {
    "consent_ended",
    "SELECT DISTINCT d.unique_id, d.patient FROM document_entry d"
    " WHERE d.entry_uuid = ANY (" SQL_WITH_FOLLOWERS(
        "$1", "$1", "$2") ") AND d.status = 1 AND d.unique_id <> '' AND " SQL_SAYS_SOMETHING};

/* The XAD-PID i and all that were merged with it. */
#define SQL_CHAIN                                                                                  \
    "ARRAY(SELECT m.id FROM patient_identifier m WHERE m.id = coalesce(i.survivor, i.id)"          \
    " OR m.survivor = coalesce(i.survivor, i.id))"
/* The same of patient $3. */
#define SQL_CHAIN_OF_3                                                                             \
    "ARRAY(SELECT unnest(" SQL_CHAIN ") FROM patient_identifier i WHERE i.id = $3::int8)"
/* Rows e by which the documents $1 decide now, or would once they begin. i: their patient. */
#define SQL_DECIDING                                                                               \
    " FROM enrolment e JOIN patient_identifier i ON i.id = e.patient"                              \
    " WHERE e.consent_document = ANY ($1::text[]) AND e.consent_document <> ''"                    \
    " AND NOT EXISTS (SELECT FROM enrolment later WHERE later.patient = ANY (" SQL_CHAIN ")"       \
    "     AND later.id > e.id AND (later.valid_from IS NULL OR later.valid_from <= now()))"

/* $2: who ends them; $3: of whom they are. */
static const DbStatement revoke_disclosures = {
    "consent_revoke", "UPDATE disclosure SET revoked_at = clock_timestamp(), revoked_by = $2::text"
                      " WHERE consent_document = ANY ($1::text[]) AND consent_document <> ''"
                      " AND revoked_at IS NULL AND patient = ANY (" SQL_CHAIN_OF_3 ")"};

static const DbStatement end_enrolments = {
    "consent_end_enrolment",
    "INSERT INTO enrolment (patient, is_enrolled, decided_by, consent_document)"
    " SELECT e.patient, false, $2::text, e.consent_document" SQL_DECIDING
    " AND e.is_enrolled AND e.patient = ANY (" SQL_CHAIN_OF_3 ")"};

/* $2: who moves them; $3: to whom; $4: of whom they are. First the end for the one patient, and
 * then, by what was in force until this statement, the begin for the other: the order of ids says
 * who decided last. */
static const DbStatement move_enrolments = {
    "consent_move_enrolment",
    "WITH deciding AS MATERIALIZED (SELECT e.*" SQL_DECIDING "   AND e.patient = ANY ($4::int8[])"
    "   AND NOT $3::int8 = ANY (" SQL_CHAIN ") ORDER BY e.id),"
    " kept AS MATERIALIZED (SELECT d.* FROM deciding d WHERE NOT d.is_enrolled OR NOT EXISTS"
    "   (SELECT FROM enrolment other JOIN patient_identifier i ON i.id = $3::int8"
    "     WHERE other.patient = ANY (" SQL_CHAIN ") AND other.id > d.id))"
    " INSERT INTO enrolment (patient, is_enrolled, decided_by, consent_document, valid_from,"
    " valid_to) SELECT * FROM (SELECT patient, false, $2::text, consent_document,"
    "   NULL::timestamptz, NULL::timestamptz FROM deciding"
    " UNION ALL SELECT $3::int8, is_enrolled, $2::text, consent_document, valid_from, valid_to"
    "   FROM kept) AS both_ends"};

static const DbStatement move_disclosures = {
    "consent_move_disclosures",
    "WITH moved AS (UPDATE disclosure d SET revoked_at = clock_timestamp(), revoked_by = $2::text"
    "   FROM patient_identifier i WHERE i.id = $3::int8 AND d.consent_document = ANY ($1::text[])"
    "   AND d.consent_document <> '' AND d.revoked_at IS NULL AND d.patient = ANY ($4::int8[])"
    "   AND NOT d.patient = ANY (" SQL_CHAIN ") RETURNING d.*)"
    " INSERT INTO disclosure (patient, source_facility, reader_facility, class_codes, is_permit,"
    " level, period_from, period_to, valid_from, valid_to, added_by, reason, consent_document)"
    " SELECT $3::int8, source_facility, reader_facility, class_codes, is_permit, level,"
    " period_from, period_to, valid_from, valid_to, $2::text, reason, consent_document FROM moved"};

/* ---- what a submission says ---- */

/** ITI TF-3 5.1.2: 57016-8 of LOINC; "Consent" is what older sources send. */
static bool is_acknowledgment(const Code *class_code)
{
    return (str_equal(class_code->code, STR("57016-8")) &&
            str_equal(class_code->scheme, STR("2.16.840.1.113883.6.1"))) ||
           str_equal(class_code->code, STR("Consent"));
}

/** By format and class: the format alone says how a document is written. */
static bool is_consent(const DocumentEntry *entry)
{
    if (!is_acknowledgment(&entry->class_code)) {
        return false;
    }
    for (size_t i = 0; i < ARRAY_LEN(format_codes); i++) {
        if (str_equal(entry->format_code.code, format_codes[i]) &&
            str_equal(entry->format_code.scheme, STR(FORMAT_CODE_SCHEME))) {
            return true;
        }
    }
    return false;
}

bool consent_has_document(const Submission *submission)
{
    for (const DocumentEntry *entry = submission->documents; entry; entry = entry->next) {
        if (is_consent(entry)) {
            return true;
        }
    }
    return false;
}

/** The identifiers of the policies that it acknowledges. @return how many */
static size_t policies_of(Arena *arena, const DocumentEntry *entry, Str **ret_policies)
{
    const CodeList *codes = &entry->event_code_list;
    Str *policies = ARENA_ARRAY(arena, Str, codes->count);
    for (size_t i = 0; i < codes->count; i++) {
        Str code = codes->items[i].code;
        policies[i] =
            str_starts_with(code, STR(URN_OID)) ? str_from_offset(code, sizeof(URN_OID) - 1) : code;
    }
    *ret_policies = policies;
    return codes->count;
}

static int check_document(Request *req, DbConn *conn, const DocumentEntry *entry)
{
    Str *policies = NULL;
    size_t count = policies_of(req->arena, entry, &policies);
    if (count == 0) {
        return error_add(&req->errors, ERR_XDS_REGISTRY_METADATA_ERROR,
                         "XDSDocumentEntry.eventCodeList",
                         "DocumentEntry %.*s is a consent document (formatCode %.*s) without a "
                         "policy: send the identifier of each policy that the patient acknowledges "
                         "in eventCodeList",
                         STR_ARG(entry->unique_id), STR_ARG(entry->format_code.code));
    }
    DbParams params;
    DbResult *unknown;
    db_params_init(&params, req->arena);
    db_param_text_array(&params, policies, count);
    int rc = db_exec(conn, req, &select_unknown_policies, &params, &unknown);
    for (int i = 0; rc == 0 && i < db_rows(unknown); i++) {
        (void)error_add(&req->errors, ERR_XDS_REGISTRY_METADATA_ERROR,
                        "XDSDocumentEntry.eventCodeList",
                        "DocumentEntry %.*s is a consent document (formatCode %.*s) of policy "
                        "%.*s, which is not known here, so that it would have no effect: send a "
                        "policy of this network, or ask its operator to add this one (musubi "
                        "consent-policy add)",
                        STR_ARG(entry->unique_id), STR_ARG(entry->format_code.code),
                        STR_ARG(db_text(unknown, i, 0)));
    }
    return rc == 0 && db_rows(unknown) > 0 ? -(int)ERR_XDS_REGISTRY_METADATA_ERROR : rc;
}

static void add_foreign(Request *req, Str unique_id)
{
    (void)error_add(&req->errors, ERR_XDS_REGISTRY_METADATA_ERROR, "XDSDocumentEntry.uniqueId",
                    "%.*s is the uniqueId of a consent document and of a document of another "
                    "facility or patient: what it says could not be told apart. Give the consent "
                    "document, or the other one, a uniqueId of its own",
                    STR_ARG(unique_id));
}

/** By uniqueId it is told what a consent document said: nobody else's may have the same. */
static int check_unique_ids(Request *req, DbConn *conn, const Submission *submission,
                            const RegistryState *state)
{
    Str *taken = ARENA_ARRAY(req->arena, Str, submission->document_count);
    Str *consents = ARENA_ARRAY(req->arena, Str, submission->document_count);
    Uuid *lids = ARENA_ARRAY(req->arena, Uuid, submission->document_count);
    size_t lid_count = 0;
    size_t taken_count = 0;
    size_t consent_count = 0;
    for (const DocumentEntry *entry = submission->documents; entry; entry = entry->next) {
        const UniqueIdClaim *claim = registry_state_find_claim(state, entry->unique_id);
        if (entry->is_version) {
            lids[lid_count++] = entry->lid;
        }
        if (claim->is_taken && claim->taken_kind == OBJECT_DOCUMENT_ENTRY) {
            taken[taken_count++] = entry->unique_id;
            if (is_consent(entry)) {
                consents[consent_count++] = entry->unique_id;
            }
        }
    }
    if (taken_count == 0) {
        return 0;
    }
    DbParams params;
    DbResult *foreign;
    db_params_init(&params, req->arena);
    db_param_text_array(&params, taken, taken_count);
    db_param_text_array(&params, consents, consent_count);
    db_param_i32(&params, submission->source_facility);
    db_param_i64(&params, state->patient.survivor);
    db_param_uuid_array(&params, lids, lid_count);
    int rc = db_exec(conn, req, &select_foreign, &params, &foreign);
    for (int i = 0; rc == 0 && i < db_rows(foreign); i++) {
        add_foreign(req, db_text(foreign, i, 0));
    }
    return rc == 0 && db_rows(foreign) > 0 ? -(int)ERR_XDS_REGISTRY_METADATA_ERROR : rc;
}

/** Whether a facility has the patient by this number: an affinity domain's or an insurer's is a
 * number that others know too. In open mode authorities need no facility. */
static bool is_number_of(const Registry *registry, Request *req, const RegistryState *state,
                         Str source_patient_id)
{
    const PatientDirectory *patients = registry->config.patients;
    int32_t facility;
    return registry_state_source_owner(state, source_patient_id) == state->patient.survivor &&
           (!access_has_rules(req) ||
            (patients->facility_of(patients->ctx, req, source_patient_id, &facility) &&
             facility != 0));
}

/** Who knows a patientId alone has not got the patient's consent. Of a patient who is not known
 * there is an error already. */
static int check_source(const Registry *registry, Request *req, const RegistryState *state,
                        const DocumentEntry *entry)
{
    if (!state->patient.is_active || is_number_of(registry, req, state, entry->source_patient_id)) {
        return 0;
    }
    return error_add(&req->errors, ERR_XDS_REGISTRY_METADATA_ERROR,
                     "XDSDocumentEntry.sourcePatientId",
                     "DocumentEntry %.*s is a consent document (formatCode %.*s), and its "
                     "sourcePatientId %.*s is not known here as a number of this patient: send the "
                     "number that the patient has at your facility, after your system has "
                     "registered him with it (ITI-8, ITI-30, ITI-44 or ITI-104)",
                     STR_ARG(entry->unique_id), STR_ARG(entry->format_code.code),
                     STR_ARG(entry->source_patient_id));
}

static int check_consent(const Registry *registry, Request *req, DbConn *conn,
                         const DocumentEntry *entry, const RegistryState *state)
{
    int rc = check_source(registry, req, state, entry);
    int checked = check_document(req, conn, entry);
    return checked < 0 ? checked : rc;
}

int consent_check(const Registry *registry, Request *req, DbConn *conn,
                  const Submission *submission, const RegistryState *state)
{
    int rc = check_unique_ids(req, conn, submission, state);
    if (rc < 0 && rc != -(int)ERR_XDS_REGISTRY_METADATA_ERROR) {
        return rc;
    }
    for (const DocumentEntry *entry = submission->documents; entry; entry = entry->next) {
        int checked = is_consent(entry) ? check_consent(registry, req, conn, entry, state) : 0;
        if (checked < 0 && checked != -(int)ERR_XDS_REGISTRY_METADATA_ERROR) {
            return checked;
        }
        rc = checked < 0 ? checked : rc;
    }
    return rc;
}

/* ---- what it changes ---- */

static Str decided_by(const Request *req)
{
    return req->principal ? req->principal->node_name : STR_EMPTY;
}

static int queue_effects(Request *req, DbConn *conn, const DocumentEntry *entry, int64_t patient)
{
    Str *policies = NULL;
    size_t count = policies_of(req->arena, entry, &policies);
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_text_array(&params, policies, count);
    db_param_i64(&params, patient);
    db_param_text(&params, decided_by(req));
    db_param_text(&params, entry->unique_id);
    store_bind_dtm(&params, entry->service_start_time);
    store_bind_dtm(&params, entry->service_stop_time);
    int rc = db_queue(conn, req, &insert_enrolment, &params);
    return rc < 0 ? rc : db_queue(conn, req, &insert_disclosures, &params);
}

/** The event of what a consent document, or the end of some, changed. */
static int queue_event(Registry *registry, Request *req, DbConn *conn, Str patient, Str unique_id,
                       const char *what)
{
    const AuditObject objects[] = {
        {.kind = AUDIT_OBJECT_RULE,
         .id = str_printf(req->arena, "musubi:consent/%.*s", STR_ARG(unique_id)),
         .name = unique_id,
         .description =
             str_printf(req->arena, "consent document %.*s: %s", STR_ARG(unique_id), what)},
        {.kind = AUDIT_OBJECT_PATIENT, .id = patient},
    };
    const AuditEvent event = {
        .type = AUDIT_CONSENT_CHANGE, .objects = objects, .object_count = ARRAY_LEN(objects)};
    return audit_queue_event(registry->config.audit, conn, req, &event);
}

/** Ends what the document said of its patient. @param ret_count  rows that changed */
static int end_consent(Request *req, DbConn *conn, Str unique_id, int64_t patient,
                       int64_t *ret_count)
{
    DbParams params;
    DbResult *results[2];
    db_params_init(&params, req->arena);
    db_param_text_array(&params, &unique_id, 1);
    db_param_text(&params, decided_by(req));
    db_param_i64(&params, patient);
    int rc = db_queue(conn, req, &revoke_disclosures, &params);
    rc = rc < 0 ? rc : db_queue(conn, req, &end_enrolments, &params);
    rc = rc < 0 ? rc : db_sync(conn, req, results);
    if (rc == 0) {
        *ret_count = db_affected(results[0]) + db_affected(results[1]);
    }
    return rc;
}

static int find_ended(Request *req, DbConn *conn, const UuidSet *replaced, DbResult **ret_rows)
{
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_uuid_array(&params, replaced->items, replaced->count);
    store_bind_followers(&params);
    return db_exec(conn, req, &select_ended, &params, ret_rows);
}

/** What is said by documents that are Deprecated by now. */
static int end_replaced(Registry *registry, Request *req, DbConn *conn,
                        const Submission *submission, const UuidSet *replaced)
{
    DbResult *rows;
    int rc = find_ended(req, conn, replaced, &rows);
    for (int i = 0; rc == 0 && i < db_rows(rows); i++) {
        Str unique_id = db_text(rows, i, 0);
        int64_t count;
        rc = end_consent(req, conn, unique_id, db_i64(rows, i, 1), &count);
        if (rc == 0 && count > 0) {
            rc = queue_event(registry, req, conn, submission->submission_set->patient_id, unique_id,
                             "it counts no more");
            rc = rc < 0 ? rc : db_sync(conn, req, NULL);
        }
    }
    return rc;
}

static void find_replaced(Arena *arena, const Submission *submission, UuidSet *ret_replaced)
{
    uuid_set_init(ret_replaced, arena);
    for (const Association *a = submission->associations; a != NULL; a = a->next) {
        if (association_type_replaces(a->type)) {
            uuid_set_add(ret_replaced, a->target.uuid);
        }
    }
}

int consent_store(Registry *registry, Request *req, DbConn *conn,
                  const PreparedSubmission *prepared, int64_t patient)
{
    const Submission *submission = prepared->submission;
    UuidSet replaced;
    int rc = 0;
    find_replaced(req->arena, submission, &replaced);
    if (replaced.count > 0) {
        rc = db_sync(conn, req, NULL);
        rc = rc < 0 ? rc : end_replaced(registry, req, conn, submission, &replaced);
    }
    for (const DocumentEntry *entry = submission->documents; entry && rc == 0;
         entry = entry->next) {
        if (is_consent(entry)) {
            rc = queue_effects(req, conn, entry, patient);
            rc = rc < 0 ? rc
                        : queue_event(registry, req, conn, submission->submission_set->patient_id,
                                      entry->unique_id, "counts from its serviceStartTime on");
        }
    }
    return rc;
}

/* The documents $1 as far as they are what is_consent() looks at. */
static const DbStatement select_begun = {
    "consent_begun",
    "SELECT d.unique_id, d.patient, c.code, c.scheme, f.code, f.scheme,"
    " ARRAY(SELECT e.code FROM code e WHERE e.id = ANY (d.event_code_list)),"
    " to_char(d.service_start_time AT TIME ZONE 'UTC', 'YYYYMMDDHH24MISS'),"
    " to_char(d.service_stop_time AT TIME ZONE 'UTC', 'YYYYMMDDHH24MISS')"
    " FROM document_entry d JOIN code c ON c.id = d.class_code JOIN code f ON f.id = d.format_code"
    " WHERE d.entry_uuid = ANY ($1::uuid[]) AND f.code = ANY ($2::text[]) AND f.scheme = $3::text"};

static DocumentEntry read_begun(Arena *arena, const DbResult *rows, int row)
{
    Str *policies;
    size_t count = db_text_array(rows, row, 6, arena, &policies);
    DocumentEntry entry = {
        .unique_id = db_text(rows, row, 0),
        .class_code = {.code = db_text(rows, row, 2), .scheme = db_text(rows, row, 3)},
        .format_code = {.code = db_text(rows, row, 4), .scheme = db_text(rows, row, 5)},
        .event_code_list = {.items = ARENA_ARRAY(arena, Code, count), .count = count},
        .service_start_time = db_text(rows, row, 7),
        .service_stop_time = db_text(rows, row, 8),
    };
    for (size_t i = 0; i < count; i++) {
        entry.event_code_list.items[i].code = policies[i];
    }
    return entry;
}

static int find_begun(Request *req, DbConn *conn, const UuidSet *begun, DbResult **ret_rows)
{
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_uuid_array(&params, begun->items, begun->count);
    db_param_text_array(&params, format_codes, ARRAY_LEN(format_codes));
    db_param_text(&params, STR(FORMAT_CODE_SCHEME));
    return db_exec(conn, req, &select_begun, &params, ret_rows);
}

static int begin(Registry *registry, Request *req, DbConn *conn, const Submission *submission,
                 const UuidSet *begun)
{
    DbResult *rows;
    int rc = find_begun(req, conn, begun, &rows);
    for (int row = 0; rc == 0 && row < db_rows(rows); row++) {
        const DocumentEntry entry = read_begun(req->arena, rows, row);
        if (is_consent(&entry)) {
            rc = queue_effects(req, conn, &entry, db_i64(rows, row, 1));
            rc = rc < 0 ? rc
                        : queue_event(registry, req, conn, submission->submission_set->patient_id,
                                      entry.unique_id, "counts from its serviceStartTime on");
        }
    }
    return rc;
}

int consent_update(Registry *registry, Request *req, DbConn *conn, const Submission *submission,
                   const ConsentChanges *changes)
{
    if (changes->ended.count == 0 && changes->begun.count == 0) {
        return 0;
    }
    int rc = db_sync(conn, req, NULL);
    rc = rc < 0 ? rc : end_replaced(registry, req, conn, submission, &changes->ended);
    return rc < 0 ? rc : begin(registry, req, conn, submission, &changes->begun);
}

/* Of documents that are to be removed ($1) those that say something. */
static const DbStatement select_removed = {
    "consent_removed",
    "SELECT DISTINCT d.unique_id, d.patient FROM document_entry d"
    " WHERE d.entry_uuid = ANY ($1::uuid[]) AND " SQL_SAYS_SOMETHING
    " AND NOT EXISTS (SELECT FROM document_entry o WHERE hashtext(o.unique_id) ="
    " hashtext(d.unique_id) AND o.unique_id = d.unique_id AND o.patient = d.patient"
    " AND o.status = 0 AND o.entry_uuid <> ALL ($1::uuid[]))"};

static int end_removed(Registry *registry, Request *req, DbConn *conn, Str unique_id,
                       int64_t patient)
{
    const PatientDirectory *patients = registry->config.patients;
    int64_t survivor;
    int64_t count = 0;
    Str identifier;
    int rc = end_consent(req, conn, unique_id, patient, &count);
    if (rc < 0 || count == 0) {
        return rc;
    }
    rc = patients->identifiers(patients->ctx, req, conn, &patient, 1, &identifier, &survivor);
    rc = rc < 0 ? rc
                : queue_event(registry, req, conn, identifier, unique_id,
                              "it is removed and counts no more");
    return rc < 0 ? rc : db_sync(conn, req, NULL);
}

int consent_remove(Registry *registry, Request *req, DbConn *conn, const UuidSet *removed)
{
    DbParams params;
    DbResult *rows;
    if (removed->count == 0) {
        return 0;
    }
    db_params_init(&params, req->arena);
    db_param_uuid_array(&params, removed->items, removed->count);
    int rc = db_exec(conn, req, &select_removed, &params, &rows);
    for (int row = 0; rc == 0 && row < db_rows(rows); row++) {
        rc = end_removed(registry, req, conn, db_text(rows, row, 0), db_i64(rows, row, 1));
    }
    return rc;
}

int consent_move(Request *req, DbConn *conn, const Str *unique_ids, size_t count,
                 const int64_t *from_patients, size_t from_count, int64_t to_patient)
{
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_text_array(&params, unique_ids, count);
    db_param_text(&params, STR("ITI-64"));
    db_param_i64(&params, to_patient);
    db_param_i64_array(&params, from_patients, from_count);
    int rc = db_queue(conn, req, &move_disclosures, &params);
    rc = rc < 0 ? rc : db_queue(conn, req, &move_enrolments, &params);
    return rc < 0 ? rc : db_sync(conn, req, NULL);
}
