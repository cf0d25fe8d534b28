/* RAD-69 Retrieve Imaging Document Set (RAD TF-2 4.69): the reply is that of ITI-43, the request
 * names each instance with its series and study. */

#include "repository/imaging/rad69_retrieve.h"

#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/base/fail.h"
#include "lib/ebrim/vocabulary.h"
#include "lib/soap/community.h"
#include "repository/imaging/index.h"
#include "repository/imaging/instance_pixels.h"
#include "repository/imaging/transfers.h"
#include "repository/retrieval.h"

/** For a record after the reply, whose own time may be over. */
#define RECORD_TIMEOUT_NS INT64_C(10000000000)

/** Of instances in another transfer syntax so much is made before the reply begins, so that what
 * fails is an error of its instance; others are made while they are sent. */
#define MADE_MAX_BYTES ((size_t)16 << 20)

/** One instance that is asked for. */
typedef struct Wanted {
    DocumentRequest *asked;
    Str study_uid;
    Str series_uid;
    struct Retrieve *retrieve;
    bool is_found;       /* and may be had */
    Str transfer_syntax; /* as stored */
    Str target;          /* into which it is brought; empty: it is given as stored */
    uint64_t size_bytes;
    uint64_t data_set_offset;
    uint8_t sha256[32];
    int32_t bits_allocated; /* of its pixel data; 0: it has none */
    int64_t study;
    Transfer transfer;
    StrBuf made;        /* the whole file in the other syntax, unless that takes too much memory */
    BodySource source;  /* while it is made and sent */
    BlobReader *reader; /* while it is sent */
    bool is_sent;
} Wanted;

typedef struct Retrieve {
    Imaging *imaging;
    SoapExchange *exchange;
    const ImageTransaction *transaction;
    DocumentRequest *asked; /* in order of the message */
    Wanted *wanted;         /* likewise */
    size_t count;
    Str *syntaxes; /* that the consumer takes */
    size_t syntax_count;
    size_t part_count; /* that are still to be sent */
    size_t made_bytes;
    PixelsLine line;
} Retrieve;

/* ---- the request ---- */

static int refuse_request(const Retrieve *retrieve, const char *location, const char *text)
{
    return error_add(&retrieve->exchange->req->errors, ERR_XDS_REPOSITORY_ERROR, location, "%s",
                     text);
}

/** The UID of a StudyRequest or SeriesRequest. */
static int read_uid(const Retrieve *retrieve, const XmlNode *node, const char *attribute,
                    Str *ret_uid)
{
    *ret_uid = str_trim(xml_attribute(node, attribute));
    if (!str_is_empty(*ret_uid)) {
        return 0;
    }
    return error_add(&retrieve->exchange->req->errors, ERR_XDS_REPOSITORY_ERROR, attribute,
                     "%.*s has no %s, or an empty one (XDSIRequestError for some); send the UID "
                     "that the manifest names",
                     STR_ARG(node->name), attribute);
}

static int refuse_element(const Retrieve *retrieve, const XmlNode *node, const char *wanted)
{
    return error_add(&retrieve->exchange->req->errors, ERR_XDS_REPOSITORY_ERROR, wanted,
                     "unexpected %.*s; send %s there", STR_ARG(node->name), wanted);
}

static int refuse_empty(const Retrieve *retrieve, const XmlNode *node, const char *wanted)
{
    return error_add(&retrieve->exchange->req->errors, ERR_XDS_REPOSITORY_ERROR, wanted,
                     "%.*s holds no %s", STR_ARG(node->name), wanted);
}

static int read_series(Retrieve *retrieve, const XmlNode *series, Str study_uid)
{
    Str series_uid;
    int rc = read_uid(retrieve, series, "seriesInstanceUID", &series_uid);
    if (!series->first_child) {
        rc = refuse_empty(retrieve, series, "DocumentRequest");
    }
    for (const XmlNode *node = series->first_child; node; node = node->next) {
        if (!xml_is(node, NS_XDSB, "DocumentRequest")) {
            rc = refuse_element(retrieve, node, "DocumentRequest");
            continue;
        }
        size_t at = retrieve->count++;
        retrieve->wanted[at] = (Wanted){.asked = &retrieve->asked[at],
                                        .study_uid = study_uid,
                                        .series_uid = series_uid,
                                        .retrieve = retrieve,
                                        .transfer = {.study_uid = study_uid}};
        int read =
            retrieval_read_request(retrieve->exchange->req, node, at + 1, &retrieve->asked[at]);
        rc = MIN(rc, read);
    }
    return rc;
}

