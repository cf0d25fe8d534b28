/**
 * ITI-55 Cross Gateway Patient Discovery, responding: PRPA_IN201305UV02, answered by
 * PRPA_IN201306UV02 (ITI TF-2 3.55). The patients are those whom a feed of this description would
 * be linked with; they are named by the identifier of the affinity domain alone.
 */
#include "lib/hl7/v3_person.h"
#include "pix/candidates.h"
#include "pix/message_v3.h"

/** Patients in one answer; when there are more the asker has to say more. */
#define PATIENTS_MAX 10
/** Values of one parameter, and identifiers. */
#define VALUES_MAX 16

static const V3Reply answer_reply = {"PRPA_IN201306UV02", false};

/** What is described with which parameter, in the order of Table 3.55.4.2.2.6-1: the answer may ask
 * for those with a code. */
typedef enum Attribute {
    ATTRIBUTE_GENDER,
    ATTRIBUTE_ADDRESS,
    ATTRIBUTE_TELECOM,
    ATTRIBUTE_MOTHERS_MAIDEN_NAME,
    ATTRIBUTE_NAME,
    ATTRIBUTE_BIRTH_TIME,
    ATTRIBUTE_COUNT
} Attribute;

static const struct {
    const char *parameter;
    const char *request; /* NULL: it must be there */
} attributes[ATTRIBUTE_COUNT] = {
    [ATTRIBUTE_GENDER] = {"livingSubjectAdministrativeGender",
                          "LivingSubjectAdministrativeGenderRequested"},
    [ATTRIBUTE_ADDRESS] = {"patientAddress", "PatientAddressRequested"},
    [ATTRIBUTE_TELECOM] = {"patientTelecom", "PatientTelecomRequested"},
    [ATTRIBUTE_MOTHERS_MAIDEN_NAME] = {"mothersMaidenName", "MothersMaidenNameRequested"},
    [ATTRIBUTE_NAME] = {"livingSubjectName", NULL},
    [ATTRIBUTE_BIRTH_TIME] = {"livingSubjectBirthTime", NULL},
};

/** What became of the question (3.55.4.2.2). */
typedef enum Finding {
    FINDING_NOBODY,
    FINDING_PATIENTS, /* one, or several */
    FINDING_UNSURE    /* more has to be known of the patient */
} Finding;

typedef struct Discovery {
    QueryV3 query;
    const XmlNode *list; /* parameterList */
    Demographics demographics;
    FoundIdentifier identifiers[VALUES_MAX];
    CandidateQuestion question;
    Candidate candidates[CANDIDATES_KEPT_MAX + 1];
    size_t certain_count;
    size_t probable_count;
} Discovery;

/** What is kept of a candidate. */
typedef struct Kept {
    Str xml; /* its subject in the answer */
    AuditObject patient;
} Kept;

/* ---- the question ---- */

/** The values of all parameters of this name. */
static size_t values_of(const Discovery *discovery, const char *parameter,
                        const XmlNode *ret_values[VALUES_MAX])
{
    size_t count = 0;
    for (const XmlNode *node = v3_child(discovery->list, parameter); node;
         node = v3_next(node, parameter)) {
        for (const XmlNode *value = v3_child(node, "value"); value && count < VALUES_MAX;
             value = v3_next(value, "value")) {
            ret_values[count++] = value;
        }
    }
    return count;
}

static void read_names(Discovery *discovery, const char *parameter, DemographicField field)
{
    Arena *arena = discovery->query.req->arena;
    const XmlNode *values[VALUES_MAX];
    PersonName names[VALUES_MAX];
    const size_t count = values_of(discovery, parameter, values);
    for (size_t i = 0; i < count; i++) {
        names[i] = v3_name(arena, values[i]);
    }
    demographics_set_names(arena, &discovery->demographics, field, names, count);
}

