#include "lib/access/access.h"

#include <assert.h>
#include <string.h>

#include "lib/access/rules.h"

static const char *const transactions[] = {
#define TRANSACTION(name) name,
#include "lib/access/transactions.def"
#undef TRANSACTION
};

static_assert(ARRAY_LEN(transactions) <= 64, "Principal.transactions has 64 bits");

struct AccessScope {
    Request *req;
    AccessPurpose purpose;
    AccessReason settled;  /* what no object changes; ACCESS_REASON_COUNT: it depends */
    PatientRules *patient; /* NULL: none is needed */
};

static const struct {
    const char *name;
    bool permits;
    const char *text;
} reasons[] = {
#define REASON(name, permits, text) {#name, permits, text},
#include "lib/access/reasons.def"
#undef REASON
};

/** What a role must reach; LEVEL_NONE: no purpose of reading. */
static const AccessLevel levels[] = {
    [ACCESS_LIST] = LEVEL_VIEW,   [ACCESS_VIEW] = LEVEL_VIEW,   [ACCESS_DOWNLOAD] = LEVEL_DOWNLOAD,
    [ACCESS_SUBMIT] = LEVEL_NONE, [ACCESS_CHANGE] = LEVEL_NONE,
};

uint64_t access_transaction_bit(const char *transaction)
{
    for (size_t i = 0; i < ARRAY_LEN(transactions); i++) {
        if (strcmp(transactions[i], transaction) == 0) {
            return UINT64_C(1) << i;
        }
    }
    return 0;
}

bool access_may_use(const Principal *principal, const char *transaction)
{
    if (!principal) {
        return false;
    }
    return principal->may_do_everything ||
           (principal->transactions & access_transaction_bit(transaction)) != 0;
}

bool access_may_submit_for(const Principal *principal, int32_t facility)
{
    if (facility == principal->facility_id) {
        return true;
    }
    for (size_t i = 0; i < principal->facility_count; i++) {
        if (principal->facilities[i] == facility) {
            return true;
        }
    }
    return false;
}

bool access_permits(AccessReason reason)
{
    return reasons[reason].permits;
}

const char *access_reason_name(AccessReason reason)
{
    return reasons[reason].name;
}

const char *access_reason_text(AccessReason reason)
{
    return reasons[reason].text;
}

/* ---- opening ---- */

/** What holds for every object of whatever patient. */
static AccessReason settle(const Principal *principal, AccessPurpose purpose)
{
    if (!principal) {
        return ACCESS_NO_PRINCIPAL;
    }
    if (principal->may_do_everything) {
        return ACCESS_OPEN_MODE;
    }
    if (principal->node_id == 0) {
        return ACCESS_NO_PRINCIPAL;
    }
    if (levels[purpose] != LEVEL_NONE) {
        return principal->is_operator ? ACCESS_OPERATOR : ACCESS_REASON_COUNT;
    }
    return principal->may_submit ? ACCESS_REASON_COUNT : ACCESS_MAY_NOT_SUBMIT;
}

static AccessScope *new_scope(Request *req, AccessPurpose purpose)
{
    AccessScope *scope = ARENA_NEW(req->arena, AccessScope);
    *scope =
        (AccessScope){.req = req, .purpose = purpose, .settled = settle(req->principal, purpose)};
    return scope;
}

/** Whether rules about patients count. */
static bool needs_rules(const AccessScope *scope)
{
    return scope->settled == ACCESS_REASON_COUNT && levels[scope->purpose] != LEVEL_NONE;
}

int access_open(Request *req, int64_t patient, AccessPurpose purpose, const AccessScope **ret_scope)
{
    AccessScope *scope = new_scope(req, purpose);
    if (needs_rules(scope) && patient == 0) {
        scope->settled = ACCESS_NO_PATIENT;
    } else if (needs_rules(scope)) {
        int rc = rules_find(req->rules, patient) ? 0 : rules_read(req, &patient, 1);
        if (rc < 0) {
            return rc;
        }
        scope->patient = rules_find(req->rules, patient);
    }
    *ret_scope = scope;
    return 0;
}