static int read_study(Retrieve *retrieve, const XmlNode *study)
{
    Str study_uid;
    int rc = read_uid(retrieve, study, "studyInstanceUID", &study_uid);
    if (!study->first_child) {
        rc = refuse_empty(retrieve, study, "SeriesRequest");
    }
    for (const XmlNode *node = study->first_child; node; node = node->next) {
        int read = xml_is(node, NS_XDSI, "SeriesRequest")
                       ? read_series(retrieve, node, study_uid)
                       : refuse_element(retrieve, node, "SeriesRequest");
        rc = MIN(rc, read);
    }
    return rc;
}

static int read_syntaxes(Retrieve *retrieve, const XmlNode *list)
{
    size_t count = 0;
    int rc = 0;
    for (const XmlNode *node = list->first_child; node; node = node->next) {
        count++;
    }
    retrieve->syntaxes = ARENA_ARRAY(retrieve->exchange->req->arena, Str, count);
    for (const XmlNode *node = list->first_child; node; node = node->next) {
        Str uid = str_trim(node->text);
        if (!xml_is(node, NS_XDSI, "TransferSyntaxUID")) {
            rc = refuse_element(retrieve, node, "TransferSyntaxUID");
        } else if (str_is_empty(uid)) {
            rc = refuse_request(retrieve, "TransferSyntaxUID",
                                "a TransferSyntaxUID is empty; send the UID of a transfer syntax "
                                "that you take");
        }
        retrieve->syntaxes[retrieve->syntax_count++] = uid;
    }
    return count > 0 ? rc : refuse_empty(retrieve, list, "TransferSyntaxUID");
}

static size_t count_requests(const XmlNode *body)
{
    size_t count = 0;
    for (const XmlNode *node = body->first_child; node; node = xml_after(node, body)) {
        count += xml_is(node, NS_XDSB, "DocumentRequest") ? 1 : 0;
    }
    return count;
}

/** StudyRequest, once or more, then TransferSyntaxUIDList. */
static int read_request(Retrieve *retrieve)
{
    Request *req = retrieve->exchange->req;
    const XmlNode *body = retrieve->exchange->message->body;
    const size_t count = count_requests(body);
    const XmlNode *node = body->first_child;
    int rc = 0;
    retrieve->asked = ARENA_ARRAY(req->arena, DocumentRequest, count);
    retrieve->wanted = ARENA_ARRAY(req->arena, Wanted, count);
    if (!node || !xml_is(node, NS_XDSI, "StudyRequest")) {
        rc = refuse_empty(retrieve, body, "StudyRequest");
    }
    for (; node && xml_is(node, NS_XDSI, "StudyRequest"); node = node->next) {
        int read = read_study(retrieve, node);
        rc = MIN(rc, read);
    }
    if (retrieve->count > 0) {
        req->subject = retrieve->asked[0].unique_id;
    }
    if (!node) {
        return refuse_empty(retrieve, body, "TransferSyntaxUIDList");
    }
    if (!xml_is(node, NS_XDSI, "TransferSyntaxUIDList")) {
        return refuse_element(retrieve, node, "TransferSyntaxUIDList");
    }
    int read = read_syntaxes(retrieve, node);
    if (node->next) {
        read = refuse_element(retrieve, node->next, "nothing");
    }
    return MIN(rc, read);
}

/* ---- what is there ---- */

static bool is_own(const Wanted *wanted)
{
    return str_equal(wanted->asked->repository_unique_id,
                     str_from(wanted->retrieve->imaging->config.unique_id));
}

static int compare_in_study(const Wanted *left, const Wanted *right)
{
    int by_series = str_compare(left->series_uid, right->series_uid);
    return by_series ? by_series : str_compare(left->asked->unique_id, right->asked->unique_id);
}

