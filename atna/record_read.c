#include "atna/record_read.h"

#include "atna/syslog_header.h"
#include "lib/base/instant.h"
#include "lib/xml/base64.h"
#include "lib/xml/read.h"

#define BYTE_ORDER_MARK STR("\xEF\xBB\xBF")
#define US_PER_DAY (INT64_C(86400) * 1000000)

/** What is read on the way through one record. */
typedef struct Reading {
    RecordReader *reader;
    Arena *arena;
    AuditContent *content;
    bool has_code_attribute; /* code instead of csd-code */
    bool has_csd_attribute;
    bool has_dicom_element; /* that RFC 3881 does not have */
} Reading;

static void note(Reading *reading, AuditDefect defect)
{
    reading->content->defects |= AUDIT_DEFECT_BIT(defect);
}

static void note_if(Reading *reading, bool is_so, AuditDefect defect)
{
    if (is_so) {
        note(reading, defect);
    }
}

/* ---- order of elements ---- */

enum { ONE = 1, MANY = 0 };

typedef enum Parent {
    PARENT_AuditMessage,
    PARENT_EventIdentification,
    PARENT_ActiveParticipant,
    PARENT_AuditSourceIdentification,
    PARENT_ParticipantObjectIdentification,
} Parent;

static const struct {
    Parent parent;
    Str child;
    int place;
    int count;
} element_rows[] = {
#define ELEMENT(parent, child, place, count) {PARENT_##parent, STR_INIT(#child), place, count},
#include "atna/message_elements.def"
#undef ELEMENT
};

/** @return the row, or the number of rows: the schema does not know this child here */
static size_t find_element(Parent parent, Str name)
{
    size_t row = 0;
    while (row < ARRAY_LEN(element_rows) &&
           (element_rows[row].parent != parent || !str_equal(element_rows[row].child, name))) {
        row++;
    }
    return row;
}

static void check_children(Reading *reading, const XmlNode *node, Parent parent)
{
    uint64_t seen = 0;
    int place = 0;
    _Static_assert(ARRAY_LEN(element_rows) <= 64, "rows are bits");
    for (const XmlNode *child = node->first_child; child; child = child->next) {
        size_t row = find_element(parent, child->name);
        if (row == ARRAY_LEN(element_rows)) {
            note(reading, AUDIT_DEFECT_UNKNOWN_ELEMENT);
            continue;
        }
        bool is_again = seen & UINT64_C(1) << row;
        note_if(reading, is_again && element_rows[row].count == ONE, AUDIT_DEFECT_REPEATED_ELEMENT);
        note_if(reading, element_rows[row].place < place, AUDIT_DEFECT_ELEMENT_ORDER);
        place = MAX(place, element_rows[row].place);
        seen |= UINT64_C(1) << row;
    }
}

/* ---- parts ---- */

static Str attribute(const XmlNode *node, const char *name)
{
    return str_trim(xml_attribute(node, name));
}

/** By local name: a namespace is a defect of its own. */
static bool has_name(const XmlNode *node, const char *name)
{
    return str_equal(node->name, str_from(name));
}

static size_t count_children(const XmlNode *node, const char *name)
{
    size_t count = 0;
    for (const XmlNode *child = node->first_child; child; child = child->next) {
        count += has_name(child, name);
    }
    return count;
}

static const XmlNode *first_child(const XmlNode *node, const char *name)
{
    const XmlNode *child = node->first_child;
    while (child && !has_name(child, name)) {
        child = child->next;
    }
    return child;
}

static Str child_text(const XmlNode *node, const char *name)
{
    const XmlNode *child = first_child(node, name);
    return child ? str_trim(child->text) : STR_EMPTY;
}

static Str first_given(Str first, Str second)
{
    return str_is_empty(first) ? second : first;
}

/** csd-code of DICOM, or code of RFC 3881. */
static Str code_attribute(Reading *reading, const XmlNode *node)
{
    Str code = attribute(node, "csd-code");
    if (!str_is_empty(code)) {
        reading->has_csd_attribute = true;
        return code;
    }
    code = attribute(node, "code");
    reading->has_code_attribute |= !str_is_empty(code);
    return code;
}

/** @param is_whole  whether codeSystemName and originalText are required (not of
 * AuditSourceTypeCode, whose codes are the schema's own) */
