#include "server/command/authority_input.h"

#include <stdlib.h>

#include "lib/base/oid.h"
#include "lib/base/zone.h"
#include "pix/authorities.h"
#include "server/command/facility.h"

#define MAX_TEXT_LEN 199 /* HD, TF-2 Appendix E */
#define MAX_PREFIX_LEN 64
/** Longer chains of domains that derive from each other are refused like a loop. */
#define MAX_DERIVE_STEPS 8

static const Str kinds[] = {STR_INIT("emr"), STR_INIT("pacs"), STR_INIT("department"),
                            STR_INIT("other")};

/** One input on its way to a row. */
typedef struct Parser {
    Arena *arena;
    ErrorList *errors;
    const char *zone;
    const AuthorityInput *input;
} Parser;

static void add_fault(const Parser *parser, const char *text, Str value)
{
    (void)command_fault(parser->errors, parser->input->location, text, value);
}

/** A text of HL7 that needs no escape. */
static bool is_plain(Str text)
{
    for (size_t i = 0; i < text.len; i++) {
        if ((unsigned char)text.data[i] < ' ' || strchr("|^~\\&", text.data[i])) {
            return false;
        }
    }
    return text.len <= MAX_TEXT_LEN && str_is_utf8(text);
}

static Str parse_kind(const Parser *parser)
{
    Str kind = str_lower(parser->arena, parser->input->kind);

    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        if (str_equal(kind, kinds[i]) || (kind.len == 0 && i == 0)) {
            return kinds[i];
        }
    }
    add_fault(parser, "write a kind, emr, pacs, department or other, instead of", kind);
    return STR_EMPTY;
}

static void check_names(const Parser *parser)
{
    const AuthorityInput *input = parser->input;

    if (!oid_is_valid(input->oid)) {
        add_fault(parser,
                  "write the OID of the authority, digits and dots, at most 64 characters, e.g. "
                  "1.2.392.200119.6.102",
                  input->oid);
    }
    if (!is_plain(input->namespace_id)) {
        add_fault(parser, "a namespace holds none of | ^ ~ \\ & and no line end",
                  input->namespace_id);
    }
    if (input->facility.len > 0 && !facility_is_name(input->facility)) {
        add_fault(parser, "a facility's name has 1 to 64 bytes of UTF-8", STR_EMPTY);
    }
}

static void check_source(const Parser *parser)
{
    const AuthorityInput *input = parser->input;

    if ((input->source_application.len > 0) != (input->source_facility.len > 0)) {
        add_fault(parser, "write both MSH-3 and MSH-4 of the source, with * for any, or neither",
                  input->source_application.len > 0 ? input->source_application
                                                    : input->source_facility);
    }
    if (!is_plain(input->source_application) || !is_plain(input->source_facility)) {
        add_fault(parser, "MSH-3 and MSH-4 of a source hold none of | ^ ~ \\ &",
                  input->source_application);
    }
}

/** Midnight at the beginning of the day. @return false: a fault was added */
static bool parse_day(const Parser *parser, Str text, int days_later, int64_t *ret_us)
{
    if (!zone_day_begins(parser->zone, text, days_later, ret_us)) {
        add_fault(parser, "write a day as YYYY-MM-DD instead of", text);
        return false;
    }
    return true;
}

static void parse_validity(const Parser *parser, AuthorityRow *row)
{
    const AuthorityInput *input = parser->input;

    row->valid_from_us = INT64_MIN;
    row->valid_to_us = INT64_MAX;
    if (input->valid_from.len > 0 &&
        !parse_day(parser, input->valid_from, 0, &row->valid_from_us)) {
        return;
    }
    if (input->valid_to.len > 0 && !parse_day(parser, input->valid_to, 1, &row->valid_to_us)) {
        return;
    }
    if (row->valid_to_us <= row->valid_from_us) {
        add_fault(parser, "valid_to lies before valid_from", input->valid_to);
    }
}

/** A rule that patient identity understands, with a prefix that may stand in CX-1. */
static bool is_derive_rule(Str rule)
{
    AssigningAuthority authority = {0};

    return authority_read_derive_rule(rule, &authority) && is_plain(authority.derive_prefix) &&
           authority.derive_prefix.len <= MAX_PREFIX_LEN;
}

static void parse_derive(const Parser *parser, AuthorityRow *row)
{
    Str derive = parser->input->derive;
    size_t comma = str_find_char(derive, ',');

    if (derive.len == 0) {
        return;
    }
    row->derive_from = str_trim(str_slice(derive, 0, comma));
    row->derive_rule = comma == SIZE_MAX ? STR_EMPTY : str_trim(str_from_offset(derive, comma + 1));
    if (!oid_is_valid(row->derive_from) || !is_derive_rule(row->derive_rule)) {
        add_fault(parser,
                  "write derive as OID,pad=10 or OID,strip-zeros or OID,prefix=TEXT instead of",
                  derive);
    }
}

int authority_row_parse(Arena *arena, ErrorList *errors, const char *zone,
                        const AuthorityInput *input, AuthorityRow *ret_row)
{
    const Parser parser = {arena, errors, zone, input};
    const unsigned errors_before = errors->error_count;
    AuthorityRow row = {
        .location = input->location,
        .oid = input->oid,
        .namespace_id = input->namespace_id,
        .facility = input->facility,
        .kind = parse_kind(&parser),
        .source_application = input->source_application,
        .source_facility = input->source_facility,
        .source_node = input->source_node,
    };

    check_names(&parser);
    check_source(&parser);
    parse_validity(&parser, &row);
    parse_derive(&parser, &row);
    if (errors->error_count > errors_before) {
        return -ERR_CONFIGURATION;
    }
    *ret_row = row;
    return 0;
}