static int compare_wanted(const void *a, const void *b)
{
    const Wanted *left = *(const Wanted *const *)a;
    const Wanted *right = *(const Wanted *const *)b;
    int by_study = str_compare(left->study_uid, right->study_uid);
    return by_study ? by_study : compare_in_study(left, right);
}

/** Those of one study, in the order of compare_in_study(). */
typedef struct StudyGroup {
    Wanted **wanted;
    size_t count;
    Arena *arena; /* of the request */
} StudyGroup;

/** @return index of the first that is not before this instance */
static size_t lower_bound(const StudyGroup *group, const Wanted *key)
{
    size_t low = 0;
    size_t high = group->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (compare_in_study(group->wanted[middle], key) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static void take(const StudyGroup *group, Wanted *wanted, const ImagingInstance *instance)
{
    wanted->is_found = true;
    wanted->transfer_syntax = str_dup(group->arena, instance->transfer_syntax);
    wanted->size_bytes = instance->size_bytes;
    wanted->study = instance->study;
    wanted->bits_allocated = instance->bits_allocated;
    wanted->data_set_offset = instance->data_set_offset;
    memcpy(wanted->sha256, instance->sha256, sizeof(wanted->sha256));
    wanted->transfer = (Transfer){.patient = instance->patient,
                                  .study_uid = wanted->study_uid,
                                  .sop_class = str_dup(group->arena, instance->sop_class)};
}

static int take_instance(void *ctx, const ImagingInstance *instance)
{
    const StudyGroup *group = ctx;
    DocumentRequest asked = {.unique_id = instance->sop_instance};
    const Wanted key = {.asked = &asked, .series_uid = instance->series_uid};
    for (size_t i = lower_bound(group, &key);
         i < group->count && compare_in_study(group->wanted[i], &key) == 0; i++) {
        take(group, group->wanted[i], instance);
    }
    return 0;
}

/** What all of them have in common is asked for at once: an instance, a series, or the study. */
static ImagingTarget target_of(const StudyGroup *group)
{
    const Wanted *first = group->wanted[0];
    const Wanted *last = group->wanted[group->count - 1];
    ImagingTarget target = {.study_uid = first->study_uid};
    if (str_equal(first->series_uid, last->series_uid)) {
        target.series_uid = first->series_uid;
        if (str_equal(first->asked->unique_id, last->asked->unique_id)) {
            target.sop_instance = first->asked->unique_id;
        }
    }
    return target;
}

/** Instances are read into an arena of their own: what is not asked for takes no room. */
static int find_study(const Retrieve *retrieve, StudyGroup *group, Arena *arena)
{
    Request *req = retrieve->exchange->req;
    const ImagingTarget target = target_of(group);
    Request passing = access_passing(req, arena);
    int rc = index_find_instances(retrieve->imaging, &passing, &target, ACCESS_DOWNLOAD,
                                  take_instance, group);
    access_passed(req, &passing);
    arena_clear(arena);
    return rc;
}

static int find_instances(Retrieve *retrieve)
{
    Request *req = retrieve->exchange->req;
    _cleanup_(arena_freep) Arena *arena = arena_new();
    Wanted **own = ARENA_ARRAY(req->arena, Wanted *, retrieve->count);
    size_t count = 0;
    int rc = 0;
    for (size_t i = 0; i < retrieve->count; i++) {
        if (is_own(&retrieve->wanted[i])) {
            own[count++] = &retrieve->wanted[i];
        }
    }
    if (count > 0) {
        qsort((void *)own, count, sizeof(*own), compare_wanted);
    }
    for (size_t begin = 0; begin < count && rc == 0;) {
        StudyGroup group = {.wanted = &own[begin], .arena = req->arena};
        while (begin < count && str_equal(own[begin]->study_uid, group.wanted[0]->study_uid)) {
            group.count++;
            begin++;
        }
        rc = find_study(retrieve, &group, arena);
    }
    return rc;
}

/* ---- what is given ---- */

static bool is_listed(const Retrieve *retrieve, Str syntax)
{
    for (size_t i = 0; i < retrieve->syntax_count; i++) {
        if (str_equal(retrieve->syntaxes[i], syntax)) {
            return true;
        }
    }
    return false;
}

/** The first listed one into which it can be brought without loss; empty: none. */
static Str target_syntax(const Retrieve *retrieve, const Wanted *wanted)
{
    for (size_t i = 0; i < retrieve->syntax_count; i++) {
        if (pixels_can_transcode(wanted->transfer_syntax, retrieve->syntaxes[i],
                                 wanted->bits_allocated)) {
            return retrieve->syntaxes[i];
        }
    }
    return STR_EMPTY;
}

static int transcode(const Wanted *wanted, ErrorList *errors, BodySource *ret_file)
{
    ImagingInstance instance = {
        .study = wanted->study,
        .sop_class = wanted->transfer.sop_class,
        .sop_instance = wanted->asked->unique_id,
        .transfer_syntax = wanted->transfer_syntax,
        .size_bytes = wanted->size_bytes,
        .data_set_offset = wanted->data_set_offset,
    };
    memcpy(instance.sha256, wanted->sha256, sizeof(instance.sha256));
    return instance_transcode(wanted->retrieve->imaging, errors, &wanted->retrieve->line, &instance,
                              wanted->target, ret_file);
}

static void done_line(void *line)
{
    pixels_line_done(line);
}

static void done_made(void *made)
{
    strbuf_done(made);
}

/** @return 0: it is there whole, or too large to be kept; negative: it cannot be made */
static int read_made(Retrieve *retrieve, Wanted *wanted, const BodySource *file)
{
    const size_t room = MADE_MAX_BYTES - retrieve->made_bytes;
    int rc = 1;
    while (rc > 0 && wanted->made.len <= room) {
        rc = file->next(file->ctx, &wanted->made);
    }
    if (rc != 0) {
        strbuf_done(&wanted->made);
    }
    retrieve->made_bytes += rc == 0 ? wanted->made.len : 0;
    return MIN(rc, 0);
}

/** Half of the time for the reply may go into what is made before it. */
static bool is_late(const Request *req)
{
    return clock_now_ns() - req->started_ns > (req->deadline_ns - req->started_ns) / 2;
}

static int make_ahead(Retrieve *retrieve, Wanted *wanted)
{
    Request *req = retrieve->exchange->req;
    ErrorList errors; /* the answer names the instance */
    BodySource file;
    if (is_late(req) || retrieve->made_bytes >= MADE_MAX_BYTES) {
        return 0;
    }
    arena_defer(req->arena, done_made, &wanted->made);
    error_list_init(&errors, req->arena);
    int rc = transcode(wanted, &errors, &file);
    if (rc == 0) {
        rc = read_made(retrieve, wanted, &file);
        if (file.done) {
            file.done(file.ctx);
        }
    }
    if (rc < 0) {
        return error_add(&req->errors, ERR_XDS_REPOSITORY_ERROR,
                         str_cstr(req->arena, wanted->asked->unique_id), "%.*s",
                         STR_ARG(errors.first ? errors.first->context
                                              : STR("the instance cannot be brought into a listed "
                                                    "transfer syntax")));
    }
    return 0;
}

static int refuse_syntax(Request *req, const Wanted *wanted)
{
    return error_add(&req->errors, ERR_XDS_REPOSITORY_ERROR,
                     str_cstr(req->arena, wanted->asked->unique_id),
                     "the instance is stored in transfer syntax %.*s, and TransferSyntaxUIDList "
                     "names none into which it can be brought without loss; list that one too",
                     STR_ARG(wanted->transfer_syntax));
}

/** RAD TF-2 4.69.5. Unknown, rejected and not permitted look the same. @return 0: it is given */
static int decide(Retrieve *retrieve, Wanted *wanted)
{
    Request *req = retrieve->exchange->req;
    BlobInfo info;
    int rc = retrieve->transaction->is_cross_gateway
                 ? community_check(req, req->community, wanted->asked->home, "HomeCommunityId",
                                   str_cstr(req->arena, wanted->asked->unique_id))
                 : 0;
    if (rc < 0) {
        return rc;
    }
    if (!is_own(wanted)) {
        return error_add(&req->errors, ERR_XDS_UNKNOWN_REPOSITORY_ID,
                         str_cstr(req->arena, wanted->asked->unique_id),
                         "RepositoryUniqueId %.*s is not this imaging document source, which is "
                         "%s; send the Retrieve Location UID (0040,E011) that the manifest names",
                         STR_ARG(wanted->asked->repository_unique_id),
                         retrieve->imaging->config.unique_id);
    }
    if (!wanted->is_found) {
        return retrieval_refuse(req, wanted->asked, ERR_XDS_DOCUMENT_UNIQUE_ID_ERROR,
                                "this source has no instance with this SOP Instance UID in this "
                                "series of this study for you; send the UIDs together as the "
                                "manifest has them");
    }
    if (!blob_store_stat(retrieve->imaging->blobs, wanted->sha256, &info) ||
        info.size_bytes != wanted->size_bytes) {
        return retrieval_refuse(req, wanted->asked, ERR_STORAGE,
                                "the stored instance is damaged and is not given out; the "
                                "operator has to restore it");
    }
    if (is_listed(retrieve, wanted->transfer_syntax)) {
        return 0;
    }
    wanted->target = target_syntax(retrieve, wanted);
    return str_is_empty(wanted->target) ? refuse_syntax(req, wanted) : make_ahead(retrieve, wanted);
}

static int decide_all(Retrieve *retrieve)
{
    Request *req = retrieve->exchange->req;
    int rc = find_instances(retrieve);
    /* One RegistryError for each document that does not come. */
    req->errors.kept_max += (unsigned)retrieve->count;
    for (size_t i = 0; i < retrieve->count && rc == 0; i++) {
        DocumentRequest *asked = &retrieve->asked[i];
        asked->is_delivered = decide(retrieve, &retrieve->wanted[i]) == 0;
        asked->error = asked->is_delivered ? NULL : req->errors.last;
        asked->mime_type = STR("application/dicom");
        retrieve->part_count += asked->is_delivered ? 1 : 0;
    }
    return rc;
}

/* ---- audit ---- */

typedef bool (*WantedTest)(const Wanted *wanted);

static bool is_delivered(const Wanted *wanted)
{
    return wanted->asked->is_delivered;
}

static bool is_refused(const Wanted *wanted)
{
    return !wanted->asked->is_delivered;
}

static bool is_cut_off(const Wanted *wanted)
{
    return wanted->asked->is_delivered && !wanted->is_sent;
}

static const Transfer **collect(const Retrieve *retrieve, WantedTest test, size_t *ret_count)
{
    const Transfer **transfers =
        ARENA_ARRAY(retrieve->exchange->req->arena, const Transfer *, retrieve->count);
    *ret_count = 0;
    for (size_t i = 0; i < retrieve->count; i++) {
        if (test(&retrieve->wanted[i])) {
            transfers[(*ret_count)++] = &retrieve->wanted[i].transfer;
        }
    }
    return transfers;
}

/** The first that is not given tells why. */
static const Error *first_error(const Retrieve *retrieve)
{
    size_t i = 0;
    while (i < retrieve->count && retrieve->asked[i].is_delivered) {
        i++;
    }
    return i < retrieve->count ? retrieve->asked[i].error : NULL;
}

/** Events of what is about to be sent, and of what is not: durable when the reply goes. */
static int append_events(const Retrieve *retrieve)
{
    Request *req = retrieve->exchange->req;
    AuditEvent event = {.type = retrieve->transaction->event};
    size_t count;
    const Transfer **transfers = collect(retrieve, is_delivered, &count);
    int rc =
        count > 0 ? transfers_append_events(retrieve->imaging, req, &event, transfers, count) : 0;
    if (rc == 0 && (count < retrieve->count || retrieve->count == 0)) {
        transfers = collect(retrieve, is_refused, &count);
        audit_event_refuse_for(req, &event, first_error(retrieve));
        rc = transfers_append_events(retrieve->imaging, req, &event, transfers, count);
    }
    if (rc == 0) {
        fail_point("rad69.audited");
    }
    return rc;
}

/** What was announced to the audit trail and did not leave whole gets a second record. */
static void record_cut_off(const Retrieve *retrieve)
{
    Request *req = retrieve->exchange->req;
    const AuditEvent event = {
        .type = retrieve->transaction->event,
        .outcome = 8,
        .outcome_text = STR("the connection ended before the instances were sent whole"),
    };
    size_t count;
    const Transfer **transfers = collect(retrieve, is_cut_off, &count);
    req->deadline_ns = clock_now_ns() + RECORD_TIMEOUT_NS;
    if (count > 0 &&
        transfers_append_events(retrieve->imaging, req, &event, transfers, count) == 0) {
        (void)!audit_settle(retrieve->imaging->config.audit, req);
    }
}

/* ---- the reply ---- */

static void close_source(Wanted *wanted)
{
    if (wanted->source.done) {
        wanted->source.done(wanted->source.ctx);
    }
    wanted->source = (BodySource){0};
}

static int made_next(Wanted *wanted, StrBuf *buf)
{
    if (wanted->made.len > 0) {
        strbuf_append(buf, strbuf_str(&wanted->made));
        strbuf_done(&wanted->made);
        return 0;
    }
    wanted->retrieve->line.is_amidst = true;
    int rc = wanted->source.next
                 ? 0
                 : transcode(wanted, &wanted->retrieve->exchange->req->errors, &wanted->source);
    rc = rc < 0 ? rc : wanted->source.next(wanted->source.ctx, buf);
    if (rc == 0) {
        close_source(wanted);
    }
    return rc;
}

static int stored_next(Wanted *wanted, StrBuf *buf)
{
    if (!wanted->reader) {
        int rc =
            blob_reader_open(wanted->retrieve->imaging->blobs, wanted->sha256, &wanted->reader);
        if (rc < 0) {
            return rc;
        }
    }
    int rc = blob_reader_next(wanted->reader, buf);
    if (rc == 0) {
        blob_reader_free(wanted->reader);
        wanted->reader = NULL;
    }
    return rc;
}

/** Opened when its turn comes, and closed when it is sent. */
static int part_next(void *ctx, StrBuf *buf)
{
    Wanted *wanted = ctx;
    int rc = str_is_empty(wanted->target) ? stored_next(wanted, buf) : made_next(wanted, buf);
    wanted->is_sent = rc == 0;
    return rc;
}

/** All are done together, when the reply has ended. */
static void part_done(void *ctx)
{
    Wanted *wanted = ctx;
    blob_reader_free(wanted->reader);
    close_source(wanted);
    if (--wanted->retrieve->part_count == 0) {
        record_cut_off(wanted->retrieve);
    }
}

static OutgoingDocument open_part(void *ctx, size_t index)
{
    const Retrieve *retrieve = ctx;
    Wanted *wanted = &retrieve->wanted[index];
    return (OutgoingDocument){
        .size_bytes = str_is_empty(wanted->target) ? wanted->size_bytes
                      : wanted->made.len > 0       ? wanted->made.len
                                                   : SOAP_PART_SIZE_UNKNOWN,
        .source = {wanted, part_next, part_done},
    };
}

int retrieve_images(Imaging *imaging, SoapExchange *exchange, const ImageTransaction *transaction)
{
    Request *req = exchange->req;
    Retrieve *retrieve = ARENA_NEW(req->arena, Retrieve);
    *retrieve = (Retrieve){.imaging = imaging, .exchange = exchange, .transaction = transaction};
    if (transaction->is_cross_gateway) {
        req->community = str_from(imaging->config.home_community_id);
    }
    arena_defer(req->arena, done_line, &retrieve->line);
    if (read_request(retrieve) == 0) {
        (void)!decide_all(retrieve); /* its error is in the reply, which then holds no document */
    }
    if (append_events(retrieve) < 0) {
        return error_add(
            &req->errors, ERR_SOAP_RECEIVER, NULL,
            "the access could not be recorded, so nothing is given out; ask again later");
    }
    if (transaction->is_cross_gateway) {
        community_take_locations(req, "DocumentUniqueId");
    }
    retrieval_add_parts(exchange, retrieve->asked, retrieve->count, open_part, retrieve);
    retrieval_write_reply(exchange, retrieve->asked, retrieve->count);
    return 0;
}

int imaging_rad69_retrieve(void *imaging, SoapExchange *exchange)
{
    static const ImageTransaction rad69 = {.event = AUDIT_RAD69_TRANSFERRED};
    return retrieve_images(imaging, exchange, &rad69);
}