static AuditCode read_code(Reading *reading, const XmlNode *node, bool is_whole)
{
    AuditCode code = {
        .code = code_attribute(reading, node),
        .system = first_given(attribute(node, "codeSystemName"), attribute(node, "codeSystem"))};
    Str original = attribute(node, "originalText");
    code.text = first_given(original, attribute(node, "displayName"));
    if (is_whole) {
        note_if(reading, str_is_empty(code.system), AUDIT_DEFECT_NO_CODE_SYSTEM);
        note_if(reading, str_is_empty(original), AUDIT_DEFECT_NO_ORIGINAL_TEXT);
    }
    return code;
}

static AuditCode *read_codes(Reading *reading, const XmlNode *node, const char *name, bool is_whole,
                             size_t *ret_count)
{
    size_t count = count_children(node, name);
    AuditCode *codes = ARENA_ARRAY(reading->arena, AuditCode, count);
    size_t at = 0;
    for (const XmlNode *child = node->first_child; child; child = child->next) {
        if (has_name(child, name)) {
            codes[at++] = read_code(reading, child, is_whole);
        }
    }
    *ret_count = count;
    return codes;
}

static bool is_number_up_to(Str text, uint64_t most)
{
    uint64_t number = 0;
    return str_to_u64(text, &number) && number >= 1 && number <= most;
}

static void check_number(Reading *reading, Str text, uint64_t most, AuditDefect defect)
{
    note_if(reading, !str_is_empty(text) && !is_number_up_to(text, most), defect);
}

static void check_base64(Reading *reading, Str text)
{
    Base64Decoder decoder = {0};
    uint8_t bytes[BASE64_DECODED_MAX(1024)];
    bool is_good = true;
    for (size_t at = 0; is_good && at < text.len; at += 1024) {
        size_t len = 0;
        is_good = base64_decode(&decoder, str_slice(text, at, 1024), bytes, &len);
    }
    note_if(reading, !is_good || !base64_is_complete(&decoder), AUDIT_DEFECT_NOT_BASE64);
}

/* ---- EventIdentification ---- */

static void read_outcome(Reading *reading)
{
    static const struct {
        Str text;
        int outcome;
    } outcomes[] = {
        {STR_INIT("0"), 0}, {STR_INIT("4"), 4}, {STR_INIT("8"), 8}, {STR_INIT("12"), 12}};
    reading->content->outcome = -1;
    for (size_t i = 0; i < ARRAY_LEN(outcomes); i++) {
        if (str_equal(reading->content->message.outcome, outcomes[i].text)) {
            reading->content->outcome = outcomes[i].outcome;
        }
    }
    note_if(reading, reading->content->outcome < 0, AUDIT_DEFECT_OUTCOME);
}

static void read_event_time(Reading *reading)
{
    AuditContent *content = reading->content;
    Instant instant;
    if (!instant_parse(content->message.time, &instant)) {
        note(reading, AUDIT_DEFECT_NO_EVENT_TIME);
        return;
    }
    note_if(reading, !instant.has_zone, AUDIT_DEFECT_TIME_WITHOUT_ZONE);
    content->has_time = true;
    content->event_us = instant.utc_us;
}

static void read_event(Reading *reading, const XmlNode *node)
{
    AuditMessage *message = &reading->content->message;
    check_children(reading, node, PARENT_EventIdentification);
    const XmlNode *event_id = first_child(node, "EventID");
    if (event_id) {
        message->event_id = read_code(reading, event_id, true);
    }
    note_if(reading, str_is_empty(message->event_id.code), AUDIT_DEFECT_NO_EVENT_ID);
    message->event_types =
        read_codes(reading, node, "EventTypeCode", true, &message->event_type_count);
    message->purposes = read_codes(reading, node, "PurposeOfUse", true, &message->purpose_count);
    message->outcome_text = child_text(node, "EventOutcomeDescription");
    message->action = attribute(node, "EventActionCode");
    message->time = attribute(node, "EventDateTime");
    message->outcome = attribute(node, "EventOutcomeIndicator");
    bool is_action = message->action.len == 1 && strchr("CRUDE", message->action.data[0]) != NULL;
    note_if(reading, !is_action, AUDIT_DEFECT_ACTION);
    read_event_time(reading);
    read_outcome(reading);
    reading->has_dicom_element |=
        message->purpose_count > 0 || first_child(node, "EventOutcomeDescription");
}

/* ---- ActiveParticipant ---- */

