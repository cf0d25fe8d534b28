/* WADO-RS, instances of a study, a series, or one (PS3.18 10.4; RAD TF-2 4.107). */

#include "repository/imaging/wado_rs.h"

#include "repository/imaging/file_part.h"
#include "repository/imaging/instance_pixels.h"
#include "repository/imaging/parts.h"

#define TYPE_DICOM STR("application/dicom")

/* ---- shared ---- */

int wado_target(const DicomwebExchange *exchange, ImagingTarget *ret_target)
{
    static const char *const names[] = {"study", "series", "instance"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        Str uid = exchange->path[i];
        if (!str_is_empty(uid) && !dicom_uid_is_valid(uid)) {
            return error_add(&exchange->req->errors, ERR_DICOM_REQUEST, NULL,
                             "The %s in the path is no UID: send 1 to 64 digits and dots.",
                             names[i]);
        }
    }
    *ret_target = (ImagingTarget){exchange->path[0], exchange->path[1], exchange->path[2]};
    return 0;
}

int wado_find(Imaging *imaging, DicomwebExchange *exchange, AuditEventType event,
              AccessPurpose purpose, Retrieval **ret_retrieval)
{
    Request *req = exchange->req;
    Retrieval *retrieval = ARENA_NEW(req->arena, Retrieval);
    ImagingTarget target;
    *retrieval = (Retrieval){.imaging = imaging, .req = req, .event = event};
    int rc = wado_target(exchange, &target);
    *ret_retrieval = retrieval;
    return rc < 0 ? rc : retrieval_find(retrieval, &target, purpose);
}

int wado_refused(Imaging *imaging, const DicomwebExchange *exchange, AuditEventType event, int rc)
{
    retrieval_record_refused(imaging, exchange->req, event, exchange->path[0]);
    return rc;
}

Str wado_instance_url(Arena *arena, Str base, const ImagingInstance *instance)
{
    return str_printf(arena, "%.*s/studies/%.*s/series/%.*s/instances/%.*s", STR_ARG(base),
                      STR_ARG(instance->study_uid), STR_ARG(instance->series_uid),
                      STR_ARG(instance->sop_instance));
}

int wado_refuse_accept(const DicomwebExchange *exchange, const char *why)
{
    return error_add(&exchange->req->errors, ERR_DICOM_NOT_ACCEPTABLE, NULL,
                     "%s Accept was \"%.*s\"; ask for %s.", why,
                     STR_ARG(str_shown(exchange->req->arena, exchange->accept)), exchange->offered);
}

/* ---- instances ---- */

/** Instances on their way out. */
typedef struct Instances {
    Retrieval *retrieval;
    Str base;
    MediaRanges ranges;
    bool is_multipart;
    Arena *arena; /* of the part that is sent */
    FilePart part;
    BodySource made; /* the part, if a process makes it */
    PixelsLine line;
} Instances;

static void end_part(Instances *instances)
{
    file_part_done(&instances->part);
    if (instances->made.done) {
        instances->made.done(instances->made.ctx);
    }
    instances->made = (BodySource){0};
}

static int instance_begin(void *ctx, size_t index, Str *ret_type, Str *ret_location)
{
    Instances *instances = ctx;
    Retrieval *retrieval = instances->retrieval;
    const ImagingInstance *instance = &retrieval->instances[index];
    Str target = STR_EMPTY;
    arena_clear(instances->arena);
    instances->line.is_amidst = index > 0;
    end_part(instances);
    if (!media_choose_syntax(&instances->ranges, TYPE_DICOM, instances->is_multipart, instance,
                             &target)) {
        return -ERR_DICOM_NOT_ACCEPTABLE;
    }
    *ret_type = str_printf(instances->arena, "application/dicom; transfer-syntax=%.*s",
                           STR_ARG(str_is_empty(target) ? instance->transfer_syntax : target));
    *ret_location = wado_instance_url(instances->arena, instances->base, instance);
    return str_is_empty(target)
               ? file_part_open(&instances->part, retrieval->imaging->blobs, instance->sha256, 0,
                                instance->size_bytes)
               : instance_transcode(retrieval->imaging, &retrieval->req->errors, &instances->line,
                                    instance, target, &instances->made);
}

static int instance_next(void *ctx, StrBuf *buf)
{
    Instances *instances = ctx;
    return instances->made.next ? instances->made.next(instances->made.ctx, buf)
                                : file_part_next(&instances->part, buf);
}

static void instances_done(void *ctx, bool is_whole)
{
    Instances *instances = ctx;
    end_part(instances);
    pixels_line_done(&instances->line);
    arena_free(instances->arena);
    if (!is_whole) {
        retrieval_record_cut(instances->retrieval);
    }
}

int wado_reply_instances(DicomwebExchange *exchange, Retrieval *retrieval,
                         const MediaRanges *ranges, bool is_multipart)
{
    Instances *instances = ARENA_NEW(exchange->req->arena, Instances);
    *instances = (Instances){.retrieval = retrieval,
                             .base = exchange->base,
                             .ranges = *ranges,
                             .is_multipart = is_multipart};
    int rc = retrieval_record(retrieval);
    if (rc < 0) {
        return rc;
    }
    instances->arena = arena_new();
    const Parts parts = {instances, retrieval->count, instance_begin, instance_next,
                         instances_done};
    return parts_reply(exchange, &parts, is_multipart, TYPE_DICOM);
}

/** multipart/related, or the only instance by itself. */
static int choose_form(const DicomwebExchange *exchange, const MediaRanges *ranges, size_t count,
                       bool *ret_is_multipart)
{
    const MediaRange *multipart = media_ranges_find(ranges, TYPE_DICOM, true);
    const MediaRange *single = media_ranges_find(ranges, TYPE_DICOM, false);
    if (!multipart && (!single || count > 1)) {
        return wado_refuse_accept(exchange, single ? "There are several instances."
                                                   : "Instances are not to be had like that.");
    }
    *ret_is_multipart = multipart && (!single || multipart <= single || count > 1);
    return 0;
}

static int check_syntaxes(const DicomwebExchange *exchange, const Retrieval *retrieval,
                          const MediaRanges *ranges, bool is_multipart)
{
    for (size_t i = 0; i < retrieval->count; i++) {
        Str target;
        if (!media_choose_syntax(ranges, TYPE_DICOM, is_multipart, &retrieval->instances[i],
                                 &target)) {
            return wado_refuse_accept(
                exchange, "An instance is stored in a transfer syntax of which none that you take "
                          "can be made; transfer-syntax=* takes all.");
        }
    }
    return 0;
}

int dicomweb_retrieve(Imaging *imaging, DicomwebExchange *exchange)
{
    Retrieval *retrieval = NULL;
    MediaRanges ranges;
    bool is_multipart = false;
    int rc = media_ranges_read(exchange->req, exchange->accept, &ranges);
    rc = rc < 0 ? rc
                : wado_find(imaging, exchange, AUDIT_RAD107_RETRIEVE, ACCESS_DOWNLOAD, &retrieval);
    rc = rc < 0 ? rc : choose_form(exchange, &ranges, retrieval->count, &is_multipart);
    rc = rc < 0 ? rc : check_syntaxes(exchange, retrieval, &ranges, is_multipart);
    return rc < 0 ? wado_refused(imaging, exchange, AUDIT_RAD107_RETRIEVE, rc)
                  : wado_reply_instances(exchange, retrieval, &ranges, is_multipart);
}
