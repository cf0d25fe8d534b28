#include "lib/access/rules.h"

#include <stdlib.h>

#include "lib/access/enrolment.h"

/* Of those that reach a level. A role that only lets view adds nothing to a download. */
#define RIGHTS_FROM(lowest)                                                                        \
    ", coalesce(bool_or(may_break_glass) FILTER (WHERE level >= " lowest "), false),"              \
    " ARRAY(SELECT DISTINCT code FROM access_role_confidentiality"                                 \
    "        WHERE role IN (SELECT name FROM mine WHERE level >= " lowest "))"

/* What the roles of a node ($1), or those of its user ($2 codes, $3 systems), allow. */
static const DbStatement select_roles = {
    "access_roles",
    "WITH mine AS MATERIALIZED (SELECT * FROM access_role WHERE name = ANY ($1::text[])"
    "   OR name IN (SELECT c.role FROM access_role_code c"
    "                 JOIN unnest($2::text[], $3::text[]) AS u (code, system)"
    "                   ON c.code = u.code AND c.code_system = u.system))"
    " SELECT coalesce(max(level), 0::int2)" RIGHTS_FROM("1") RIGHTS_FROM("2") " FROM mine"};

/* The columns that read_disclosure() expects, and which rules count now for reader $1. */
#define DISCLOSURE_COLUMNS                                                                         \
    " d.id, coalesce(d.source_facility, 0), d.class_codes, d.is_permit, d.level, d.period_from,"   \
    " d.period_to"
#define IS_IN_FORCE                                                                                \
    " d.revoked_at IS NULL AND (d.reader_facility IS NULL OR d.reader_facility = $1::int4)"        \
    " AND (d.valid_from IS NULL OR d.valid_from <= now())"                                         \
    " AND (d.valid_to IS NULL OR d.valid_to > now())"

static const DbStatement select_everybody = {"access_disclosures_of_everybody",
                                             "SELECT" DISCLOSURE_COLUMNS " FROM disclosure d"
                                             " WHERE d.patient IS NULL AND" IS_IN_FORCE};

/* A row for each disclosure of a patient, at least one for each patient. What was said of an
 * XAD-PID that was merged is said of its survivor; the last word about taking part counts. */
static const DbStatement select_patients = {
    "access_patients",
    "SELECT named.id, chain.survivor, e.is_enrolled," DISCLOSURE_COLUMNS
    " FROM patient_identifier named"
    " CROSS JOIN LATERAL (SELECT coalesce(named.survivor, named.id) AS survivor) root"
    " CROSS JOIN LATERAL (SELECT root.survivor, ARRAY(SELECT root.survivor UNION ALL"
    "   SELECT m.id FROM patient_identifier m WHERE m.survivor = root.survivor) AS ids) chain"
    " CROSS JOIN LATERAL (SELECT " ENROLMENT_IS_ENROLLED(
        "chain.ids") " AS is_enrolled) e"
                     " LEFT JOIN disclosure d ON d.patient = ANY (chain.ids) AND d.patient IS NOT "
                     "NULL "
                     "AND" IS_IN_FORCE " WHERE named.id = ANY ($2::int8[])"};

/** Columns of select_patients. */
enum { COLUMN_ASKED, COLUMN_PATIENT, COLUMN_IS_ENROLLED, COLUMN_DISCLOSURE };

static const struct {
    const char *code;
    const char *system;
} emergencies[] = {
#define EMERGENCY(code, system) {code, system},
#include "lib/access/emergency.def"
#undef EMERGENCY
};

static PatientRules **bucket_of(AccessRules *rules, int64_t asked)
{
    return &rules->buckets[(uint64_t)asked % RULE_BUCKETS];
}

PatientRules *rules_find(const AccessRules *rules, int64_t asked)
{
    PatientRules *patient = rules ? rules->buckets[(uint64_t)asked % RULE_BUCKETS] : NULL;
    while (patient && patient->asked != asked) {
        patient = patient->next_in_bucket;
    }
    return patient;
}

static PatientRules *add_patient(Request *req, int64_t asked)
{
    PatientRules *patient = ARENA_NEW(req->arena, PatientRules);
    PatientRules **bucket = bucket_of(req->rules, asked);
    patient->asked = asked;
    patient->next_in_bucket = *bucket;
    *bucket = patient;
    patient->next = req->rules->patients;
    req->rules->patients = patient;
    return patient;
}

