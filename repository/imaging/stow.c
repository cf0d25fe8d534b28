/* STOW-RS (PS3.18 10.5; RAD TF-2 4.108): the parts of a body, one after the other, into the store
 * while a worker reads them. */

#include "lib/base/clock.h"
#include "lib/dicom/json.h"
#include "lib/dicom/worker_fields.h"
#include "lib/soap/mime.h"
#include "repository/imaging/arrival.h"
#include "repository/imaging/conversation.h"
#include "repository/imaging/media.h"
#include "repository/imaging/retrieval.h"
#include "repository/imaging/wado_rs.h"

#define NS_PER_S INT64_C(1000000000)
/** Of one node at a time: each has a process, however slowly its bytes come. */
#define UPLOADS_MAX 32
#define WORKER_TIMEOUT_NS (60 * NS_PER_S) /* for a worker to say what it read */
#define SETTLE_TIMEOUT_NS (30 * NS_PER_S) /* for disk and database */
#define STATUS_OTHER_STUDY 0xA900
#define STATUS_NOT_UNDERSTOOD 0xC000
#define STATUS_PROCESSING 0x0110
/** Of the class of warnings (PS3.7 C), as 0111 Duplicate SOP Instance is of that of failures. */
#define WARNING_DUPLICATE 0xB111

#define TAG_SOP_CLASS DICOM_TAG(0x0008, 0x1150)
#define TAG_SOP_INSTANCE DICOM_TAG(0x0008, 0x1155)
#define TAG_RETRIEVE_URL DICOM_TAG(0x0008, 0x1190)
#define TAG_WARNING_REASON DICOM_TAG(0x0008, 0x1196)
#define TAG_FAILURE_REASON DICOM_TAG(0x0008, 0x1197)
#define TAG_FAILED DICOM_TAG(0x0008, 0x1198)
#define TAG_REFERENCED DICOM_TAG(0x0008, 0x1199)
#define TAG_OTHER_FAILURES DICOM_TAG(0x0008, 0x119A)

static const MimeLimits limits = {.header_bytes = 8192, .parts = 100000};

typedef struct Stow {
    Imaging *imaging;
    DicomwebExchange *exchange;
    Arrivals *arrivals;
    MimeParser *mime;
    MimeEvents events;
    WorkerProcess worker;
    bool has_worker;
    bool is_listed; /* among imaging->uploads */
    struct Stow *next;
    DicomDataset *answer;
    Str study_uid; /* of all that was stored; empty: of several studies */
    size_t stored_count;
    size_t warned_count; /* of those that were stored */
    size_t failed_count;

    /* the part that arrives */
    Request part;     /* the request with an arena and errors of its own */
    Arrival *arrival; /* NULL: it is not kept */
    FileMeta meta;
    StrBuf head; /* as long as its meta information is not whole */
    bool has_meta;
    uint16_t failure; /* 0: none yet */
} Stow;

/* ---- one part ---- */

static void begin_request(Stow *stow)
{
    Arena *arena = stow->part.arena;
    arena_clear(arena);
    stow->part = *stow->exchange->req;
    stow->part.arena = arena;
    error_list_init(&stow->part.errors, arena);
}

/** Nothing more of the part is kept. */
static void give_up(Stow *stow, uint16_t status)
{
    arrival_abandon(stow->arrival);
    stow->arrival = NULL;
    stow->failure = status;
}

static void give_up_for_error(Stow *stow)
{
    give_up(stow, conversation_failure(&stow->part).status);
}

static void lose_worker(Stow *stow)
{
    dicom_worker_end(&stow->worker);
    stow->has_worker = false;
    error_add(&stow->part.errors, ERR_DICOM_WORKER, NULL, "the process that reads it has ended");
    give_up(stow, STATUS_PROCESSING);
}

