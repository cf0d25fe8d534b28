#pragma once

#include "server/command/coded_text.h"

/** What a rule of table disclosure, and one of a consent policy, have in common. */

/** As the command line or a line of CSV gives it; "*" stands for any. */
typedef struct DisclosureRuleInput {
    const char *location; /* for faults: "disclosure add", or "FILE:LINE" */
    Str source;           /* facility whose documents they are */
    Str reader;           /* facility whose nodes may see them */
    Str classes;          /* list of CODE^^SCHEME; empty or "*": any */
    Str rule;             /* "permit" or "deny" */
    Str level;            /* "view" or "download"; empty: view */
} DisclosureRuleInput;

/** Checked. */
typedef struct DisclosureRule {
    int32_t source_facility; /* 0: any */
    int32_t reader_facility; /* 0: any */
    int32_t *class_codes;
    size_t class_count; /* 0: any */
    bool is_permit;
    int16_t level; /* 1 view, 2 download */
    Str words;     /* for a reader; in the command's arena */
} DisclosureRule;

/** Adds every fault. Codes that are new are stored in the open transaction. */
int disclosure_rule_read(const IdentityCommand *command, const DisclosureRuleInput *input,
                         DisclosureRule *ret_rule) MUST_CHECK;

/** Binds source, reader, classes, is_permit and level, in this order. */
void disclosure_rule_bind(DbParams *params, const DisclosureRule *rule);

/** Columns of a table that disclosure_rule_json() reads, from its alias d. */
#define DISCLOSURE_RULE_COLUMNS                                                                    \
    " (SELECT name FROM facility WHERE id = d.source_facility),"                                   \
    " (SELECT name FROM facility WHERE id = d.reader_facility), d.class_codes IS NULL,"            \
    " " CODED_TEXTS("d.class_codes") ", d.is_permit, d.level"
#define DISCLOSURE_RULE_COLUMN_COUNT 6

/** {"source", "reader", "classes", "rule", "level"}, any as JSON null; new reference.
 * @param first  column of DISCLOSURE_RULE_COLUMNS */
json_t *disclosure_rule_json(Arena *arena, const DbResult *rows, int row, int first);

/** "permits download of all classes, from Hospital A to Hospital B", in the operator's language; in
 * the arena. */
Str disclosure_rule_words(Arena *arena, const json_t *rule);