/* ---- reading rows ---- */

/** Room for one more; grows by doubling whenever the count is a power of two. */
static Disclosure *add_disclosure(Arena *arena, DisclosureList *list)
{
    if ((list->count & (list->count - 1)) == 0) {
        Disclosure *items = ARENA_ARRAY(arena, Disclosure, list->count == 0 ? 1 : 2 * list->count);
        for (size_t i = 0; i < list->count; i++) {
            items[i] = list->items[i];
        }
        list->items = items;
    }
    return &list->items[list->count++];
}

static int64_t time_or(const DbResult *rows, int row, int column, int64_t open_end)
{
    return db_is_null(rows, row, column) ? open_end : db_timestamp(rows, row, column);
}

/** @param first  column of DISCLOSURE_COLUMNS; NULL there: none */
static void read_disclosure(Arena *arena, const DbResult *rows, int row, int first,
                            DisclosureList *list)
{
    if (db_is_null(rows, row, first)) {
        return;
    }
    Disclosure *d = add_disclosure(arena, list);
    d->id = db_i32(rows, row, first);
    d->source_facility = db_i32(rows, row, first + 1);
    d->class_count = db_i32_array(rows, row, first + 2, arena, &d->class_codes);
    d->is_permit = db_bool(rows, row, first + 3);
    d->level = (AccessLevel)db_i16(rows, row, first + 4);
    d->has_period = !db_is_null(rows, row, first + 5) || !db_is_null(rows, row, first + 6);
    d->from_us = time_or(rows, row, first + 5, INT64_MIN);
    d->to_us = time_or(rows, row, first + 6, INT64_MAX);
}

static void read_patients(Request *req, const DbResult *rows)
{
    for (int row = 0; row < db_rows(rows); row++) {
        int64_t asked = db_i64(rows, row, COLUMN_ASKED);
        PatientRules *patient = rules_find(req->rules, asked);
        if (!patient) {
            patient = add_patient(req, asked);
        }
        patient->patient = db_i64(rows, row, COLUMN_PATIENT);
        patient->is_enrolled = db_bool(rows, row, COLUMN_IS_ENROLLED);
        read_disclosure(req->arena, rows, row, COLUMN_DISCLOSURE, &patient->disclosures);
    }
}

static bool is_emergency(const AccessCode *purpose)
{
    for (size_t i = 0; i < ARRAY_LEN(emergencies); i++) {
        if (str_equal(purpose->code, str_from(emergencies[i].code)) &&
            str_equal(purpose->system, str_from(emergencies[i].system))) {
            return true;
        }
    }
    return false;
}

bool access_declares_emergency(const AccessUser *user)
{
    for (size_t i = 0; user && i < user->purpose_count; i++) {
        if (is_emergency(&user->purposes[i])) {
            return true;
        }
    }
    return false;
}

static void read_emergency(const AccessUser *user, AccessRules *rules)
{
    for (size_t i = 0; user && i < user->purpose_count; i++) {
        const AccessCode *purpose = &user->purposes[i];
        Str reason = str_trim(purpose->text); /* displayName names the code, it is no reason */
        if (is_emergency(purpose) && !str_is_empty(reason)) {
            rules->is_emergency = true;
            rules->emergency = purpose->code;
            rules->reason = reason;
        }
    }
}

/** @return req->rules, or what is to become of it */
static AccessRules *read_general(Request *req, const DbResult *roles, const DbResult *everybody)
{
    AccessRules *rules = req->rules ? req->rules : ARENA_NEW(req->arena, AccessRules);
    rules->is_read = true;
    rules->level = (AccessLevel)db_i16(roles, 0, 0);
    for (int level = LEVEL_VIEW; level <= LEVEL_DOWNLOAD; level++) {
        LevelRights *rights = &rules->rights[level];
        int column = 1 + 2 * (level - LEVEL_VIEW);
        rights->may_break_glass = db_bool(roles, 0, column);
        rights->confidentiality_count =
            db_i32_array(roles, 0, column + 1, req->arena, &rights->confidentiality);
    }
    read_emergency(req->user, rules);
    for (int row = 0; row < db_rows(everybody); row++) {
        read_disclosure(req->arena, everybody, row, 0, &rules->everybody);
    }
    return rules;
}