int access_prepare(Request *req, const int64_t *patients, size_t count)
{
    return settle(req->principal, ACCESS_LIST) == ACCESS_REASON_COUNT
               ? rules_read(req, patients, count)
               : 0;
}

Request access_passing(const Request *req, Arena *arena)
{
    Request passing = *req;
    passing.arena = arena;
    passing.rules = NULL;
    return passing;
}

void access_passed(Request *req, const Request *passing)
{
    req->errors = passing->errors;
    rules_adopt_overrides(req, passing->rules);
}

/* ---- deciding ---- */

static bool has_code(const int32_t *codes, size_t count, int32_t code)
{
    for (size_t i = 0; i < count; i++) {
        if (codes[i] == code) {
            return true;
        }
    }
    return false;
}

static bool breaks_glass(const AccessRules *rules, AccessLevel level)
{
    return rules->is_emergency && rules->rights[level].may_break_glass;
}

static bool may_see_codes(const LevelRights *rights, const AccessObject *object)
{
    for (size_t i = 0; i < object->confidentiality_count; i++) {
        if (!has_code(rights->confidentiality, rights->confidentiality_count,
                      object->confidentiality_codes[i])) {
            return false;
        }
    }
    return true;
}

/** An object without a time is in no period that permits, and in every one that denies. */
static bool is_in_period(const Disclosure *d, const AccessObject *object)
{
    if (!d->has_period) {
        return true;
    }
    if (object->effective_us == INT64_MIN) {
        return !d->is_permit;
    }
    return d->from_us <= object->effective_us && object->effective_us < d->to_us;
}

static bool concerns(const Disclosure *d, AccessLevel level, const AccessObject *object)
{
    return (d->is_permit ? level <= d->level : level >= d->level) &&
           (d->source_facility == 0 || d->source_facility == object->source_facility) &&
           (d->class_count == 0 || has_code(d->class_codes, d->class_count, object->class_code)) &&
           is_in_period(d, object);
}

/** The rule of the list that decides: a denial before a permission. NULL: none does. */
static const Disclosure *find_rule(const DisclosureList *list, AccessLevel level,
                                   const AccessObject *object)
{
    const Disclosure *found = NULL;
    for (size_t i = 0; i < list->count; i++) {
        const Disclosure *d = &list->items[i];
        if (concerns(d, level, object) && (!found || !d->is_permit)) {
            found = d;
            if (!d->is_permit) {
                break;
            }
        }
    }
    return found;
}

static AccessDecision judge_disclosure(const AccessRules *rules, const PatientRules *patient,
                                       AccessLevel level, const AccessObject *object)
{
    const Disclosure *own = find_rule(&patient->disclosures, level, object);
    const Disclosure *general = find_rule(&rules->everybody, level, object);
    const Disclosure *rule =
        own && (!own->is_permit || !general || general->is_permit) ? own : general;
    if (rule) {
        return (AccessDecision){rule->is_permit ? ACCESS_DISCLOSED : ACCESS_DENIED, rule->id};
    }
    return (AccessDecision){breaks_glass(rules, level) ? ACCESS_BREAK_GLASS : ACCESS_NOT_DISCLOSED,
                            0};
}

static AccessDecision judge_reading(const AccessScope *scope, const AccessObject *object)
{
    const AccessRules *rules = scope->req->rules;
    const PatientRules *patient = scope->patient;
    AccessLevel level = levels[scope->purpose];
    if (patient->patient == 0) {
        return (AccessDecision){ACCESS_NO_PATIENT, 0};
    }
    if (!patient->is_enrolled) {
        return (AccessDecision){ACCESS_NOT_ENROLLED, 0};
    }
    if (rules->level < level) {
        return (AccessDecision){ACCESS_ROLE_LEVEL, 0};
    }
    if (!may_see_codes(&rules->rights[level], object)) {
        return (AccessDecision){ACCESS_CONFIDENTIALITY, 0};
    }
    if (object->source_facility != 0 &&
        object->source_facility == scope->req->principal->facility_id) {
        return (AccessDecision){ACCESS_OWN_DOCUMENT, 0};
    }
    return judge_disclosure(rules, patient, level, object);
}