/** Counts it among those of its node. @return false: there are too many */
static bool enlist(Stow *stow)
{
    Imaging *imaging = stow->imaging;
    const int32_t node = stow->exchange->req->principal->node_id;
    unsigned count = 0;
    if (stow->is_listed) {
        return true;
    }
    pthread_mutex_lock(&imaging->conversations_lock);
    for (const Stow *other = imaging->uploads; other; other = other->next) {
        count += other->exchange->req->principal->node_id == node;
    }
    stow->is_listed = count < UPLOADS_MAX;
    if (stow->is_listed) {
        stow->next = imaging->uploads;
        imaging->uploads = stow;
    }
    pthread_mutex_unlock(&imaging->conversations_lock);
    return stow->is_listed;
}

static void delist(Stow *stow)
{
    Imaging *imaging = stow->imaging;
    pthread_mutex_lock(&imaging->conversations_lock);
    Stow **at = &imaging->uploads;
    while (*at && *at != stow) {
        at = &(*at)->next;
    }
    if (*at) {
        *at = stow->next;
    }
    pthread_mutex_unlock(&imaging->conversations_lock);
}

static int start_worker(Stow *stow)
{
    Request *req = stow->exchange->req;
    if (stow->has_worker) {
        return 0;
    }
    if (!enlist(stow)) {
        return error_add(&req->errors, ERR_DICOM_BUSY, NULL,
                         "This node has %d uploads under way already; send this one when another "
                         "has ended.",
                         UPLOADS_MAX);
    }
    int rc = dicom_worker_start(stow->imaging->config.workers, &req->errors, JOB_INSPECTOR, 0,
                                &stow->worker);
    stow->has_worker = rc == 0;
    return rc;
}

static int part_begin(void *ctx, const MimePart *part)
{
    Stow *stow = ctx;
    ContentType type;
    begin_request(stow);
    stow->failure = 0;
    stow->has_meta = false;
    stow->meta = (FileMeta){0};
    strbuf_clear(&stow->head);
    int rc = start_worker(stow);
    if (rc < 0) {
        return rc;
    }
    if (!str_is_empty(part->content_type) &&
        (!content_type_parse(stow->part.arena, part->content_type, &type) ||
         !str_equal(type.media_type, STR("application/dicom")))) {
        error_add(&stow->part.errors, ERR_DICOM_MEDIA_TYPE, NULL,
                  "a part is not application/dicom: send whole files (PS3.10)");
        stow->failure = STATUS_NOT_UNDERSTOOD;
    } else if (arrival_begin(stow->arrivals, &stow->part, NULL, &stow->arrival) < 0) {
        give_up_for_error(stow);
    }
    if (!worker_say(stow->worker.control, WORKER_SAYS_INSPECT, STR_EMPTY)) {
        lose_worker(stow);
    }
    return 0;
}

/** What a part calls itself: for the answer, if it fails. */
static void read_meta(Stow *stow, Str bytes)
{
    size_t offset;
    ErrorList ignored;
    if (stow->has_meta || stow->head.len > PART10_META_MAX) {
        return;
    }
    strbuf_append(&stow->head, str_slice(bytes, 0, PART10_META_MAX));
    error_list_init(&ignored, stow->part.arena);
    stow->has_meta =
        part10_read(stow->part.arena, &ignored, strbuf_str(&stow->head), &stow->meta, &offset) == 1;
}

static void pass_on(Stow *stow, Str bytes)
{
    while (stow->has_worker && bytes.len > 0) {
        Str piece = str_slice(bytes, 0, WORKER_BYTES_MAX);
        if (!worker_say(stow->worker.control, WORKER_SAYS_DATA_OUT, piece)) {
            lose_worker(stow);
        }
        bytes = str_from_offset(bytes, piece.len);
    }
}

static int part_bytes(void *ctx, const void *bytes, size_t len)
{
    Stow *stow = ctx;
    Str piece = {bytes, len};
    read_meta(stow, piece);
    if (stow->arrival && arrival_write(stow->arrival, &stow->part, bytes, len) < 0) {
        give_up_for_error(stow);
    }
    if (stow->arrival) {
        pass_on(stow, piece);
    }
    return 0;
}

