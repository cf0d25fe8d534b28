#pragma once

#include "lib/hl7/v3.h"
#include "lib/soap/exchange.h"
#include "pix/feed_rules.h"

/** What the HL7 v3 transactions share (ITI-44, ITI-45, ITI-47). */

/** sender.device stands for MSH-3, its organization for MSH-4 (ITI TF-2 Appendix O). */
FeedSender message_v3_sender(const V3Message *message);
/** "device|organization", for the history. */
Str message_v3_sender_name(Arena *arena, const V3Message *message);

/** II as an identifier with the XPath of where it stands; root as CX-4.2. */
NamedIdentifier message_v3_identifier(Arena *arena, const XmlNode *node);

/** The patient that an II names, for audit (ITI TF-2 3.44.5.1). */
AuditObject message_v3_patient(Request *req, const V3Message *message, Str root, Str extension);

/* ---- queries ---- */

/** A query and its answer. */
typedef struct QueryV3 {
    Pix *pix;
    Request *req;
    V3Message message;
    const XmlNode *parameters; /* queryByParameter; NULL if it cannot be read */
    const V3Reply *reply;
    const char *trigger; /* controlActProcess/code of the answer */
    AuditEventType event;
    Str community; /* OID of the homeCommunityId as which XCPD answers; empty: the affinity domain
                      does */
    AuditObject *patients; /* of question and answer */
    size_t patient_count;
} QueryV3;

/** Reads the request and checks it against the type of its queryByParameter.
 * @return 0, or the first ERR_HL7_...; query->message can be acknowledged in either case */
int query_v3_read(QueryV3 *query, const XmlNode *root, const char *interaction,
                  V3Type type) MUST_CHECK;

/** Appends the answer up to the registrationEvents. */
void query_v3_begin(const QueryV3 *query, StrBuf *buf);
/** Appends queryAck, the query itself, and the end.
 * @param query_id     of the query that is answered
 * @param has_result   whether there is a registrationEvent
 * @param quantities   total, current, remaining; NULL: none are said */
void query_v3_end(const QueryV3 *query, StrBuf *buf, V3Id query_id, bool has_result,
                  const uint64_t *quantities);

/** Appends the elements around patient: "<subject>...<patient>" and "</patient>...</subject>". */
void query_v3_patient_begin(StrBuf *buf);
void query_v3_patient_end(const QueryV3 *query, StrBuf *buf);

/** One patient of an answer about demographics. The first two are XML as it stands. */
typedef struct PatientV3 {
    Str ids;       /* of patient */
    Str other_ids; /* asOtherIDs; may be empty */
    Str organization;
    const Demographics *demographics;
} PatientV3;

/** Appends a subject with the patient, who meets all criteria. */
void query_v3_append_patient(const QueryV3 *query, StrBuf *buf, const PatientV3 *patient);

/** Records the query with its outcome; asked is the element that goes with it.
 * @return 0, or -ERR_IO: nothing may be sent */
int query_v3_record(QueryV3 *query, const XmlNode *asked, V3Id query_id) MUST_CHECK;
