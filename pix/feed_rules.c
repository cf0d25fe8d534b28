#include "pix/feed_rules.h"

#include "lib/base/clock.h"
#include "pix/identity_rows.h"

/** Kinds of systems that number the patients of one facility: no other facility may bring in their
 * numbers. Other numbers (insurance, regional) go about with the patient. */
static const Str hospital_kinds[] = {STR_INIT("emr"), STR_INIT("pacs"), STR_INIT("department")};

/* HL7 table 0001 */
static const Str sexes[] = {STR_INIT("F"), STR_INIT("M"), STR_INIT("O"),
                            STR_INIT("U"), STR_INIT("A"), STR_INIT("N")};

typedef struct Feed {
    Pix *pix;
    Request *req;
    const Authorities *authorities;
    const FeedSender *sender;
    const NamedIdentifier *named;
    Identifier *found; /* one per named identifier; authority NULL: ignored or faulty */
    AuthorityFault *faults;
    size_t count;
} Feed;

static bool is_listed(Str value, const Str *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (str_equal(value, list[i])) {
            return true;
        }
    }
    return false;
}

/* ---- authorities ---- */

const AssigningAuthority *feed_rules_authority(const Authorities *authorities,
                                               const FeedSender *sender, const Hl7Cx *cx,
                                               AuthorityFault *ret_fault)
{
    const AssigningAuthority *found = authorities_find(authorities, cx, ret_fault);
    if (*ret_fault != AUTHORITY_ABSENT) {
        return found;
    }
    found = authorities_of_source(authorities, sender->application, sender->facility);
    if (!found && authorities->count == 1) { /* the only one there is */
        found = authorities->affinity_domain;
    }
    *ret_fault = found ? AUTHORITY_GOOD : AUTHORITY_ABSENT;
    return found;
}

static void find_authorities(Feed *feed)
{
    for (size_t i = 0; i < feed->count; i++) {
        const NamedIdentifier *named = &feed->named[i];
        feed->found[i] =
            (Identifier){.authority = feed_rules_authority(feed->authorities, feed->sender,
                                                           &named->cx, &feed->faults[i]),
                         .value = str_trim(named->cx.id),
                         .location = named->location,
                         .authority_location = named->authority_location};
    }
}

static bool names_affinity_domain(const Feed *feed)
{
    for (size_t i = 0; i < feed->count; i++) {
        if (feed->found[i].authority && feed->found[i].authority->is_affinity_domain) {
            return true;
        }
    }
    return false;
}

/** Adds an error for each authority that cannot be stored (TF-2 3.8.4.1.4; Appendix E). */
static int check_authorities(const Feed *feed)
{
    bool ignores_unknown = names_affinity_domain(feed);
    int rc = 0;
    for (size_t i = 0; i < feed->count; i++) {
        AuthorityFault fault = feed->faults[i];
        if (fault == AUTHORITY_GOOD || (fault == AUTHORITY_UNKNOWN && ignores_unknown)) {
            continue;
        }
        Str text = authority_fault_text(feed->req->arena, fault, &feed->named[i].cx);
        rc = error_add(&feed->req->errors, ERR_HL7_UNKNOWN_KEY_IDENTIFIER,
                       feed->named[i].authority_location, "%.*s", STR_ARG(text));
    }
    return rc;
}

/** Feeds outside the epoch of a system are refused. */
static int check_epoch(const Feed *feed, const Identifier *identifier)
{
    const AssigningAuthority *authority = identifier->authority;
    int64_t now_us = clock_utc_us();
    if (now_us >= authority->valid_from_us && now_us < authority->valid_to_us) {
        return 0;
    }
    bool is_early = now_us < authority->valid_from_us;
    Arena *arena = feed->req->arena;
    Str limit = clock_iso8601(arena, is_early ? authority->valid_from_us : authority->valid_to_us);
    return error_add(&feed->req->errors, ERR_HL7_UNKNOWN_KEY_IDENTIFIER,
                     identifier->authority_location,
                     "assigning authority \"%.*s\" %s %.*s; ask the operator of this network to "
                     "change the period if the system is in use",
                     STR_ARG(authority->oid),
                     is_early ? "takes feeds only from" : "takes no feeds since", STR_ARG(limit));
}

/* ---- source ---- */