/** xs:boolean; TRUE and FALSE are sent too. */
static bool read_boolean(Reading *reading, Str text)
{
    bool is_true = str_equal(text, STR("true")) || str_equal(text, STR("1"));
    bool is_false = str_equal(text, STR("false")) || str_equal(text, STR("0"));
    note_if(reading, !is_true && !is_false, AUDIT_DEFECT_IS_REQUESTOR);
    return is_true || str_equal_ci(text, STR("true"));
}

static void read_participant(Reading *reading, const XmlNode *node, AuditParticipant *participant)
{
    check_children(reading, node, PARENT_ActiveParticipant);
    *participant = (AuditParticipant){
        .user_id = attribute(node, "UserID"),
        .alternative_user_id = attribute(node, "AlternativeUserID"),
        .user_name = attribute(node, "UserName"),
        .is_requestor = read_boolean(reading, attribute(node, "UserIsRequestor")),
        .network_access_point_id = attribute(node, "NetworkAccessPointID"),
        .network_access_point_type = attribute(node, "NetworkAccessPointTypeCode"),
    };
    note_if(reading, str_is_empty(participant->user_id), AUDIT_DEFECT_NO_USER_ID);
    check_number(reading, participant->network_access_point_type, 5,
                 AUDIT_DEFECT_ACCESS_POINT_TYPE);
    participant->roles = read_codes(reading, node, "RoleIDCode", true, &participant->role_count);
    reading->has_dicom_element |= first_child(node, "MediaIdentifier") != NULL;
}

static void read_participants(Reading *reading, const XmlNode *root)
{
    AuditMessage *message = &reading->content->message;
    message->participant_count = count_children(root, "ActiveParticipant");
    message->participants =
        ARENA_ARRAY(reading->arena, AuditParticipant, message->participant_count);
    size_t at = 0;
    for (const XmlNode *child = root->first_child; child; child = child->next) {
        if (has_name(child, "ActiveParticipant")) {
            read_participant(reading, child, &message->participants[at++]);
        }
    }
    note_if(reading, message->participant_count == 0, AUDIT_DEFECT_NO_PARTICIPANT);
}

/* ---- AuditSourceIdentification ---- */

static void read_source(Reading *reading, const XmlNode *root)
{
    AuditMessage *message = &reading->content->message;
    const XmlNode *node = first_child(root, "AuditSourceIdentification");
    note_if(reading, count_children(root, "AuditSourceIdentification") != 1,
            AUDIT_DEFECT_NO_SOURCE);
    if (!node) {
        return;
    }
    check_children(reading, node, PARENT_AuditSourceIdentification);
    message->enterprise_site_id = attribute(node, "AuditEnterpriseSiteID");
    message->source_id = attribute(node, "AuditSourceID");
    note_if(reading, str_is_empty(message->source_id), AUDIT_DEFECT_NO_SOURCE_ID);
    message->source_types =
        read_codes(reading, node, "AuditSourceTypeCode", false, &message->source_type_count);
    if (str_is_empty(attribute(node, "code"))) {
        return;
    }
    /* DICOM before 2011: the type is an attribute of the element itself */
    message->source_types = ARENA_NEW(reading->arena, AuditCode);
    message->source_types[0] = read_code(reading, node, false);
    message->source_type_count = 1;
}

/* ---- ParticipantObjectIdentification ---- */

static void read_details(Reading *reading, const XmlNode *node, AuditParticipantObject *object)
{
    object->detail_count = count_children(node, "ParticipantObjectDetail");
    object->details = ARENA_ARRAY(reading->arena, AuditDetail, object->detail_count);
    size_t at = 0;
    for (const XmlNode *child = node->first_child; child; child = child->next) {
        if (has_name(child, "ParticipantObjectDetail")) {
            AuditDetail detail = {attribute(child, "type"), attribute(child, "value")};
            check_base64(reading, detail.value);
            object->details[at++] = detail;
        }
    }
}

/** What an element of ParticipantObjectDescription names: the attribute UID or Number, or text. */
static Str description_value(const XmlNode *node)
{
    return first_given(first_given(attribute(node, "UID"), attribute(node, "Number")),
                       str_trim(node->text));
}

