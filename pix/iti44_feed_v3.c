/**
 * ITI-44 Patient Identity Feed HL7 V3: PRPA_IN201301UV02 (add), 201302 (revise), 201304 (duplicates
 * resolved), acknowledged by MCCI_IN000002UV01 (ITI TF-2 3.44). What it asks of a Document Registry
 * is part of what a manager does.
 */
#include "lib/hl7/v3_person.h"
#include "pix/message_v3.h"
#include "pix/pix_state.h"

#define EVENTS_MAX 2

static const V3Reply accept_reply = {"MCCI_IN000002UV01", true};

static const struct Interaction {
    const char *name;
    AuditEventType event; /* of the identifiers in Patient.id */
    bool is_revision;
    bool is_merge;
} interactions[] = {
    {"PRPA_IN201301UV02", AUDIT_ITI44_CREATE, false, false},
    {"PRPA_IN201302UV02", AUDIT_ITI44_UPDATE, true, false},
    {"PRPA_IN201304UV02", AUDIT_ITI44_UPDATE, false, true},
};

/** The row of a body element: server/transactions.def sends no other here. */
static const struct Interaction *interaction_of(const XmlNode *root)
{
    size_t i = 0;
    while (i + 1 < ARRAY_LEN(interactions) && !v3_is(root, interactions[i].name)) {
        i++;
    }
    return &interactions[i];
}

/** A message that was read, with where its parts are. */
typedef struct Feed {
    Pix *pix;
    Request *req;
    const struct Interaction *interaction;
    V3Message message;
    const XmlNode *registration; /* the first; NULL if there is none */
    const XmlNode *patient;
} Feed;

static const char prior_role[] = "priorRegistration/subject1/priorRegisteredRole/id";

/* ---- structure ---- */

/** One message, one patient (ITI TF-2 3.44.4.1.2). */
static int check_subjects(const Feed *feed)
{
    Request *req = feed->req;
    const XmlNode *first = v3_child(feed->message.act, "subject");
    const XmlNode *second = first ? v3_next(first, "subject") : NULL;
    if (!first) {
        return error_add(&req->errors, ERR_HL7_REQUIRED_FIELD_MISSING,
                         v3_path(req->arena, feed->message.act),
                         "element subject is missing; send the patient in "
                         "subject/registrationEvent/subject1/patient");
    }
    if (second) {
        return error_add(&req->errors, ERR_HL7_SEGMENT_SEQUENCE, v3_path(req->arena, second),
                         "the message names more than one patient; send a message for each");
    }
    return 0;
}

static int check_replacement(const Feed *feed)
{
    Request *req = feed->req;
    const XmlNode *first = v3_child(feed->registration, "replacementOf");
    const XmlNode *second = first ? v3_next(first, "replacementOf") : NULL;
    const char *location = v3_path(req->arena, feed->registration);
    if (feed->interaction->is_merge && !first) {
        return error_add(&req->errors, ERR_HL7_REQUIRED_FIELD_MISSING, location,
                         "element replacementOf is missing; send the subsumed identifier in "
                         "replacementOf/%s",
                         prior_role);
    }
    if (first && !feed->interaction->is_merge) {
        return error_add(&req->errors, ERR_HL7_SEGMENT_SEQUENCE, v3_path(req->arena, first),
                         "element replacementOf is not expected in %s; send PRPA_IN201304UV02 to "
                         "resolve duplicates",
                         feed->interaction->name);
    }
    if (second) {
        return error_add(&req->errors, ERR_HL7_SEGMENT_SEQUENCE, v3_path(req->arena, second),
                         "the message names more than one subsumed identifier; send a message for "
                         "each");
    }
    return 0;
}

static int read_message(Feed *feed, const XmlNode *root)
{
    int rc = v3_message_read(feed->req, root, feed->interaction->name, &feed->message);
    feed->registration = v3_at(feed->message.act, "subject/registrationEvent");
    feed->patient = v3_at(feed->registration, "subject1/patient");
    if (rc == 0) {
        rc = check_subjects(feed);
    }
    return rc ? rc : check_replacement(feed);
}

/* ---- identifiers ---- */

/** An identifier of another organization counts where its authority is configured; the
 * organization has to be the one whose identifier it is (ITI TF-2 3.44.4.1.2). */