/** Whether these are the numbers that one hospital gives to its patients. */
static bool is_hospitals(const AssigningAuthority *authority)
{
    return authority->facility_id != 0 &&
           is_listed(authority->kind, hospital_kinds, ARRAY_LEN(hospital_kinds));
}

/** A number moves with its documents to the patient whom it is told of: where rules count, only a
 * node that acts for its hospital may feed or name it, whether the number exists or not. */
static bool may_name(const Feed *feed, const AssigningAuthority *authority)
{
    const Principal *principal = feed->req->principal;
    return principal->may_do_everything || !is_hospitals(authority) ||
           access_may_submit_for(principal, authority->facility_id);
}

static bool is_part(Str configured, Str said)
{
    return str_equal(configured, STR("*")) || str_equal(configured, said);
}

/** Whether MSH-3|MSH-4, or what stands for it, is the authority's Patient Identity Source. */
static bool is_source(const Feed *feed, const AssigningAuthority *authority)
{
    const FeedSender *sender = feed->sender;
    if (str_is_empty(authority->source_application)) {
        return may_name(feed, authority);
    }
    return (is_part(authority->source_application, sender->application) &&
            is_part(authority->source_facility, sender->facility)) ||
           (sender->is_node &&
            node_directory_may_send_as(feed->pix->config.nodes, feed->req->principal,
                                       authority->source_application, authority->source_facility));
}

/** Whether the affinity domain's own identifiers are fed at all. */
static bool takes_affinity_domain(const PixConfig *config)
{
    return config->pid_owner == PID_OWNER_EXTERNAL || config->takes_any_source;
}

static bool is_own(const Feed *feed, const AssigningAuthority *authority)
{
    bool is_node = str_is_empty(authority->source_node) ||
                   str_equal(authority->source_node, feed->req->principal->node_name);
    bool is_fed = !authority->is_affinity_domain || takes_affinity_domain(&feed->pix->config);
    return is_fed && is_node && is_source(feed, authority);
}

static int add_foreign(const Feed *feed, const Identifier *identifier)
{
    const AssigningAuthority *authority = identifier->authority;
    if (authority->is_affinity_domain && !takes_affinity_domain(&feed->pix->config)) {
        return error_add(
            &feed->req->errors, ERR_HL7_UNKNOWN_KEY_IDENTIFIER, identifier->authority_location,
            "identifiers of \"%.*s\" are issued by this server; send those of your own "
            "domain",
            STR_ARG(authority->oid));
    }
    bool has_node = !str_is_empty(authority->source_node);
    return error_add(&feed->req->errors, ERR_HL7_UNKNOWN_KEY_IDENTIFIER,
                     identifier->authority_location,
                     "assigning authority \"%.*s\" is fed by MSH-3 \"%.*s\" with MSH-4 "
                     "\"%.*s\"%s%.*s%s alone, and this comes from \"%.*s\" with \"%.*s\"; send "
                     "identifiers of your own domain, or ask the operator of this network to "
                     "change the source",
                     STR_ARG(authority->oid), STR_ARG(authority->source_application),
                     STR_ARG(authority->source_facility), has_node ? " of node \"" : "",
                     STR_ARG(authority->source_node), has_node ? "\"" : "",
                     STR_ARG(feed->sender->application), STR_ARG(feed->sender->facility));
}

/* ---- quotes ---- */

/** Whether an identifier of another source's domain needs no proof that it exists. */
static bool may_be_new(const Feed *feed, const AssigningAuthority *authority)
{
    if (authority->is_affinity_domain) {
        return false;
    }
    if (!is_hospitals(authority)) {
        return true;
    }
    for (size_t i = 0; i < feed->count; i++) {
        const AssigningAuthority *other = feed->found[i].authority;
        if (other && is_own(feed, other) && other->facility_id == authority->facility_id) {
            return true;
        }
    }
    return false;
}

static int read_known(const Feed *feed, IdentityRows *ret_rows)
{
    _cleanup_(db_releasep) DbConn *conn = NULL;
    Identifier *named = ARENA_ARRAY(feed->req->arena, Identifier, feed->count);
    size_t count = 0;
    for (size_t i = 0; i < feed->count; i++) {
        if (feed->found[i].authority) {
            named[count++] = feed->found[i];
        }
    }
    int rc = db_acquire(feed->pix->config.pool, feed->req, &conn);
    return rc < 0 ? rc : identity_lookup(conn, feed->req, named, count, ret_rows);
}

