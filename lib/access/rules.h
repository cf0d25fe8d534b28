#pragma once

#include "lib/access/access.h"

/** The rules of table disclosure and its neighbours as they were read for one request. Private to
 * this folder. */

typedef enum AccessLevel { LEVEL_NONE, LEVEL_VIEW, LEVEL_DOWNLOAD } AccessLevel;

typedef struct Disclosure {
    int32_t id;
    int32_t source_facility; /* 0: any */
    int32_t *class_codes;
    size_t class_count; /* 0: any */
    bool is_permit;
    AccessLevel level;
    bool has_period;
    int64_t from_us; /* of the object */
    int64_t to_us;   /* exclusive */
} Disclosure;

typedef struct DisclosureList {
    Disclosure *items;
    size_t count;
} DisclosureList;

typedef struct PatientRules {
    int64_t asked;   /* row of patient_identifier that objects name; 0: of a passing request */
    int64_t patient; /* its survivor; 0: there is no such row */
    bool is_enrolled;
    DisclosureList disclosures; /* of this patient alone */
    int32_t override_count;     /* objects that only an emergency showed */
    struct PatientRules *next;
    struct PatientRules *next_in_bucket;
} PatientRules;

#define RULE_BUCKETS 64

/** What the roles that reach a level give together. */
typedef struct LevelRights {
    bool may_break_glass;
    int32_t *confidentiality; /* codes that they may see */
    size_t confidentiality_count;
} LevelRights;

/** What a request has read; in its arena. */
typedef struct AccessRules {
    bool is_read;                           /* false: it only holds whom passing requests saw */
    AccessLevel level;                      /* the most that its roles get */
    LevelRights rights[LEVEL_DOWNLOAD + 1]; /* by level; of LEVEL_NONE: none */
    bool is_emergency;                      /* declared, with a reason */
    Str emergency;                          /* code of the PurposeOfUse */
    Str reason;
    DisclosureList everybody; /* disclosures of every patient */
    PatientRules *patients;   /* in the order in which they were read */
    PatientRules *buckets[RULE_BUCKETS];
} AccessRules;

/** Reads what is not yet in req->rules: all of the patients in one round trip, which is made even
 * if all are. */
int rules_read(Request *req, const int64_t *patients, size_t count) MUST_CHECK;

/** Adds to req->rules the patients whom only an emergency showed. @param passing  may be NULL */
void rules_adopt_overrides(Request *req, const AccessRules *passing);

/** NULL: not read. */
PatientRules *rules_find(const AccessRules *rules, int64_t asked);
