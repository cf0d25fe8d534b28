#include "repository/retrieval.h"

#include "lib/base/uuid.h"
#include "lib/ebrim/vocabulary.h"
#include "lib/soap/registry_response.h"
#include "lib/xml/write.h"

/** Of the reply's list of documents so much is made at a time. */
#define PIECE_BYTES 65536

/* ---- the request ---- */

/** TF-2 3.43.4.1.2: these children in this order; the first is optional. */
static const char *const children[] = {"HomeCommunityId", "RepositoryUniqueId", "DocumentUniqueId"};

int retrieval_refuse_element(Request *req, size_t number, const char *fault, Str name)
{
    return error_add(
        &req->errors, ERR_XDS_REPOSITORY_METADATA_ERROR, "DocumentRequest",
        "DocumentRequest %zu: %s %.*s; send HomeCommunityId (optional), RepositoryUniqueId and "
        "DocumentUniqueId in this order, each once and not empty",
        number, fault, STR_ARG(name));
}

int retrieval_read_request(Request *req, const XmlNode *node, size_t number,
                           DocumentRequest *ret_request)
{
    Str *values[] = {&ret_request->home, &ret_request->repository_unique_id,
                     &ret_request->unique_id};
    size_t next = 0;
    for (const XmlNode *child = node->first_child; child; child = child->next) {
        size_t at = next;
        while (at < ARRAY_LEN(children) && !xml_is(child, NS_XDSB, children[at])) {
            at++;
        }
        if (at == ARRAY_LEN(children)) {
            return retrieval_refuse_element(req, number, "unexpected or misplaced", child->name);
        }
        *values[at] = str_trim(child->text);
        next = at + 1;
    }
    for (size_t i = 1; i < ARRAY_LEN(children); i++) {
        if (str_is_empty(*values[i])) {
            return retrieval_refuse_element(req, number, "missing", str_from(children[i]));
        }
    }
    return 0;
}

int retrieval_refuse(Request *req, const DocumentRequest *document, ErrorCode code,
                     const char *text)
{
    return error_add(&req->errors, code, str_cstr(req->arena, document->unique_id), "%s", text);
}

/* ---- the reply ---- */

/** The stored mimeType as a header value; anything that could end the header line is not one. */
static Str part_type(Str mime_type)
{
    for (size_t i = 0; i < mime_type.len; i++) {
        if (mime_type.data[i] < 0x20 || mime_type.data[i] > 0x7e) {
            return STR("application/octet-stream");
        }
    }
    return str_is_empty(mime_type) ? STR("application/octet-stream") : mime_type;
}

static size_t count_delivered(const DocumentRequest *documents, size_t count)
{
    size_t delivered = 0;
    for (size_t i = 0; i < count; i++) {
        delivered += documents[i].is_delivered ? 1 : 0;
    }
    return delivered;
}

void retrieval_add_parts(SoapExchange *exchange, DocumentRequest *documents, size_t count,
                         RetrievalOpenFn open, void *ctx)
{
    Arena *arena = exchange->req->arena;
    Str urn = uuid_urn(arena, uuid_new());
    exchange->parts = ARENA_ARRAY(arena, SoapPart, count_delivered(documents, count));
    for (size_t i = 0; i < count; i++) {
        DocumentRequest *document = &documents[i];
        if (!document->is_delivered) {
            continue;
        }
        OutgoingDocument outgoing = open(ctx, i);
        document->content_id = str_printf(arena, "%zu.%.*s@musubi", exchange->part_count + 1,
                                          STR_ARG(str_from_offset(urn, sizeof("urn:uuid:") - 1)));
        exchange->parts[exchange->part_count++] = (SoapPart){
            .content_id = document->content_id,
            .content_type = part_type(document->mime_type),
            .size_bytes = outgoing.size_bytes,
            .source = outgoing.source,
        };
    }
}

static void append_element(StrBuf *buf, const char *name, Str value)
{
    strbuf_printf(buf, "<xds:%s>", name);
    xml_append_escaped(buf, value);
    strbuf_printf(buf, "</xds:%s>", name);
}

static void append_if_any(StrBuf *buf, const char *name, Str value)
{
    if (!str_is_empty(value)) {
        append_element(buf, name, value);
    }
}

/** In the order of the schema; ids are those of the request (TF-2 3.43.5). */
static void append_document(StrBuf *buf, const DocumentRequest *document)
{
    strbuf_literal(buf, "<xds:DocumentResponse>");
    append_if_any(buf, "HomeCommunityId", document->home);
    append_element(buf, "RepositoryUniqueId", document->repository_unique_id);
    append_element(buf, "DocumentUniqueId", document->unique_id);
    append_if_any(buf, "NewRepositoryUniqueId", document->new_repository_unique_id);
    append_if_any(buf, "NewDocumentUniqueId", document->new_unique_id);
    append_element(buf, "mimeType", document->mime_type);
    strbuf_literal(buf, "<xds:Document><xop:Include xmlns:xop=\"" NS_XOP "\" href=\"cid:");
    xml_append_escaped(buf, document->content_id);
    strbuf_literal(buf, "\"/></xds:Document></xds:DocumentResponse>");
}

/** The documents of a reply, in order. */
typedef struct DocumentList {
    const DocumentRequest *documents;
    size_t count;
    size_t next;
} DocumentList;

/** Made while it is sent: of many documents the list is longer than what is known of them. */
static int documents_next(void *ctx, StrBuf *buf)
{
    DocumentList *list = ctx;
    const size_t begin = buf->len;
    for (; list->next < list->count && buf->len - begin < PIECE_BYTES; list->next++) {
        if (list->documents[list->next].is_delivered) {
            append_document(buf, &list->documents[list->next]);
        }
    }
    if (list->next < list->count) {
        return 1;
    }
    strbuf_literal(buf, "</xds:RetrieveDocumentSetResponse>");
    return 0;
}

static uint64_t list_bytes(DocumentList list)
{
    _cleanup_(strbuf_done) StrBuf piece = {0};
    uint64_t bytes = 0;
    int more;
    do {
        strbuf_clear(&piece);
        more = documents_next(&list, &piece);
        bytes += piece.len;
    } while (more > 0);
    return bytes;
}

void retrieval_write_reply(SoapExchange *exchange, const DocumentRequest *documents, size_t count)
{
    Request *req = exchange->req;
    StrBuf *buf = &exchange->reply_xml;
    DocumentList *list = ARENA_NEW(req->arena, DocumentList);
    const size_t delivered_count = count_delivered(documents, count);
    const char *status = delivered_count == 0       ? URN_RESPONSE_FAILURE
                         : delivered_count == count ? URN_RESPONSE_SUCCESS
                                                    : URN_RESPONSE_PARTIAL;
    req->outcome_is_partial = delivered_count > 0 && delivered_count < count;
    strbuf_literal(buf, "<xds:RetrieveDocumentSetResponse xmlns:xds=\"" NS_XDSB "\">");
    registry_response_write(req, status, buf);
    *list = (DocumentList){.documents = documents, .count = count};
    exchange->reply_source = (BodySource){.ctx = list, .next = documents_next};
    exchange->reply_source_bytes = list_bytes(*list);
}
