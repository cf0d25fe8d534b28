/* C-FIND (PS3.4 C.4.1; RAD TF-2 4.14). */

#include <poll.h>
#include <stdio.h>

#include "lib/base/clock.h"
#include "repository/imaging/conversation.h"
#include "repository/imaging/index.h"

#define STATUS_PENDING 0xFF00
#define STATUS_PENDING_WARNING 0xFF01
#define STATUS_CANCELLED 0xFE00
#define STATUS_IDENTIFIER 0xA900
#define CHARACTER_SET DICOM_TAG(0x0008, 0x0005)
#define KEYS_MAX 256
#define KEY_HEADER 10 /* tag and VR */
#define HEAR_TIMEOUT_NS (10 * INT64_C(1000000000))

typedef struct Find {
    DicomConversation *conversation;
    Request *req;
    ImagingQuery query;
    ImagingKey keys[KEYS_MAX];
    DicomDataset *identifier; /* as it is recorded */
    Str sop_class;
    bool has_unsupported;
    bool is_cancelled;
    bool is_over; /* the association */
} Find;

/* ---- the question ---- */

static int read_level(Find *find, Str level)
{
    static const struct {
        const char *name;
        ImagingLevel level;
    } levels[] = {
        {"PATIENT", IMAGING_PATIENT},
        {"STUDY", IMAGING_STUDY},
        {"SERIES", IMAGING_SERIES},
        {"IMAGE", IMAGING_INSTANCE},
    };
    bool is_study_root =
        str_equal(worker_get(strbuf_str(&find->conversation->heard), WORKER_MODEL), STR("S"));
    for (size_t i = is_study_root ? 1 : 0; i < ARRAY_LEN(levels); i++) {
        if (str_equal(str_trim(level), str_from(levels[i].name))) {
            find->query.level = levels[i].level;
            return 0;
        }
    }
    return error_add(&find->req->errors, ERR_DICOM_DATA_SET, "(0008,0052)",
                     "(0008,0052) is no level of this model");
}

static DicomVr read_vr(Str name)
{
    int vr = 0;
    while (vr < DICOM_VR_COUNT && !str_equal(name, str_from(dicom_vr_name((DicomVr)vr)))) {
        vr++;
    }
    return vr == DICOM_VR_COUNT ? DICOM_VR_UN : (DicomVr)vr;
}

static int read_key(Find *find, Str key)
{
    Arena *arena = find->req->arena;
    uint8_t tag[4];
    if (key.len < KEY_HEADER || !str_unhex(str_slice(key, 0, 8), tag, sizeof(tag)) ||
        find->query.key_count == KEYS_MAX) {
        return error_add(&find->req->errors, ERR_DICOM_DATA_SET, NULL,
                         "the identifier has more than %d keys", KEYS_MAX);
    }
    ImagingKey *read = &find->keys[find->query.key_count++];
    read->tag = (uint32_t)tag[0] << 24 | (uint32_t)tag[1] << 16 | (uint32_t)tag[2] << 8 | tag[3];
    read->value = str_dup(arena, str_from_offset(key, KEY_HEADER));
    DicomVr vr = read_vr(str_slice(key, 8, 2));
    dicom_put(arena, find->identifier, read->tag, vr,
              vr == DICOM_VR_SQ || dicom_vr_width(vr) > 1 ? STR_EMPTY : read->value);
    return 0;
}

static int read_question(Find *find)
{
    Str rest = strbuf_str(&find->conversation->heard);
    WorkerField field;
    Str value;
    int rc = read_level(find, worker_get(rest, WORKER_LEVEL));
    find->sop_class = str_dup(find->req->arena, worker_get(rest, WORKER_SOP_CLASS));
    find->query.keys = find->keys;
    dicom_put(find->req->arena, find->identifier, CHARACTER_SET, DICOM_VR_CS, STR("ISO_IR 192"));
    while (rc == 0 && worker_next(&rest, &field, &value)) {
        rc = field == WORKER_KEY ? read_key(find, value) : 0;
    }
    return rc;
}

static Str key_value(const Find *find, uint32_t tag)
{
    for (size_t i = 0; i < find->query.key_count; i++) {
        if (find->keys[i].tag == tag) {
            return find->keys[i].value;
        }
    }
    return STR_EMPTY;
}