static void read_addresses(Discovery *discovery)
{
    Arena *arena = discovery->query.req->arena;
    const XmlNode *values[VALUES_MAX];
    Address addresses[VALUES_MAX];
    const size_t count = values_of(discovery, attributes[ATTRIBUTE_ADDRESS].parameter, values);
    for (size_t i = 0; i < count; i++) {
        addresses[i] = v3_address(arena, values[i]);
    }
    demographics_set_addresses(arena, &discovery->demographics, addresses, count);
}

static void read_telecoms(Discovery *discovery)
{
    Arena *arena = discovery->query.req->arena;
    const XmlNode *values[VALUES_MAX];
    Telecom telecoms[VALUES_MAX];
    const size_t count = values_of(discovery, attributes[ATTRIBUTE_TELECOM].parameter, values);
    for (size_t i = 0; i < count; i++) {
        telecoms[i] = v3_telecom(arena, values[i]);
    }
    demographics_set_telecoms(arena, &discovery->demographics, telecoms, count);
}

static void read_gender_and_birth(Discovery *discovery)
{
    Arena *arena = discovery->query.req->arena;
    const XmlNode *values[VALUES_MAX];
    if (values_of(discovery, attributes[ATTRIBUTE_GENDER].parameter, values) > 0) {
        demographics_set_value(arena, &discovery->demographics, DEMOGRAPHIC_sex, v3_sex(values[0]));
    }
    if (values_of(discovery, attributes[ATTRIBUTE_BIRTH_TIME].parameter, values) > 0) {
        demographics_set_value(arena, &discovery->demographics, DEMOGRAPHIC_birth_time,
                               str_trim(xml_attribute(values[0], "value")));
    }
}

/** Those of authorities that are known here: the others are the asker's own, of no use to us
 * (3.55.4.1.2: query and feed), and are not kept. */
static void read_identifiers(Discovery *discovery)
{
    CandidateQuestion *question = &discovery->question;
    const XmlNode *values[VALUES_MAX];
    const size_t count = values_of(discovery, "livingSubjectId", values);
    for (size_t i = 0; i < count; i++) {
        V3Id id = v3_id(values[i]);
        const AssigningAuthority *authority = authorities_by_oid(question->authorities, id.root);
        if (authority && !str_is_empty(id.extension)) {
            discovery->identifiers[question->identifier_count++] =
                (FoundIdentifier){.authority = authority, .value = id.extension};
        }
    }
    question->identifiers = discovery->identifiers;
}

static int require(const Discovery *discovery, Attribute attribute, bool is_there)
{
    Request *req = discovery->query.req;
    return is_there ? 0
                    : error_add(&req->errors, ERR_HL7_REQUIRED_FIELD_MISSING,
                                v3_path(req->arena, discovery->list),
                                "%s is missing, or says nothing; send name and date of birth "
                                "(YYYYMMDD), or an identifier of a domain that both communities "
                                "know",
                                attributes[attribute].parameter);
}

/** A name and a birth time, or at least a number that is known here (3.55.4.1.2.2). */
static int check_question(Discovery *discovery)
{
    PersonName *names;
    Arena *arena = discovery->query.req->arena;
    bool has_name =
        demographics_names(arena, &discovery->demographics, DEMOGRAPHIC_name, &names) > 0;
    bool has_birth = !str_is_empty(demographics_birth_date(arena, &discovery->demographics));
    bool has_identifier = discovery->question.identifier_count > 0;
    discovery->question.is_by_identifier = has_identifier && !has_name && !has_birth;
    if (has_identifier) {
        return 0;
    }
    int rc = require(discovery, ATTRIBUTE_NAME, has_name);
    int fault = require(discovery, ATTRIBUTE_BIRTH_TIME, has_birth);
    return rc ? rc : fault;
}

static int read_question(Discovery *discovery, const XmlNode *root)
{
    QueryV3 *query = &discovery->query;
    int rc = query_v3_read(query, root, "PRPA_IN201305UV02", V3_PDQ_QUERY);
    if (rc) {
        return rc;
    }
    discovery->list = v3_child(query->parameters, "parameterList");
    discovery->question = (CandidateQuestion){
        .authorities = authority_directory_hold(query->pix->authorities, query->req->arena),
        .demographics = &discovery->demographics,
    };
    read_names(discovery, attributes[ATTRIBUTE_NAME].parameter, DEMOGRAPHIC_name);
    read_names(discovery, attributes[ATTRIBUTE_MOTHERS_MAIDEN_NAME].parameter,
               DEMOGRAPHIC_mothers_maiden_name);
    read_addresses(discovery);
    read_telecoms(discovery);
    read_gender_and_birth(discovery);
    read_identifiers(discovery);
    return check_question(discovery);
}