/** Why the worker refuses the data set. */
static void take_fault(Stow *stow, Str fields)
{
    uint64_t status = STATUS_NOT_UNDERSTOOD;
    (void)worker_get_number(fields, WORKER_STATUS, &status);
    if (stow->failure == 0) {
        error_add(&stow->part.errors, ERR_DICOM_DATA_SET, NULL, "%.*s",
                  STR_ARG(worker_get(fields, WORKER_COMMENT)));
        give_up(stow, (uint16_t)status);
    }
}

/** Until STORED. @return false: the worker is gone */
static bool hear_record(Stow *stow, StrBuf *content)
{
    WorkerMessageKind kind;
    int64_t deadline_ns = clock_now_ns() + WORKER_TIMEOUT_NS;
    while (worker_hear(stow->worker.control, deadline_ns, &kind, content) == 1) {
        if (kind == WORKER_SAYS_FAULT) {
            take_fault(stow, strbuf_str(content));
        } else {
            return kind == WORKER_SAYS_STORED;
        }
    }
    return false;
}

/** What is kept beside another one is not what a retrieval gives. */
static void add_warning(Stow *stow, DicomDataset *item)
{
    dicom_put_us(stow->exchange->req->arena, item, TAG_WARNING_REASON, WARNING_DUPLICATE);
    if (stow->warned_count++ == 0 && str_is_empty(stow->exchange->warning)) {
        stow->exchange->warning =
            STR("299 MUSUBI \"An instance with other bytes is stored under the same SOP Instance "
                "UID: it stays what is given out, and what was sent is kept beside it; send a "
                "changed instance with a SOP Instance UID of its own\"");
    }
}

static void add_stored(Stow *stow, const InstanceRecord *record, ArrivalOutcome outcome)
{
    Arena *arena = stow->exchange->req->arena;
    DicomDataset *item = dicom_add_item(arena, stow->answer, TAG_REFERENCED);
    const ImagingInstance instance = {.study_uid = record->study_uid,
                                      .series_uid = record->series_uid,
                                      .sop_instance = record->sop_instance};
    if (stow->stored_count++ == 0) {
        stow->study_uid = str_dup(arena, record->study_uid);
    } else if (!str_equal(stow->study_uid, record->study_uid)) {
        stow->study_uid = STR_EMPTY;
    }
    dicom_put(arena, item, TAG_SOP_CLASS, DICOM_VR_UI, str_dup(arena, record->sop_class));
    dicom_put(arena, item, TAG_SOP_INSTANCE, DICOM_VR_UI, str_dup(arena, record->sop_instance));
    dicom_put(arena, item, TAG_RETRIEVE_URL, DICOM_VR_UR,
              wado_instance_url(arena, stow->exchange->base, &instance));
    if (outcome == ARRIVAL_DIFFERENT) {
        add_warning(stow, item);
    }
}

/** Also tells the vendor in words, and the audit trail; the first of each request. */
static void add_failed(Stow *stow)
{
    Arena *arena = stow->exchange->req->arena;
    const bool has_name = stow->has_meta && dicom_uid_is_valid(stow->meta.sop_instance);
    DicomDataset *item =
        dicom_add_item(arena, stow->answer, has_name ? TAG_FAILED : TAG_OTHER_FAILURES);
    if (has_name) {
        dicom_put(arena, item, TAG_SOP_CLASS, DICOM_VR_UI, str_shown(arena, stow->meta.sop_class));
        dicom_put(arena, item, TAG_SOP_INSTANCE, DICOM_VR_UI,
                  str_dup(arena, stow->meta.sop_instance));
    }
    dicom_put_us(arena, item, TAG_FAILURE_REASON, stow->failure);
    const Error *error = stow->part.errors.first;
    if (stow->failed_count++ == 0 && error) {
        Str text = str_printable(arena, error->context);
        char *at = WITHOUT_CONST(text.data);
        for (size_t i = 0; i < text.len; i++) {
            at[i] = (at[i] == '"' || at[i] == '\\' || (at[i] & 0x80) != 0) ? '\'' : at[i];
        }
        stow->exchange->warning = str_printf(arena, "299 MUSUBI \"%.*s\"", STR_ARG(text));
        retrieval_record_refused(stow->imaging, &stow->part, AUDIT_RAD108_STORED,
                                 stow->exchange->path[0]);
        stow->exchange->req->audit_ticket = stow->part.audit_ticket;
    }
}