/** Flattened: MPPS, Accession, SOPClass and its Instances, StudyIDs, Encrypted, Anonymized. */
static void read_descriptions(Reading *reading, const XmlNode *node, AuditParticipantObject *object)
{
    size_t count = 0;
    for (int pass = 0; pass < 2; pass++) {
        size_t at = 0;
        for (const XmlNode *child = node->first_child; child; child = child->next) {
            bool is_description = has_name(child, "ParticipantObjectDescription");
            const XmlNode *part = is_description ? xml_after(child, child) : NULL;
            for (; part; part = xml_after(part, child)) {
                if (pass > 0) {
                    object->descriptions[at] = (AuditDetail){part->name, description_value(part)};
                }
                at++;
            }
        }
        if (pass == 0) {
            count = at;
            object->descriptions = ARENA_ARRAY(reading->arena, AuditDetail, count);
        }
    }
    object->description_count = count;
    reading->has_dicom_element |= count > 0;
}

static void read_object(Reading *reading, const XmlNode *node, AuditParticipantObject *object)
{
    check_children(reading, node, PARENT_ParticipantObjectIdentification);
    *object = (AuditParticipantObject){
        .id = attribute(node, "ParticipantObjectID"),
        .type = attribute(node, "ParticipantObjectTypeCode"),
        .role = attribute(node, "ParticipantObjectTypeCodeRole"),
        .life_cycle = attribute(node, "ParticipantObjectDataLifeCycle"),
        .sensitivity = attribute(node, "ParticipantObjectSensitivity"),
        .name = child_text(node, "ParticipantObjectName"),
        .query = child_text(node, "ParticipantObjectQuery"),
    };
    const XmlNode *id_type = first_child(node, "ParticipantObjectIDTypeCode");
    if (id_type) {
        object->id_type = read_code(reading, id_type, true);
    }
    note_if(reading, !id_type, AUDIT_DEFECT_NO_OBJECT_ID_TYPE);
    note_if(reading, str_is_empty(object->id), AUDIT_DEFECT_NO_OBJECT_ID);
    check_number(reading, object->type, 4, AUDIT_DEFECT_OBJECT_CODE);
    check_number(reading, object->role, 26, AUDIT_DEFECT_OBJECT_CODE);
    check_number(reading, object->life_cycle, 15, AUDIT_DEFECT_OBJECT_CODE);
    check_base64(reading, object->query);
    read_details(reading, node, object);
    read_descriptions(reading, node, object);
}

static void read_objects(Reading *reading, const XmlNode *root)
{
    AuditMessage *message = &reading->content->message;
    message->object_count = count_children(root, "ParticipantObjectIdentification");
    message->objects = ARENA_ARRAY(reading->arena, AuditParticipantObject, message->object_count);
    size_t at = 0;
    for (const XmlNode *child = root->first_child; child; child = child->next) {
        if (has_name(child, "ParticipantObjectIdentification")) {
            read_object(reading, child, &message->objects[at++]);
        }
    }
}

bool audit_object_is_patient(const AuditParticipantObject *object)
{
    if (str_equal(object->role, STR("1"))) {
        return true;
    }
    return str_is_empty(object->role) && str_equal(object->type, STR("1")) &&
           str_equal(object->id_type.code, STR("2"));
}

/* ---- the whole ---- */

static AuditKind kind_of_message(const Reading *reading)
{
    if (!reading->has_code_attribute || reading->has_csd_attribute) {
        return AUDIT_KIND_DICOM;
    }
    bool is_dicom = reading->has_dicom_element ||
                    str_equal(reading->content->message.event_id.system, STR("DCM"));
    return is_dicom ? AUDIT_KIND_DICOM_CODE : AUDIT_KIND_RFC3881;
}

static void read_message(Reading *reading, const XmlNode *root)
{
    const XmlNode *event = first_child(root, "EventIdentification");
    note_if(reading, !str_is_empty(root->ns), AUDIT_DEFECT_NAMESPACE);
    check_children(reading, root, PARENT_AuditMessage);
    if (event) {
        read_event(reading, event);
    } else {
        note(reading, AUDIT_DEFECT_NO_EVENT);
    }
    read_participants(reading, root);
    read_source(reading, root);
    read_objects(reading, root);
    note_if(reading, reading->has_code_attribute, AUDIT_DEFECT_CODE_ATTRIBUTE);
    reading->content->kind = kind_of_message(reading);
}

