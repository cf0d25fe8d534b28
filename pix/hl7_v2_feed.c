#include <assert.h>

#include "pix/hl7_v2.h"

static bool is_of_affinity_domain_alone(const Identifier *identifiers, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!identifiers[i].authority->is_affinity_domain) {
            return false;
        }
    }
    return true;
}

int hl7_feed(Hl7Call *call, bool is_revision, bool checks_sex)
{
    IdentityFeed feed = {.is_revision = is_revision};
    Identifier *identifiers = NULL;
    int rc = hl7_read_identifiers(call, &hl7_patient_field, &identifiers, &feed.identifier_count);
    if (rc < 0) {
        return rc;
    }
    feed.identifiers = identifiers;
    demographics_from_pid(call->message, er7_segment(call->message, STR("PID"), 1),
                          &feed.demographics);
    /* of the affinity domain's identifiers only PID-3 matters (TF-2 Table 3.8-2) */
    if (!is_of_affinity_domain_alone(identifiers, feed.identifier_count)) {
        rc = feed_rules_check_demographics(call->req, &feed.demographics, "PID^1^7",
                                           checks_sex ? "PID^1^8" : NULL);
    }
    if (rc < 0) {
        return rc;
    }
    AuditEvent events[HL7_EVENTS_MAX];
    feed.source = (IdentitySource){.name = hl7_sender_name(call),
                                   .events = events,
                                   .event_count = hl7_feed_events(call, events)};
    return identity_feed(call->pix, call->req, &feed, NULL);
}

/* ---- merge ---- */

/** The one survivor that is of the subsumed identifier's authority (TF-2 3.8.4.2.2.4). */
static int find_survivor(const Hl7Call *call, const Identifier *survivors, size_t count,
                         const Identifier *subsumed, Identifier *ret_survivor)
{
    const Identifier *found = NULL;
    for (size_t i = 0; i < count; i++) {
        if (survivors[i].authority != subsumed->authority) {
            continue;
        }
        if (found) {
            return error_add(&call->req->errors, ERR_HL7_DATA_TYPE, survivors[i].location,
                             "PID-3 names more than one identifier of the domain of MRG-1; send "
                             "one message for each pair");
        }
        found = &survivors[i];
    }
    if (!found) {
        return error_add(&call->req->errors, ERR_HL7_UNKNOWN_KEY_IDENTIFIER,
                         subsumed->authority_location,
                         "the assigning authority of MRG-1 is not that of PID-3; send both "
                         "identifiers of one domain");
    }
    *ret_survivor = *found;
    return 0;
}

static int read_pair(Hl7Call *call, IdentityMerge *merge)
{
    Identifier *survivors = NULL;
    Identifier *subsumed = NULL;
    size_t survivor_count = 0;
    size_t subsumed_count = 0;
    int survivor_rc = hl7_read_identifiers(call, &hl7_patient_field, &survivors, &survivor_count);
    int subsumed_rc = hl7_read_identifiers(call, &hl7_merged_field, &subsumed, &subsumed_count);
    if (survivor_rc < 0 || subsumed_rc < 0) {
        return survivor_rc < 0 ? survivor_rc : subsumed_rc;
    }
    if (subsumed_count > 1) {
        return error_add(&call->req->errors, ERR_HL7_DATA_TYPE, subsumed[1].location,
                         "MRG-1 names more than one identifier; send one message for each pair");
    }
    merge->subsumed = subsumed[0];
    int rc = find_survivor(call, survivors, survivor_count, &subsumed[0], &merge->survivor);
    if (rc == 0 && str_equal(merge->survivor.value, merge->subsumed.value)) {
        rc = error_add(&call->req->errors, ERR_HL7_UNKNOWN_KEY_IDENTIFIER, merge->subsumed.location,
                       "MRG-1 is the same identifier as PID-3; nothing to merge");
    }
    return rc;
}

int hl7_merge(Hl7Call *call, MergeKind kind)
{
    IdentityMerge merge = {.kind = kind};
    int rc = read_pair(call, &merge);
    if (rc < 0) {
        return rc;
    }
    assert(merge.survivor.authority);
    if (kind == MERGE_LENIENT && merge.survivor.authority->is_affinity_domain) {
        merge.kind = MERGE_STRICT;
    }
    AuditEvent events[HL7_EVENTS_MAX];
    merge.source = (IdentitySource){.name = hl7_sender_name(call),
                                    .events = events,
                                    .event_count = hl7_feed_events(call, events)};
    return identity_merge(call->pix, call->req, &merge);
}