static int take_record(Stow *stow, Str bytes, InstanceRecord *ret_record,
                       ArrivalOutcome *ret_outcome)
{
    Request *req = &stow->part;
    Str study = stow->exchange->path[0];
    if (!instance_record_read(req->arena, bytes, ret_record)) {
        return error_add(&req->errors, ERR_DICOM_WORKER, NULL, "the file cannot be read");
    }
    if (!str_is_empty(study) && !str_equal(study, ret_record->study_uid)) {
        error_add(&req->errors, ERR_DICOM_DATA_SET, NULL,
                  "(0020,000D) Study Instance UID is not that of the path; send the instance to "
                  "the path of its own study, or to /studies");
        give_up(stow, STATUS_OTHER_STUDY);
        return -ERR_DICOM_DATA_SET;
    }
    req->deadline_ns = clock_now_ns() + SETTLE_TIMEOUT_NS;
    Arrival *arrival = stow->arrival;
    stow->arrival = NULL;
    return arrival_end(arrival, req, ret_record, ret_outcome);
}

static int part_end(void *ctx)
{
    Stow *stow = ctx;
    InstanceRecord record;
    ArrivalOutcome outcome;
    _cleanup_(strbuf_done) StrBuf content = {0};
    if (stow->has_worker && (!worker_say(stow->worker.control, WORKER_SAYS_SENT, STR_EMPTY) ||
                             !hear_record(stow, &content))) {
        lose_worker(stow);
    }
    if (stow->failure == 0) {
        if (take_record(stow, strbuf_str(&content), &record, &outcome) == 0) {
            add_stored(stow, &record, outcome);
            return 0;
        }
        if (stow->failure == 0) {
            give_up_for_error(stow);
        }
    }
    add_failed(stow);
    return 0;
}

/* ---- the body ---- */

static int check_submitter(Request *req)
{
    if (req->principal->may_submit || req->principal->may_do_everything) {
        return 0;
    }
    return error_add(&req->errors, ERR_FORBIDDEN, NULL,
                     "This node is registered with --no-submit: ask the operator.");
}

static int check_accept(const DicomwebExchange *exchange)
{
    MediaRanges ranges;
    int rc = media_ranges_read(exchange->req, exchange->accept, &ranges);
    if (rc == 0 && !media_ranges_find(&ranges, STR("application/dicom+json"), false) &&
        !media_ranges_find(&ranges, STR("application/json"), false)) {
        rc = error_add(&exchange->req->errors, ERR_DICOM_NOT_ACCEPTABLE, NULL,
                       "What became of the instances is told as application/dicom+json only.");
    }
    return rc;
}

static int open_body(Stow *stow)
{
    DicomwebExchange *exchange = stow->exchange;
    ErrorList *errors = &exchange->req->errors;
    ContentType type;
    if (!content_type_parse(exchange->req->arena, exchange->content_type, &type) ||
        !str_equal(type.media_type, STR("multipart/related")) ||
        !str_equal_ci(content_type_parameter(&type, "type"), STR("application/dicom"))) {
        return error_add(
            errors, ERR_DICOM_MEDIA_TYPE, NULL, "Content-Type \"%.*s\" is not taken here; send %s.",
            STR_ARG(str_shown(exchange->req->arena, exchange->content_type)), exchange->offered);
    }
    stow->events = (MimeEvents){stow, part_begin, part_bytes, part_end};
    stow->mime =
        mime_parser_new(errors, content_type_parameter(&type, "boundary"), &limits, &stow->events);
    return stow->mime ? 0
                      : error_add(errors, ERR_DICOM_REQUEST, NULL,
                                  "Content-Type has no usable boundary parameter; send 1 to 70 "
                                  "characters (RFC 2046 5.1.1).");
}