static size_t add_other_ids(const Feed *feed, const Authorities *authorities,
                            const XmlNode *other_ids, NamedIdentifier *named, size_t count)
{
    Request *req = feed->req;
    Str scope = v3_id(v3_at(other_ids, "scopingOrganization/id")).root;
    for (const XmlNode *node = v3_child(other_ids, "id"); node && count < FEED_IDENTIFIERS_MAX;
         node = v3_next(node, "id")) {
        V3Id id = v3_id(node);
        if (id.is_null || !authorities_by_oid(authorities, id.root)) {
            continue;
        }
        if (!str_equal(id.root, scope)) {
            error_add(&req->errors, ERR_HL7_DATA_TYPE, v3_path(req->arena, node),
                      "the root of this id is \"%.*s\", but that of its scopingOrganization is "
                      "\"%.*s\"; send the same in both",
                      STR_ARG(id.root), STR_ARG(scope));
        }
        named[count++] = message_v3_identifier(req->arena, node);
    }
    return count;
}

/** Patient.id, then asOtherIDs. */
static size_t name_identifiers(const Feed *feed, const Authorities *authorities,
                               NamedIdentifier *named)
{
    Arena *arena = feed->req->arena;
    const XmlNode *person = v3_child(feed->patient, "patientPerson");
    size_t count = 0;
    for (const XmlNode *node = v3_child(feed->patient, "id"); node && count < FEED_IDENTIFIERS_MAX;
         node = v3_next(node, "id")) {
        if (!v3_id(node).is_null) {
            named[count++] = message_v3_identifier(arena, node);
        }
    }
    bool has_own = count > 0;
    for (const XmlNode *node = v3_child(person, "asOtherIDs"); has_own && node;
         node = v3_next(node, "asOtherIDs")) {
        count = add_other_ids(feed, authorities, node, named, count);
    }
    return count;
}

/** The identifiers that the sender may feed; at least one. */
static int read_identifiers(const Feed *feed, const Authorities *authorities,
                            Identifier *ret_identifiers, size_t *ret_count)
{
    Request *req = feed->req;
    NamedIdentifier *named = ARENA_ARRAY(req->arena, NamedIdentifier, FEED_IDENTIFIERS_MAX);
    FeedSender sender = message_v3_sender(&feed->message);
    size_t count = name_identifiers(feed, authorities, named);
    if (count == 0) {
        return error_add(&req->errors, ERR_HL7_REQUIRED_FIELD_MISSING,
                         v3_path(req->arena, v3_child(feed->patient, "id")),
                         "every id of the patient has a nullFlavor; send the patient's identifier");
    }
    return feed_rules_resolve(feed->pix, req, authorities, &sender, FEED_RECORD, named, count,
                              ret_identifiers, ret_count);
}

/* ---- audit (ITI TF-2 3.44.5.1) ---- */

static void add_patients(const Feed *feed, const XmlNode *first, AuditEvent *event)
{
    AuditObject *objects = ARENA_ARRAY(feed->req->arena, AuditObject, FEED_IDENTIFIERS_MAX);
    for (const XmlNode *node = first; node && event->object_count < FEED_IDENTIFIERS_MAX;
         node = v3_next(node, "id")) {
        V3Id id = v3_id(node);
        if (!str_is_empty(id.extension)) {
            objects[event->object_count++] =
                message_v3_patient(feed->req, &feed->message, id.root, id.extension);
        }
    }
    event->objects = objects;
}

/** For a merge one of the subsumed and one of the surviving identifier. */
static size_t make_events(const Feed *feed, AuditEvent ret_events[EVENTS_MAX])
{
    AuditEvent *last = ret_events;
    if (feed->interaction->is_merge) {
        const XmlNode *replacement = v3_child(feed->registration, "replacementOf");
        *last = (AuditEvent){.type = AUDIT_ITI44_DELETE};
        add_patients(feed, v3_at(replacement, prior_role), last++);
    }
    *last = (AuditEvent){.type = feed->interaction->event};
    add_patients(feed, v3_child(feed->patient, "id"), last);
    return (size_t)(last - ret_events) + 1;
}

/** @return 0, or -ERR_IO: nothing may be sent */
static int record_refused(const Feed *feed)
{
    AuditEvent events[EVENTS_MAX];
    size_t count = make_events(feed, events);
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < count; i++) {
        audit_event_refuse(feed->req, &events[i]);
        rc = audit_append_event(feed->pix->config.audit, feed->req, &events[i]);
    }
    return rc;
}

/* ---- add, revise ---- */