/** Whether a quote stands beside what the sender may feed, and is one that it may make. */
static int check_quote(const Feed *feed, Identifier *identifier, FeedPurpose purpose, bool has_own)
{
    const AssigningAuthority *authority = identifier->authority;
    bool is_ours = authority->is_affinity_domain && !takes_affinity_domain(&feed->pix->config);
    identifier->is_quoted = true;
    if (!has_own || !may_name(feed, authority) || (is_ours && purpose != FEED_LINK)) {
        return add_foreign(feed, identifier);
    }
    if (purpose == FEED_LINK || may_be_new(feed, authority)) {
        return 0;
    }
    IdentityRows rows = {0};
    int rc = read_known(feed, &rows);
    if (rc < 0) {
        return rc;
    }
    return identity_rows_find(&rows, identifier) ? 0 : add_foreign(feed, identifier);
}

/** Marks what is quoted, and adds an error for each identifier that the sender may not feed. */
static int check_sources(Feed *feed, FeedPurpose purpose)
{
    bool has_own = false;
    for (size_t i = 0; i < feed->count; i++) {
        const AssigningAuthority *authority = feed->found[i].authority;
        has_own = has_own || (authority && is_own(feed, authority));
    }
    int rc = 0;
    for (size_t i = 0; i < feed->count; i++) {
        Identifier *identifier = &feed->found[i];
        if (!identifier->authority) {
            continue;
        }
        int fault = is_own(feed, identifier->authority)
                        ? check_epoch(feed, identifier)
                        : check_quote(feed, identifier, purpose, has_own);
        fault = fault < 0 ? fault : identity_check_value(&feed->req->errors, identifier);
        rc = fault < 0 ? fault : rc;
    }
    return rc;
}

/* ---- the whole ---- */

static bool is_repeated(const Identifier *identifiers, size_t count, const Identifier *identifier)
{
    for (size_t i = 0; i < count; i++) {
        if (identifiers[i].authority == identifier->authority &&
            str_equal(identifiers[i].value, identifier->value)) {
            return true;
        }
    }
    return false;
}

int feed_rules_resolve(Pix *pix, Request *req, const Authorities *authorities,
                       const FeedSender *sender, FeedPurpose purpose, const NamedIdentifier *named,
                       size_t count, Identifier *ret_identifiers, size_t *ret_count)
{
    Feed feed = {
        .pix = pix,
        .req = req,
        .authorities = authorities,
        .sender = sender,
        .named = named,
        .found = ARENA_ARRAY(req->arena, Identifier, count),
        .faults = ARENA_ARRAY(req->arena, AuthorityFault, count),
        .count = count,
    };
    find_authorities(&feed);
    int rc = check_authorities(&feed);
    int source_rc = check_sources(&feed, purpose);
    rc = rc < 0 ? rc : source_rc;
    if (rc < 0) {
        return rc;
    }
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (feed.found[i].authority && !is_repeated(ret_identifiers, kept, &feed.found[i])) {
            ret_identifiers[kept++] = feed.found[i];
        }
    }
    *ret_count = kept;
    return 0;
}

int feed_rules_check_demographics(Request *req, const Demographics *demographics,
                                  const char *birth_location, const char *sex_location)
{
    int rc = 0;
    Str birth = demographics_value(req->arena, demographics, DEMOGRAPHIC_birth_time);
    Str sex = demographics_value(req->arena, demographics, DEMOGRAPHIC_sex);
    if (!str_is_empty(str_trim(birth)) &&
        str_is_empty(demographics_birth_date(req->arena, demographics))) {
        rc = error_add(
            &req->errors, ERR_HL7_DATA_TYPE, birth_location,
            "the time of birth is not YYYY[MM[DD[hhmm[ss]]]] with digits alone; send such "
            "a time, or leave it out");
    }
    if (sex_location && !str_is_empty(sex) && !is_listed(sex, sexes, ARRAY_LEN(sexes))) {
        rc = error_add(&req->errors, ERR_HL7_TABLE_VALUE_NOT_FOUND, sex_location,
                       "the administrative sex \"%.*s\" is not in table 0001; send F, M, O, U, A "
                       "or N",
                       STR_ARG(sex));
    }
    return rc;
}