/* ---- candidates ---- */

/** A person without an identifier of the affinity domain cannot be asked for: it is no answer. */
static const FoundIdentifier *xad_pid_of(const Pix *pix, const FoundPatient *patient)
{
    for (size_t i = 0; i < patient->identifier_count; i++) {
        if (str_equal(patient->identifiers[i].authority->oid, pix->authority_oid)) {
            return &patient->identifiers[i];
        }
    }
    return NULL;
}

static void *keep_patient(void *ctx, Request *req, const FoundPatient *patient,
                          CandidateGrade grade)
{
    const Discovery *discovery = ctx;
    const QueryV3 *query = &discovery->query;
    const FoundIdentifier *xad_pid = xad_pid_of(query->pix, patient);
    Kept *kept = xad_pid ? ARENA_NEW(req->arena, Kept) : NULL;
    if (!kept || grade != CANDIDATE_CERTAIN) {
        return kept; /* who is not given out is only counted */
    }
    _cleanup_(strbuf_done) StrBuf id = {0};
    _cleanup_(strbuf_done) StrBuf xml = {0};
    v3_append_id(&id, "id", (V3Id){.root = xad_pid->authority->oid, .extension = xad_pid->value});
    const PatientV3 shown = {.ids = strbuf_str(&id),
                             .organization = xad_pid->authority->oid,
                             .demographics = &patient->demographics};
    query_v3_append_patient(query, &xml, &shown);
    *kept = (Kept){.xml = str_dup(req->arena, strbuf_str(&xml)),
                   .patient = message_v3_patient(req, &query->message, xad_pid->authority->oid,
                                                 xad_pid->value)};
    return kept;
}

/** Certain ones come first. */
static int find_candidates(Discovery *discovery)
{
    QueryV3 *query = &discovery->query;
    size_t count;
    int rc = candidates_find(query->pix, query->req, &discovery->question, keep_patient, discovery,
                             discovery->candidates, &count);
    for (size_t i = 0; i < count; i++) {
        discovery->certain_count += discovery->candidates[i].grade == CANDIDATE_CERTAIN ? 1 : 0;
        discovery->probable_count += discovery->candidates[i].grade == CANDIDATE_PROBABLE ? 1 : 0;
    }
    return rc;
}

static bool may_be_asked_for(const Discovery *discovery, Attribute attribute)
{
    const XmlNode *values[VALUES_MAX];
    return attributes[attribute].request &&
           values_of(discovery, attributes[attribute].parameter, values) == 0;
}

/** Somebody who resembles the patient is told apart by what was not sent yet; after that only
 * people can. */
static int conclude(Discovery *discovery, Finding *ret_finding)
{
    if (discovery->certain_count > 0 && discovery->certain_count <= PATIENTS_MAX) {
        *ret_finding = FINDING_PATIENTS;
        return 0;
    }
    if (discovery->certain_count + discovery->probable_count == 0) {
        *ret_finding = FINDING_NOBODY;
        return 0;
    }
    *ret_finding = FINDING_UNSURE;
    for (Attribute i = 0; i < ATTRIBUTE_COUNT; i++) {
        if (may_be_asked_for(discovery, i)) {
            return 0;
        }
    }
    Request *req = discovery->query.req;
    return error_add(&req->errors, ERR_HL7_UNKNOWN_KEY_IDENTIFIER,
                     v3_path(req->arena, discovery->list),
                     "patients of this community resemble the one described, but none is surely "
                     "the same; ask its operator to look");
}

/* ---- the answer ---- */