/** The data set of the question, and whom it names (PS3.15 A.5.3.10); durable before any match. */
static int record(const Find *find)
{
    Request *req = find->req;
    Imaging *imaging = find->conversation->imaging;
    const ImagingAuthority *authority =
        ae_directory_authority(imaging->aes, req->arena, find->conversation->ae->authority);
    Str number = key_value(find, DICOM_TAG(0x0010, 0x0020));
    StrBuf bytes = {0};
    dicom_write(find->identifier, transfer_syntax_find(STR(UID_EXPLICIT_LITTLE_ENDIAN)), &bytes);
    const AuditObject objects[] = {
        {.kind = AUDIT_OBJECT_DATA_SET,
         .id = find->sop_class,
         .query = strbuf_str(&bytes),
         .transfer_syntax = STR(UID_EXPLICIT_LITTLE_ENDIAN)},
        {.kind = AUDIT_OBJECT_PATIENT,
         .id = str_find(number, STR("^^^")) != SIZE_MAX
                   ? str_shown(req->arena, number)
                   : str_shown(req->arena,
                               str_printf(req->arena, "%.*s^^^&%.*s&ISO", STR_ARG(number),
                                          STR_ARG(authority ? authority->oid : STR_EMPTY)))},
    };
    const AuditEvent event = {.type = AUDIT_RAD14_QUERY,
                              .objects = objects,
                              .object_count = str_is_empty(number) ? 1 : 2};
    int rc = audit_record_event(imaging->config.audit, req, &event);
    strbuf_done(&bytes);
    return rc;
}

/* ---- the answer ---- */

/** Whether the peer has said something meanwhile: it may only cancel or end. */
static void hear_cancel(Find *find)
{
    DicomConversation *conversation = find->conversation;
    struct pollfd control = {.fd = conversation->worker.control, .events = POLLIN};
    WorkerMessageKind kind;
    if (find->is_cancelled || find->is_over || poll(&control, 1, 0) <= 0) {
        return;
    }
    int rc = worker_hear(conversation->worker.control, clock_now_ns() + HEAR_TIMEOUT_NS, &kind,
                         &conversation->heard);
    find->is_cancelled = rc > 0 && kind == WORKER_SAYS_CANCEL;
    find->is_over = !find->is_cancelled;
}

/** An element of a match as a KEY: numbers in decimal digits. */
static void put_key(StrBuf *fields, const DicomDataset *match, const DicomElement *element)
{
    char head[KEY_HEADER + 1];
    char digits[24] = "";
    _cleanup_(strbuf_done) StrBuf key = {0};
    Str value = element->value;
    int64_t number;
    if (element->vr == DICOM_VR_US && dicom_number(match, element->tag, &number)) {
        (void)snprintf(digits, sizeof(digits), "%lld", (long long)number);
        value = str_from(digits);
    }
    (void)snprintf(head, sizeof(head), "%08X%s", element->tag, dicom_vr_name(element->vr));
    strbuf_append(&key, str_from(head));
    strbuf_append(&key, value);
    worker_put(fields, WORKER_KEY, strbuf_str(&key));
}

static int say_match(void *ctx, UNUSED Arena *arena, const DicomDataset *match)
{
    Find *find = ctx;
    _cleanup_(strbuf_done) StrBuf fields = {0};
    hear_cancel(find);
    if (find->is_cancelled || find->is_over) {
        return 1;
    }
    for (size_t i = 0; i < match->count; i++) {
        put_key(&fields, match, &match->elements[i]);
    }
    worker_put_number(&fields, WORKER_STATUS,
                      find->has_unsupported ? STATUS_PENDING_WARNING : STATUS_PENDING);
    find->is_over =
        !worker_say(find->conversation->worker.control, WORKER_SAYS_MATCH, strbuf_str(&fields));
    find->req->sent_bytes += fields.len;
    return find->is_over;
}

ConversationState conversation_find(DicomConversation *conversation, Request *req)
{
    Find find = {.conversation = conversation,
                 .req = req,
                 .identifier = dicom_dataset_new(req->arena),
                 .query = {.ae = conversation->ae}};
    req->received_bytes = conversation->heard.len;
    int rc = conversation_check_right(req, "RAD-14");
    rc = rc < 0 ? rc : read_question(&find);
    find.has_unsupported = rc == 0 && index_unsupported_keys(&find.query) > 0;
    rc = rc < 0 ? rc : record(&find);
    rc = rc < 0 ? rc : index_query(conversation->imaging, req, &find.query, say_match, &find);
    if (find.is_over) {
        return CONVERSATION_OVER;
    }
    DimseAnswer answer = {.status = find.is_cancelled ? STATUS_CANCELLED : 0};
    if (rc < 0) {
        answer = conversation_failure(req);
        conversation_record_failure(conversation, req, AUDIT_RAD14_QUERY);
        if (req->errors.first && req->errors.first->code == ERR_DICOM_DATA_SET) {
            answer.status = STATUS_IDENTIFIER;
        }
    }
    return conversation_answer(conversation, &answer);
}