/* ---- asking ---- */

/** Roles of the user where the assertion names any, else those of the node. */
static int queue_roles(Request *req, DbConn *conn)
{
    const Str plain_node = STR("node");
    const AccessUser *user = req->user;
    RoleNames names = req->principal->roles;
    size_t count = user ? user->role_count : 0;
    Str *codes = ARENA_ARRAY(req->arena, Str, count);
    Str *systems = ARENA_ARRAY(req->arena, Str, count);
    for (size_t i = 0; i < count; i++) {
        codes[i] = user->roles[i].code;
        systems[i] = user->roles[i].system;
    }
    if (count > 0) {
        names = (RoleNames){0};
    } else if (names.count == 0) {
        names = (RoleNames){&plain_node, 1};
    }
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_text_array(&params, names.items, names.count);
    db_param_text_array(&params, codes, count);
    db_param_text_array(&params, systems, count);
    return db_queue(conn, req, &select_roles, &params);
}

static int queue_everybody(Request *req, DbConn *conn)
{
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_i32(&params, req->principal->facility_id);
    return db_queue(conn, req, &select_everybody, &params);
}

/** Asks for patients, and for what concerns all of them if that is not known yet. */
static int ask(Request *req, const DbStatement *statement, const DbParams *params,
               DbResult **ret_patients)
{
    _cleanup_(db_releasep) DbConn *conn = NULL;
    DbResult *results[3];
    bool is_first = !req->rules || !req->rules->is_read;
    int rc = db_acquire(req->principal->rules, req, &conn);
    if (is_first) {
        rc = rc < 0 ? rc : queue_roles(req, conn);
        rc = rc < 0 ? rc : queue_everybody(req, conn);
    }
    rc = rc < 0 ? rc : db_queue(conn, req, statement, params);
    rc = rc < 0 ? rc : db_sync(conn, req, results);
    if (rc < 0) {
        return rc;
    }
    if (is_first) {
        req->rules = read_general(req, results[0], results[1]);
    }
    *ret_patients = results[is_first ? 2 : 0];
    return 0;
}

int rules_read(Request *req, const int64_t *patients, size_t count)
{
    int64_t *missing = ARENA_ARRAY(req->arena, int64_t, count);
    size_t missing_count = 0;
    for (size_t i = 0; i < count; i++) {
        if (patients[i] != 0 && !rules_find(req->rules, patients[i])) {
            missing[missing_count++] = patients[i];
        }
    }
    static const int64_t somebody = 1; /* to be read where nobody is asked for: it takes as long */
    DbParams params;
    DbResult *rows;
    db_params_init(&params, req->arena);
    db_param_i32(&params, req->principal->facility_id);
    db_param_i64_array(&params, missing_count > 0 ? missing : &somebody, MAX(missing_count, 1));
    int rc = ask(req, &select_patients, &params, &rows);
    if (rc < 0) {
        return rc;
    }
    if (missing_count == 0) {
        return 0;
    }
    read_patients(req, rows);
    for (size_t i = 0; i < missing_count; i++) {
        if (!rules_find(req->rules, missing[i])) {
            (void)add_patient(req, missing[i]); /* no such row: nothing may be seen of it */
        }
    }
    return 0;
}

/** The entry of a patient whom a passing request saw; rules_find() does not know it. */
static PatientRules *adopted(Request *req, int64_t patient)
{
    PatientRules *found = req->rules->patients;
    while (found && (found->asked != 0 || found->patient != patient)) {
        found = found->next;
    }
    if (!found) {
        found = ARENA_NEW(req->arena, PatientRules);
        found->patient = patient;
        found->next = req->rules->patients;
        req->rules->patients = found;
    }
    return found;
}

void rules_adopt_overrides(Request *req, const AccessRules *passing)
{
    for (const PatientRules *p = passing ? passing->patients : NULL; p; p = p->next) {
        if (p->override_count == 0) {
            continue;
        }
        if (!req->rules) {
            req->rules = ARENA_NEW(req->arena, AccessRules);
            req->rules->reason = passing->reason;
        }
        adopted(req, p->patient)->override_count += p->override_count;
    }
}