static void append_requests(const Discovery *discovery, StrBuf *buf)
{
    for (Attribute i = 0; i < ATTRIBUTE_COUNT; i++) {
        if (may_be_asked_for(discovery, i)) {
            strbuf_printf(buf,
                          "<triggerFor typeCode=\"TRIG\"><actOrderRequired classCode=\"ACT\" "
                          "moodCode=\"RQO\"><code code=\"%s\" "
                          "codeSystem=\"1.3.6.1.4.1.19376.1.2.27.1\"/></actOrderRequired>"
                          "</triggerFor>",
                          attributes[i].request);
        }
    }
}

/** Of Table 3.55.4.2.2.7-1; NULL: the question was at fault. */
static const char *problem_of(const Request *req, Finding finding)
{
    int condition = error_info(req->errors.first->code)->hl7_code;
    if (finding == FINDING_UNSURE) {
        return "AnswerNotAvailable";
    }
    if (error_info(req->errors.first->code)->audit_outcome == 4) {
        return "ResponderBusy";
    }
    return condition == 207 ? "InternalError" : NULL;
}

/** Why there is no patient in the answer: what would have to be sent, or what went wrong here. */
static void append_issue(const Discovery *discovery, Finding finding, StrBuf *buf)
{
    const Request *req = discovery->query.req;
    const char *problem = error_list_has_errors(&req->errors) ? problem_of(req, finding) : NULL;
    if (!problem && (finding != FINDING_UNSURE || error_list_has_errors(&req->errors))) {
        return;
    }
    strbuf_literal(buf, "<reasonOf typeCode=\"RSON\"><detectedIssueEvent classCode=\"ALRT\" "
                        "moodCode=\"EVN\"><code code=\"ActAdministrativeDetectedIssueCode\" "
                        "codeSystem=\"2.16.840.1.113883.5.4\"/>");
    if (problem) {
        strbuf_printf(buf,
                      "<mitigatedBy typeCode=\"MITGT\"><detectedIssueManagement classCode=\"ACT\" "
                      "moodCode=\"EVN\"><code code=\"%s\" "
                      "codeSystem=\"1.3.6.1.4.1.19376.1.2.27.3\"/></detectedIssueManagement>"
                      "</mitigatedBy>",
                      problem);
    } else {
        append_requests(discovery, buf);
    }
    strbuf_literal(buf, "</detectedIssueEvent></reasonOf>");
}

static void append_patients(Discovery *discovery, StrBuf *buf)
{
    QueryV3 *query = &discovery->query;
    query->patients = ARENA_ARRAY(query->req->arena, AuditObject, discovery->certain_count);
    for (size_t i = 0; i < discovery->certain_count; i++) {
        const Kept *kept = discovery->candidates[i].kept;
        strbuf_append(buf, kept->xml);
        query->patients[query->patient_count++] = kept->patient;
    }
}

int pix_iti55_discover(void *module, SoapExchange *exchange)
{
    Pix *pix = module;
    Request *req = exchange->req;
    StrBuf *buf = &exchange->reply_xml;
    Discovery *discovery = ARENA_NEW(req->arena, Discovery);
    Finding finding = FINDING_NOBODY;
    discovery->query = (QueryV3){
        .pix = pix,
        .req = req,
        .reply = &answer_reply,
        .trigger = "PRPA_TE201306UV02",
        .event = AUDIT_ITI55_QUERY,
        .community = str_from_offset(str_from(pix->config.home_community_id), strlen("urn:oid:")),
    };
    QueryV3 *query = &discovery->query;
    int rc = read_question(discovery, exchange->message->body);
    rc = rc ? rc : find_candidates(discovery);
    rc = rc ? rc : conclude(discovery, &finding);
    query_v3_begin(query, buf);
    if (rc == 0 && finding == FINDING_PATIENTS) {
        append_patients(discovery, buf);
    }
    append_issue(discovery, finding, buf);
    V3Id query_id = v3_id(v3_child(query->parameters, "queryId"));
    query_v3_end(query, buf, query_id, finding != FINDING_NOBODY, NULL);
    return query_v3_record(query, query->parameters, query_id);
}
