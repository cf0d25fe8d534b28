/** ITI-30 Patient Identity Management (ITI TF-2 3.30), with the options Merge and Link/Unlink. */
#include "pix/hl7_v2.h"

int pix_iti30_add(Hl7Call *call)
{
    return hl7_feed(call, false, true);
}

int pix_iti30_revise(Hl7Call *call)
{
    return hl7_feed(call, true, true);
}

int pix_iti30_merge(Hl7Call *call)
{
    return hl7_merge(call, MERGE_LENIENT);
}

int pix_iti30_change(Hl7Call *call)
{
    return hl7_merge(call, MERGE_CHANGE);
}

/* ---- link, unlink ---- */

static int add_one_pair_only(const Hl7Call *call, const char *location)
{
    return error_add(&call->req->errors, ERR_HL7_DATA_TYPE, location,
                     "PID-3 names more than one identifier; send one message for each pair of "
                     "identifiers");
}

/** PID-3 of the first and of the second PID: one identifier each, one of them of the sender's own
 * domain. */
static int read_two_patients(const Hl7Call *call, Identifier *ret_pair)
{
    const Hl7Field first = {"PID", 1, 3, "the one patient's identifier"};
    const Hl7Field second = {"PID", 2, 3, "the other patient's identifier"};
    int rc = hl7_check_field(call, &second);
    if (rc < 0) {
        return rc;
    }
    NamedIdentifier *named =
        ARENA_ARRAY(call->req->arena, NamedIdentifier, 2 * (size_t)FEED_IDENTIFIERS_MAX);
    size_t first_count = 0;
    hl7_name_identifiers(call, &first, named, &first_count);
    size_t count = first_count;
    hl7_name_identifiers(call, &second, named, &count);
    if (first_count == 0) {
        return error_add(&call->req->errors, ERR_HL7_REQUIRED_FIELD_MISSING, "PID^1^3",
                         "PID-3 is empty; send the patient's identifier with its assigning "
                         "authority");
    }
    if (first_count > 1 || count > 2) {
        return add_one_pair_only(call, named[first_count > 1 ? 1 : 2].location);
    }
    size_t found = 0;
    rc = feed_rules_resolve(call->pix, call->req, call->authorities, &call->sender, FEED_LINK,
                            named, count, ret_pair, &found);
    if (rc == 0 && found < 2) {
        rc = error_add(&call->req->errors, ERR_HL7_UNKNOWN_KEY_IDENTIFIER, "PID^2^3^1^1",
                       "both PID name the same identifier, or one of a domain that is not known; "
                       "send two identifiers");
    }
    return rc;
}

static int link_patients(Hl7Call *call, LinkKind kind, const char *reason)
{
    Identifier pair[2] = {0};
    int rc = read_two_patients(call, pair);
    if (rc < 0) {
        return rc;
    }
    AuditEvent events[HL7_EVENTS_MAX];
    const IdentityLink link = {
        .kind = kind,
        .reason = reason,
        .one = pair[0],
        .other = pair[1],
        .is_lenient = true,
        .source = {.name = hl7_sender_name(call),
                   .events = events,
                   .event_count = hl7_feed_events(call, events)},
    };
    return identity_link(call->pix, call->req, &link);
}

int pix_iti30_link(Hl7Call *call)
{
    return link_patients(call, LINK_SAME, "link");
}

int pix_iti30_unlink(Hl7Call *call)
{
    return link_patients(call, LINK_DIFFERENT, "unlink");
}
