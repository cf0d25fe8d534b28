/* WADO-URI (PS3.18 9; RAD TF-2 4.55): one instance, or a picture of it, by parameters. */

#include <assert.h>

#include "repository/imaging/instance_pixels.h"
#include "repository/imaging/rendering.h"
#include "repository/imaging/wado_rs.h"

#define TYPE_DICOM STR("application/dicom")

/** What can be made; the first is what a client gets that takes anything (PS3.18 9.3). */
static const struct {
    Str type;
    bool is_picture;
    bool is_png;
} offers[] = {
    {STR_INIT("image/jpeg"), true, false},
    {STR_INIT("application/dicom"), false, false},
    {STR_INIT("image/png"), true, true},
};

typedef struct WadoUri {
    Imaging *imaging;
    DicomwebExchange *exchange;
    ImagingTarget target;
    MediaRanges wanted;   /* contentType */
    MediaRanges accepted; /* Accept */
    size_t offer;
    Str transfer_syntax; /* empty: not named */
    DicomRendering rendering;
    Retrieval retrieval;
} WadoUri;

/* ---- the question ---- */

static int refuse(const DicomwebExchange *exchange, ErrorCode code, const char *name,
                  const char *expected)
{
    return error_add(&exchange->req->errors, code, NULL, "Parameter %s %s.", name, expected);
}

static int read_uid(WadoUri *wado, const char *name, Str *ret_uid)
{
    *ret_uid = fhir_parameters_value(&wado->exchange->parameters, name);
    return dicom_uid_is_valid(*ret_uid)
               ? 0
               : refuse(wado->exchange, ERR_DICOM_REQUEST, name,
                        "is missing or no UID: send 1 to 64 digits and dots, without padding");
}

static int read_names(WadoUri *wado)
{
    FhirParameters *parameters = &wado->exchange->parameters;
    if (!str_equal(fhir_parameters_value(parameters, "requestType"), STR("WADO"))) {
        return refuse(wado->exchange, ERR_DICOM_REQUEST, "requestType", "has to be WADO");
    }
    int rc = read_uid(wado, "studyUID", &wado->target.study_uid);
    rc = rc < 0 ? rc : read_uid(wado, "seriesUID", &wado->target.series_uid);
    return rc < 0 ? rc : read_uid(wado, "objectUID", &wado->target.sop_instance);
}

/** What is not done must not look as if it were. */
static int check_unserved(const WadoUri *wado)
{
    DicomwebExchange *exchange = wado->exchange;
    static const char *const names[] = {"presentationUID", "presentationSeriesUID"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (!str_is_empty(fhir_parameters_value(&exchange->parameters, names[i]))) {
            return refuse(exchange, ERR_DICOM_NOT_ACCEPTABLE, names[i],
                          "is not served: presentation states are not applied");
        }
    }
    return str_is_empty(fhir_parameters_value(&exchange->parameters, "anonymize"))
               ? 0
               : refuse(exchange, ERR_DICOM_NOT_ACCEPTABLE, "anonymize",
                        "is not served: objects are given as they are stored");
}

static int read_question(WadoUri *wado)
{
    DicomwebExchange *exchange = wado->exchange;
    Request *req = exchange->req;
    Str type = fhir_parameters_value(&exchange->parameters, "contentType");
    int rc = read_names(wado);
    rc = rc < 0 ? rc : check_unserved(wado);
    rc = rc < 0 ? rc : media_ranges_read(req, type, &wado->wanted);
    rc = rc < 0 ? rc : media_ranges_read(req, exchange->accept, &wado->accepted);
    rc = rc < 0 ? rc : rendering_of_uri(exchange, &wado->rendering);
    wado->transfer_syntax = fhir_parameters_value(&exchange->parameters, "transferSyntax");
    if (rc == 0 && !str_is_empty(wado->transfer_syntax) &&
        !dicom_uid_is_valid(wado->transfer_syntax)) {
        rc = refuse(exchange, ERR_DICOM_REQUEST, "transferSyntax", "is no UID");
    }
    return rc;
}

