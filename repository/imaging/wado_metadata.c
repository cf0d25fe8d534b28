/* WADO-RS, metadata (PS3.18 10.4.1.1.2): the DICOM JSON that was made when the instances came. */

#include "repository/imaging/parts.h"
#include "repository/imaging/wado_rs.h"

#define TYPE_JSON STR("application/dicom+json")
/** Instances whose metadata are read at once. */
#define AT_ONCE 128
/** As lib/dicom/json.h writes it; a quotation mark within a text is escaped in JSON. */
#define BULK STR("\"BulkDataURI\":\"bulk/")

typedef struct Metadata {
    Retrieval *retrieval;
    Str base;
    size_t next;
    Arena *arena; /* of an instance's URL */
    StrBuf *buf;
} Metadata;

static int metadata_begin(UNUSED void *ctx, UNUSED size_t index, Str *ret_type,
                          UNUSED Str *ret_location)
{
    *ret_type = TYPE_JSON;
    return 0;
}

/** With the address of bulk data in full. */
static void append_json(StrBuf *buf, Str json, Str url)
{
    size_t at;
    while ((at = str_find(json, BULK)) != SIZE_MAX) {
        size_t place = at + BULK.len - (sizeof("bulk/") - 1);
        strbuf_append(buf, str_slice(json, 0, place));
        strbuf_append(buf, url);
        strbuf_literal(buf, "/");
        json = str_from_offset(json, place);
        strbuf_append(buf, str_slice(json, 0, sizeof("bulk/") - 1));
        json = str_from_offset(json, sizeof("bulk/") - 1);
    }
    strbuf_append(buf, json);
}

static int append_metadata(void *ctx, size_t index, Str json)
{
    Metadata *metadata = ctx;
    const ImagingInstance *instance = &metadata->retrieval->instances[metadata->next + index];
    strbuf_append_char(metadata->buf, metadata->next + index == 0 ? '[' : ',');
    append_json(metadata->buf, json, wado_instance_url(metadata->arena, metadata->base, instance));
    arena_clear(metadata->arena);
    return 0;
}

static int metadata_next(void *ctx, StrBuf *buf)
{
    Metadata *metadata = ctx;
    Retrieval *retrieval = metadata->retrieval;
    size_t count = MIN(retrieval->count - metadata->next, (size_t)AT_ONCE);
    metadata->buf = buf;
    retrieval_renew(retrieval);
    int rc =
        index_metadata(retrieval->imaging, retrieval->req, &retrieval->instances[metadata->next],
                       count, append_metadata, metadata);
    metadata->next += count;
    if (rc < 0) {
        return rc;
    }
    if (metadata->next < retrieval->count) {
        return 1;
    }
    strbuf_literal(buf, "]");
    return 0;
}

static void metadata_done(void *ctx, bool is_whole)
{
    Metadata *metadata = ctx;
    arena_free(metadata->arena);
    if (!is_whole) {
        retrieval_record_cut(metadata->retrieval);
    }
}

int dicomweb_metadata(Imaging *imaging, DicomwebExchange *exchange)
{
    Request *req = exchange->req;
    Metadata *metadata = ARENA_NEW(req->arena, Metadata);
    MediaRanges ranges;
    *metadata = (Metadata){.base = exchange->base};
    int rc = media_ranges_read(req, exchange->accept, &ranges);
    if (rc == 0 && !media_ranges_find(&ranges, TYPE_JSON, false) &&
        !media_ranges_find(&ranges, STR("application/json"), false)) {
        rc = wado_refuse_accept(exchange, "Metadata are given as JSON only.");
    }
    rc = rc < 0 ? rc
                : wado_find(imaging, exchange, AUDIT_RAD107_RETRIEVE, ACCESS_VIEW,
                            &metadata->retrieval);
    if (rc < 0) {
        return wado_refused(imaging, exchange, AUDIT_RAD107_RETRIEVE, rc);
    }
    rc = retrieval_record(metadata->retrieval);
    if (rc < 0) {
        return rc;
    }
    metadata->arena = arena_new();
    const Parts parts = {metadata, 1, metadata_begin, metadata_next, metadata_done};
    return parts_reply(exchange, &parts, false, TYPE_JSON);
}