static int check_demographics(const Feed *feed, const Demographics *demographics)
{
    Request *req = feed->req;
    const XmlNode *person = v3_child(feed->patient, "patientPerson");
    const XmlNode *gender = v3_child(person, "administrativeGenderCode");
    const XmlNode *birth = v3_child(person, "birthTime");
    const char *gender_path = v3_path(req->arena, gender ? gender : person);
    const char *birth_path = v3_path(req->arena, birth ? birth : person);
    Str code = xml_attribute(gender, "code");
    if (!str_is_empty(code) && str_is_empty(v3_sex(gender))) {
        return error_add(&req->errors, ERR_HL7_TABLE_VALUE_NOT_FOUND, gender_path,
                         "administrativeGenderCode \"%.*s\" is not known; send M, F or UN",
                         STR_ARG(code));
    }
    return feed_rules_check_demographics(req, demographics, birth_path, gender_path);
}

static int feed_patient(const Feed *feed)
{
    Request *req = feed->req;
    const Authorities *authorities = authority_directory_hold(feed->pix->authorities, req->arena);
    Identifier *identifiers = ARENA_ARRAY(req->arena, Identifier, FEED_IDENTIFIERS_MAX);
    AuditEvent events[EVENTS_MAX];
    IdentityFeed record = {
        .identifiers = identifiers,
        .source = {.name = message_v3_sender_name(req->arena, &feed->message), .events = events},
        .is_revision = feed->interaction->is_revision,
    };
    v3_person_read(req->arena, feed->patient, record.is_revision, &record.demographics);
    int demographics_rc = check_demographics(feed, &record.demographics);
    int rc = read_identifiers(feed, authorities, identifiers, &record.identifier_count);
    if (rc || demographics_rc || error_list_has_errors(&req->errors)) {
        return -(int)req->errors.first->code;
    }
    record.source.event_count = make_events(feed, events);
    return identity_feed(feed->pix, req, &record, NULL);
}

/* ---- merge ---- */

/** The surviving identifier: that of the subsumed one's authority. */
static int find_survivor(const Feed *feed, const Identifier *identifiers, size_t count,
                         IdentityMerge *merge)
{
    for (size_t i = 0; i < count; i++) {
        if (identifiers[i].authority == merge->subsumed.authority) {
            merge->survivor = identifiers[i];
            return 0;
        }
    }
    return error_add(&feed->req->errors, ERR_HL7_UNKNOWN_KEY_IDENTIFIER,
                     v3_path(feed->req->arena, v3_child(feed->patient, "id")),
                     "no id of the patient has the root \"%.*s\" of the subsumed identifier; send "
                     "the surviving identifier of the same authority",
                     STR_ARG(merge->subsumed.authority->oid));
}

static int merge_patients(const Feed *feed)
{
    Request *req = feed->req;
    const Authorities *authorities = authority_directory_hold(feed->pix->authorities, req->arena);
    const XmlNode *replacement = v3_child(feed->registration, "replacementOf");
    NamedIdentifier prior = message_v3_identifier(req->arena, v3_at(replacement, prior_role));
    Identifier *identifiers = ARENA_ARRAY(req->arena, Identifier, FEED_IDENTIFIERS_MAX);
    FeedSender sender = message_v3_sender(&feed->message);
    AuditEvent events[EVENTS_MAX];
    IdentityMerge merge = {
        .kind = MERGE_STRICT,
        .source = {.name = message_v3_sender_name(req->arena, &feed->message), .events = events},
    };
    size_t count = 0;
    size_t prior_count = 0;
    int survivor_rc = read_identifiers(feed, authorities, identifiers, &count);
    int rc = feed_rules_resolve(feed->pix, req, authorities, &sender, FEED_RECORD, &prior, 1,
                                &merge.subsumed, &prior_count);
    rc = rc ? rc : survivor_rc;
    rc = rc ? rc : find_survivor(feed, identifiers, count, &merge);
    if (rc) {
        return rc;
    }
    if (str_equal(merge.subsumed.value, merge.survivor.value)) {
        return error_add(&req->errors, ERR_HL7_UNKNOWN_KEY_IDENTIFIER, merge.subsumed.location,
                         "the subsumed identifier is the surviving one; nothing to merge");
    }
    merge.source.event_count = make_events(feed, events);
    return identity_merge(feed->pix, req, &merge);
}

int pix_iti44_feed(void *pix, SoapExchange *exchange)
{
    const XmlNode *root = exchange->message->body;
    Feed feed = {.pix = pix, .req = exchange->req, .interaction = interaction_of(root)};
    int rc = read_message(&feed, root);
    if (rc == 0) {
        rc = feed.interaction->is_merge ? merge_patients(&feed) : feed_patient(&feed);
    }
    if (rc < 0 && record_refused(&feed) < 0) {
        return rc;
    }
    v3_reply_begin(&exchange->reply_xml, exchange->req, &feed.message, &accept_reply);
    v3_reply_end(&exchange->reply_xml, &accept_reply);
    return 0;
}