/** @return the root element, or NULL */
static XmlNode *parse_xml(RecordReader *reader, Arena *arena, Str text)
{
    ErrorList errors;
    XmlNode *root = NULL;
    error_list_init(&errors, arena);
    if (reader->xml) {
        xml_reader_restart(reader->xml, arena, &errors);
    } else {
        reader->xml = xml_reader_new(arena, &errors, NULL);
    }
    bool is_good = xml_reader_push(reader->xml, text.data, text.len) == 0 &&
                   xml_reader_finish(reader->xml, &root) == 0;
    return is_good ? root : NULL;
}

static void read_xml(Reading *reading, Str text)
{
    AuditContent *content = reading->content;
    XmlNode *root = parse_xml(reading->reader, reading->arena, text);
    if (!root) {
        note(reading, AUDIT_DEFECT_XML_REFUSED);
        content->kind = content->has_header ? AUDIT_KIND_SYSLOG_ONLY : AUDIT_KIND_UNDECODABLE;
    } else if (has_name(root, "AuditMessage")) {
        read_message(reading, root);
    } else {
        note(reading, AUDIT_DEFECT_NO_AUDIT_MESSAGE);
        content->kind = AUDIT_KIND_OTHER_XML;
    }
}

/** MSG = MSG-ANY / BOM UTF-8-STRING; the XML may be indented, and stand behind the text of a BSD
 * header. */
static Str find_xml(Reading *reading, Str text)
{
    size_t begin = str_find_char(text, '<');
    bool has_mark = str_starts_with(text, BYTE_ORDER_MARK);
    note_if(reading, has_mark, AUDIT_DEFECT_BYTE_ORDER_MARK);
    Str before = str_slice(text, 0, MIN(begin, text.len));
    bool is_bsd = (reading->content->defects & AUDIT_DEFECT_BIT(AUDIT_DEFECT_BSD_HEADER)) != 0;
    if (begin == SIZE_MAX || (!is_bsd && !has_mark && !str_is_empty(str_trim(before)))) {
        return STR_EMPTY;
    }
    return str_from_offset(text, begin);
}

/** Without a time in the message that of the header counts. */
static void settle_time(AuditContent *content, int64_t received_us)
{
    Instant instant;
    if (!content->has_time && instant_parse(content->header.timestamp, &instant)) {
        content->has_time = true;
        content->event_us = instant.utc_us;
    }
    if (content->has_time && content->event_us > received_us + US_PER_DAY) {
        content->defects |= AUDIT_DEFECT_BIT(AUDIT_DEFECT_TIME_FAR);
    }
}

void record_reader_done(RecordReader *reader)
{
    xml_reader_free(reader->xml);
    reader->xml = NULL;
}

void record_read(Arena *arena, Str raw, bool is_syslog, int64_t received_us,
                 AuditContent *ret_content)
{
    RecordReader reader = {0};
    record_reader_read(&reader, arena, raw, is_syslog, received_us, ret_content);
    record_reader_done(&reader);
}

void record_reader_read(RecordReader *reader, Arena *arena, Str raw, bool is_syslog,
                        int64_t received_us, AuditContent *ret_content)
{
    *ret_content = (AuditContent){.text = raw, .outcome = -1};
    Reading reading = {.reader = reader, .arena = arena, .content = ret_content};
    if (is_syslog) {
        ret_content->has_header = syslog_header_read(raw, &ret_content->header, &ret_content->text,
                                                     &ret_content->defects);
    }
    Str xml = find_xml(&reading, ret_content->text);
    note_if(&reading, !str_is_utf8(raw), AUDIT_DEFECT_NOT_UTF8);
    if (str_is_empty(xml)) {
        note(&reading, AUDIT_DEFECT_NO_AUDIT_MESSAGE);
        ret_content->kind =
            ret_content->has_header ? AUDIT_KIND_SYSLOG_ONLY : AUDIT_KIND_UNDECODABLE;
    } else {
        read_xml(&reading, xml);
    }
    settle_time(ret_content, received_us);
}

/* ---- names ---- */

static const char *const kind_names[AUDIT_KIND_COUNT] = {
#define KIND(name, label, text) label,
#include "atna/record_kinds.def"
#undef KIND
};

const char *audit_kind_name(int kind)
{
    return kind >= 0 && kind < AUDIT_KIND_COUNT ? kind_names[kind] : "unknown";
}

const AuditDefectRow audit_defect_rows[AUDIT_DEFECT_COUNT] = {
#define DEFECT(name, label, text) {label, text},
#include "atna/defects.def"
#undef DEFECT
};