AccessDecision access_explain(const AccessScope *scope, const AccessObject *object)
{
    if (scope->settled != ACCESS_REASON_COUNT) {
        return (AccessDecision){scope->settled, 0};
    }
    if (levels[scope->purpose] != LEVEL_NONE) {
        return judge_reading(scope, object);
    }
    bool is_own = object->source_facility != 0 &&
                  access_may_submit_for(scope->req->principal, object->source_facility);
    return (AccessDecision){is_own ? ACCESS_OWN_CHANGE : ACCESS_OTHER_FACILITY, 0};
}

bool access_decide(const AccessScope *scope, const AccessObject *object)
{
    AccessReason reason = access_explain(scope, object).reason;
    if (reason == ACCESS_BREAK_GLASS) {
        scope->patient->override_count++;
    }
    return access_permits(reason);
}

bool access_may_see_any(const AccessScope *scope)
{
    if (scope->settled != ACCESS_REASON_COUNT) {
        return access_permits(scope->settled);
    }
    return scope->patient->is_enrolled && scope->req->rules->level >= levels[scope->purpose];
}

bool access_has_rules(const Request *req)
{
    return settle(req->principal, ACCESS_LIST) != ACCESS_OPEN_MODE;
}

bool access_limits_facilities(const AccessScope *scope, Arena *arena, int32_t **ret_facilities,
                              size_t *ret_count)
{
    *ret_count = 0;
    if (!access_may_see_any(scope)) {
        return true;
    }
    if (scope->settled != ACCESS_REASON_COUNT ||
        breaks_glass(scope->req->rules, levels[scope->purpose])) {
        return false;
    }
    const DisclosureList *lists[] = {&scope->patient->disclosures, &scope->req->rules->everybody};
    *ret_facilities = ARENA_ARRAY(arena, int32_t, 1 + lists[0]->count + lists[1]->count);
    (*ret_facilities)[(*ret_count)++] = scope->req->principal->facility_id;
    for (size_t n = 0; n < ARRAY_LEN(lists); n++) {
        for (size_t i = 0; i < lists[n]->count; i++) {
            const Disclosure *d = &lists[n]->items[i];
            if (d->is_permit && d->source_facility == 0) {
                return false;
            }
            if (d->is_permit) {
                (*ret_facilities)[(*ret_count)++] = d->source_facility;
            }
        }
    }
    return true;
}

/** Whether some document of the facility could show: a denial counts if it is of every document. */
static bool is_facility_disclosed(const AccessRules *rules, PatientRules *patient, int32_t facility)
{
    const DisclosureList *lists[] = {&patient->disclosures, &rules->everybody};
    bool is_permitted = false;
    for (size_t n = 0; n < ARRAY_LEN(lists); n++) {
        for (size_t i = 0; i < lists[n]->count; i++) {
            const Disclosure *d = &lists[n]->items[i];
            bool concerns_it = d->source_facility == 0 || d->source_facility == facility;
            if (concerns_it && d->is_permit) {
                is_permitted = true;
            } else if (concerns_it && d->class_count == 0 && !d->has_period &&
                       d->level == LEVEL_VIEW) {
                return false;
            }
        }
    }
    if (!is_permitted && breaks_glass(rules, LEVEL_VIEW)) {
        patient->override_count++;
        return true;
    }
    return is_permitted;
}

bool access_decide_facility(const AccessScope *scope, int32_t facility)
{
    bool may_be_own = scope->settled == ACCESS_REASON_COUNT || scope->settled == ACCESS_NO_PATIENT;
    if (may_be_own && facility != 0 && facility == scope->req->principal->facility_id) {
        return true;
    }
    if (scope->settled != ACCESS_REASON_COUNT) {
        return access_permits(scope->settled);
    }
    const AccessRules *rules = scope->req->rules;
    PatientRules *patient = scope->patient;
    if (!patient->is_enrolled || rules->level < LEVEL_VIEW) {
        return false;
    }
    return is_facility_disclosed(rules, patient, facility);
}