/* Rows together */

/** By OID; the input before what is stored, and in its order. */
static int compare_oids(const void *a, const void *b)
{
    const AuthorityRow *one = *(const AuthorityRow *const *)a;
    const AuthorityRow *other = *(const AuthorityRow *const *)b;
    const int order = str_compare(one->oid, other->oid);

    if (order != 0) {
        return order;
    }
    if ((one->location == NULL) != (other->location == NULL)) {
        return one->location ? -1 : 1;
    }
    return one < other ? -1 : 1;
}

static int compare_namespaces(const void *a, const void *b)
{
    const AuthorityRow *one = *(const AuthorityRow *const *)a;
    const AuthorityRow *other = *(const AuthorityRow *const *)b;
    const int order = str_compare(one->namespace_id, other->namespace_id);

    return order != 0 ? order : compare_oids(a, b);
}

/** What is in force: one row of each OID. @return how many */
static size_t keep_one_each(ErrorList *errors, const AuthorityRow **rows, size_t count)
{
    size_t kept = 0;

    for (size_t i = 0; i < count; i++) {
        if (kept == 0 || !str_equal(rows[kept - 1]->oid, rows[i]->oid)) {
            rows[kept++] = rows[i];
        } else if (rows[i]->location) {
            (void)command_fault(errors, rows[i]->location, "this OID stands above already",
                                rows[i]->oid);
        }
    }
    return kept;
}

static const AuthorityRow *find(const AuthorityRow *const *rows, size_t count, Str oid)
{
    size_t low = 0;
    size_t high = count;

    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        const int order = str_compare(rows[middle]->oid, oid);
        if (order == 0) {
            return rows[middle];
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

static void check_derivation(ErrorList *errors, const AuthorityRow *const *rows, size_t count,
                             const AuthorityRow *row)
{
    const AuthorityRow *at = row;

    for (int step = 0; at->derive_from.len > 0; step++) {
        const AuthorityRow *from = find(rows, count, at->derive_from);
        if (!from) {
            (void)command_fault(errors, row->location,
                                "derive names an authority that is not configured",
                                at->derive_from);
            return;
        }
        if (from == row || step == MAX_DERIVE_STEPS) {
            (void)command_fault(
                errors, row->location,
                "derive leads back to the authority itself, or over more than 8 others",
                row->derive_from);
            return;
        }
        at = from;
    }
}

/** @param rows  are sorted anew */
static void check_namespaces(ErrorList *errors, const AuthorityRow **rows, size_t count)
{
    qsort(rows, count, sizeof(*rows), compare_namespaces);
    for (size_t i = 1; i < count; i++) {
        const AuthorityRow *row = rows[i]->location ? rows[i] : rows[i - 1];
        const AuthorityRow *other = rows[i]->location ? rows[i - 1] : rows[i];
        if (row->location && row->namespace_id.len > 0 &&
            str_equal(row->namespace_id, other->namespace_id)) {
            (void)error_add(errors, ERR_CONFIGURATION, row->location,
                            "namespace %.*s is that of %.*s already; each namespace names one "
                            "authority",
                            STR_ARG(row->namespace_id), STR_ARG(other->oid));
        }
    }
}

int authority_rows_check(Arena *arena, ErrorList *errors, const AuthorityRow *rows, size_t count)
{
    const unsigned errors_before = errors->error_count;
    const AuthorityRow **sorted = ARENA_ARRAY(arena, const AuthorityRow *, count);

    for (size_t i = 0; i < count; i++) {
        sorted[i] = &rows[i];
    }
    qsort(sorted, count, sizeof(*sorted), compare_oids);
    const size_t kept = keep_one_each(errors, sorted, count);
    for (size_t i = 0; i < kept; i++) {
        if (sorted[i]->location) {
            check_derivation(errors, sorted, kept, sorted[i]);
        }
    }
    check_namespaces(errors, sorted, kept);
    return errors->error_count > errors_before ? -ERR_CONFIGURATION : 0;
}

/* Days */

static Str format(Arena *arena, const char *zone, int64_t at_us, int64_t back_us)
{
    struct tm at;
    struct tm day;

    if (!zone_to_local(zone, at_us, &at) || !zone_to_local(zone, at_us - back_us, &day)) {
        return STR_EMPTY;
    }
    if (at.tm_hour == 0 && at.tm_min == 0 && at.tm_sec == 0 && at_us % 1000000 == 0) {
        return str_printf(arena, "%04d-%02d-%02d", day.tm_year + 1900, day.tm_mon + 1, day.tm_mday);
    }
    return str_printf(arena, "%04d-%02d-%02d %02d:%02d:%02d", at.tm_year + 1900, at.tm_mon + 1,
                      at.tm_mday, at.tm_hour, at.tm_min, at.tm_sec);
}

Str authority_format_from(Arena *arena, const char *zone, int64_t valid_from_us)
{
    return valid_from_us == INT64_MIN ? STR_EMPTY : format(arena, zone, valid_from_us, 0);
}

Str authority_format_to(Arena *arena, const char *zone, int64_t valid_to_us)
{
    return valid_to_us == INT64_MAX ? STR_EMPTY : format(arena, zone, valid_to_us, 1);
}