static int stow_begin(Imaging *imaging, DicomwebExchange *exchange)
{
    Request *req = exchange->req;
    Stow *stow = ARENA_NEW(req->arena, Stow);
    ImagingTarget target;
    *stow = (Stow){.imaging = imaging,
                   .exchange = exchange,
                   .answer = dicom_dataset_new(req->arena),
                   .part = {.arena = arena_new()}};
    exchange->receiving = stow;
    int rc = wado_target(exchange, &target);
    rc = rc < 0 ? rc : check_submitter(req);
    rc = rc < 0 ? rc : check_accept(exchange);
    rc = rc < 0 ? rc : open_body(stow);
    if (rc < 0) {
        return rc;
    }
    req->subject = target.study_uid;
    const Ae *ae = ae_directory_of_node(imaging->aes, req->arena, req->principal);
    stow->arrivals = arrivals_new(imaging, ae, AUDIT_RAD108_BEGIN, AUDIT_RAD108_STORED);
    return 0;
}

static int stow_push(DicomwebExchange *exchange, const void *bytes, size_t len)
{
    Stow *stow = exchange->receiving;
    return mime_parser_push(stow->mime, bytes, len);
}

static void stow_done(DicomwebExchange *exchange)
{
    Stow *stow = exchange->receiving;
    if (!stow) {
        return;
    }
    arrival_abandon(stow->arrival);
    if (stow->arrivals) {
        exchange->req->deadline_ns = clock_now_ns() + SETTLE_TIMEOUT_NS;
        (void)!arrivals_end(stow->arrivals, exchange->req); /* of a body that was cut */
    }
    if (stow->has_worker) {
        dicom_worker_end(&stow->worker);
    }
    delist(stow);
    mime_parser_free(stow->mime);
    strbuf_done(&stow->head);
    arena_free(stow->part.arena);
    exchange->receiving = NULL;
}

const DicomwebReceiver dicomweb_store_receiver = {stow_begin, stow_push, stow_done};

/* ---- the answer ---- */

static void write_answer(Stow *stow)
{
    static const TextReading reading = {
        .declared = CHARSET_UTF_8, .used = CHARSET_UTF_8, .confidence = 1};
    DicomwebExchange *exchange = stow->exchange;
    Arena *arena = exchange->req->arena;
    if (!str_is_empty(stow->study_uid)) {
        dicom_put(arena, stow->answer, TAG_RETRIEVE_URL, DICOM_VR_UR,
                  str_printf(arena, "%.*s/studies/%.*s", STR_ARG(exchange->base),
                             STR_ARG(stow->study_uid)));
    }
    dicom_json_write(stow->answer, &reading, &exchange->reply);
    exchange->reply_type = STR("application/dicom+json");
    exchange->status = stow->failed_count + stow->warned_count == 0 ? 200
                       : stow->stored_count > 0                     ? 202
                                                                    : 409;
    exchange->req->outcome_is_partial = stow->failed_count > 0 && stow->stored_count > 0;
}

int dicomweb_store(UNUSED Imaging *imaging, DicomwebExchange *exchange)
{
    Stow *stow = exchange->receiving;
    Request *req = exchange->req;
    int rc = mime_parser_finish(stow->mime);
    if (rc == 0 && stow->stored_count + stow->failed_count == 0) {
        rc = error_add(&req->errors, ERR_DICOM_REQUEST, NULL,
                       "The body has no part; send one or more files (PS3.10).");
    }
    int ended = arrivals_end(stow->arrivals, req);
    stow->arrivals = NULL;
    rc = rc < 0 ? rc : ended;
    if (rc == 0) {
        write_answer(stow);
    }
    return rc;
}