/** contentType in its order, as far as Accept takes it. */
static int choose(WadoUri *wado)
{
    for (size_t i = 0; i < wado->wanted.count; i++) {
        for (size_t k = 0; k < ARRAY_LEN(offers); k++) {
            if (media_range_takes(&wado->wanted.items[i], offers[k].type, false) &&
                media_ranges_find(&wado->accepted, offers[k].type, false)) {
                wado->offer = k;
                return 0;
            }
        }
    }
    return wado_refuse_accept(wado->exchange, "contentType or Accept names nothing that can be "
                                              "made of the object.");
}

static int find(WadoUri *wado)
{
    wado->retrieval = (Retrieval){
        .imaging = wado->imaging, .req = wado->exchange->req, .event = AUDIT_RAD55_RETRIEVE};
    return retrieval_find(&wado->retrieval, &wado->target,
                          offers[wado->offer].is_picture ? ACCESS_VIEW : ACCESS_DOWNLOAD);
}

/* ---- the answer ---- */

/** The instance, once it is found. */
static const ImagingInstance *found(const WadoUri *wado)
{
    assert(wado->retrieval.instances != NULL);
    return &wado->retrieval.instances[0];
}

static int check_frame(const WadoUri *wado)
{
    const ImagingInstance *instance = found(wado);
    if (!instance->has_pixel_data) {
        return refuse(wado->exchange, ERR_DICOM_NOT_ACCEPTABLE, "contentType",
                      "asks for a picture of what is no image; ask for application/dicom");
    }
    return wado->rendering.frame <= wado_frame_count(instance)
               ? 0
               : refuse(wado->exchange, ERR_DICOM_NOT_FOUND, "frameNumber",
                        "is beyond the last frame");
}

static int answer_picture(WadoUri *wado)
{
    DicomwebExchange *exchange = wado->exchange;
    wado->rendering.is_png = offers[wado->offer].is_png;
    int rc = instance_render(wado->imaging, &exchange->req->errors, NULL,
                             &wado->retrieval.instances[0], &wado->rendering, &exchange->reply);
    rc = rc < 0 ? rc : retrieval_record(&wado->retrieval);
    exchange->status = 200;
    exchange->reply_type = offers[wado->offer].type;
    return rc;
}

/** In the transfer syntax that is named, else in Explicit VR Little Endian (PS3.18 9.1.2.2.2). */
static int choose_syntax(WadoUri *wado, MediaRanges *ret_ranges, Str *ret_target)
{
    *ret_ranges =
        (MediaRanges){.items = ARENA_NEW(wado->exchange->req->arena, MediaRange), .count = 1};
    ret_ranges->items[0] =
        (MediaRange){.type = TYPE_DICOM, .transfer_syntax = wado->transfer_syntax};
    return media_choose_syntax(ret_ranges, TYPE_DICOM, false, found(wado), ret_target)
               ? 0
               : refuse(wado->exchange, ERR_DICOM_NOT_ACCEPTABLE, "transferSyntax",
                        "names, or its default is, a transfer syntax that cannot be made of the "
                        "object");
}

int dicomweb_uri(Imaging *imaging, DicomwebExchange *exchange)
{
    WadoUri *wado = ARENA_NEW(exchange->req->arena, WadoUri);
    MediaRanges ranges;
    Str target;
    *wado = (WadoUri){.imaging = imaging, .exchange = exchange};
    int rc = read_question(wado);
    rc = rc < 0 ? rc : choose(wado);
    rc = rc < 0 ? rc : find(wado);
    const bool is_picture = offers[wado->offer].is_picture;
    if (rc == 0) {
        rc = is_picture ? check_frame(wado) : choose_syntax(wado, &ranges, &target);
    }
    if (rc == 0 && is_picture) {
        rc = answer_picture(wado);
    }
    if (rc < 0) {
        retrieval_record_refused(imaging, exchange->req, AUDIT_RAD55_RETRIEVE,
                                 wado->target.study_uid);
        return rc;
    }
    return is_picture ? 0 : wado_reply_instances(exchange, &wado->retrieval, &ranges, false);
}
