#include "repository/provided.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/access/access.h"
#include "lib/base/dtm.h"
#include "lib/ebrim/vocabulary.h"

/** An xds:Document element of the message. */
typedef struct DocumentElement {
    Str id;
    const XmlNode *node;
    bool is_matched;
} DocumentElement;

typedef struct DocumentElements {
    DocumentElement *items; /* sorted by id */
    size_t count;
} DocumentElements;

static int compare_elements(const void *a, const void *b)
{
    return str_compare(((const DocumentElement *)a)->id, ((const DocumentElement *)b)->id);
}

static int compare_unique_ids(const void *a, const void *b)
{
    return str_compare(((const ProvidedDocument *)a)->entry->unique_id,
                       ((const ProvidedDocument *)b)->entry->unique_id);
}

static DocumentElements collect_elements(Request *req, const XmlNode *body)
{
    DocumentElements elements = {0};
    for (XmlNode *node = xml_child(body, NS_XDSB, "Document"); node;
         node = xml_next(node, NS_XDSB, "Document")) {
        elements.count++;
    }
    elements.items = ARENA_ARRAY(req->arena, DocumentElement, elements.count);
    size_t at = 0;
    for (XmlNode *node = xml_child(body, NS_XDSB, "Document"); node;
         node = xml_next(node, NS_XDSB, "Document")) {
        elements.items[at++] = (DocumentElement){.id = xml_attribute(node, "id"), .node = node};
    }
    if (elements.count > 0) {
        qsort(elements.items, elements.count, sizeof(*elements.items), compare_elements);
    }
    return elements;
}

static void check_elements(Request *req, const DocumentElements *elements)
{
    for (size_t i = 1; i < elements->count; i++) {
        Str id = elements->items[i].id;
        if (str_equal(id, elements->items[i - 1].id)) {
            error_add(&req->errors, ERR_XDS_REPOSITORY_METADATA_ERROR, "Document/@id",
                      "two xds:Document elements have the id \"%.*s\"; give each the id of its own "
                      "rim:ExtrinsicObject",
                      STR_ARG(id));
        }
    }
}

static DocumentElement *find_element(const DocumentElements *elements, Str id)
{
    DocumentElement wanted = {.id = id};
    return elements->count ? bsearch(&wanted, elements->items, elements->count,
                                     sizeof(*elements->items), compare_elements)
                           : NULL;
}

/** TF-2 3.41.4.1.2: one xds:Document for each rim:ExtrinsicObject. */
static void match_entries(Request *req, const SoapMessage *message,
                          const DocumentElements *elements, Provided *provided)
{
    const Submission *submission = provided->submission;
    provided->documents = ARENA_ARRAY(req->arena, ProvidedDocument, submission->document_count);
    for (DocumentEntry *entry = submission->documents; entry; entry = entry->next) {
        DocumentElement *element = find_element(elements, entry->object->id);
        if (!element || element->node->document == 0 ||
            element->node->document > message->document_count) {
            error_add(&req->errors, ERR_XDS_MISSING_DOCUMENT,
                      str_cstr(req->arena, entry->object->id),
                      "the rim:ExtrinsicObject with id \"%.*s\" has no document; send an "
                      "xds:Document with the same id",
                      STR_ARG(entry->object->id));
            continue;
        }
        element->is_matched = true;
        size_t index = element->node->document - 1;
        provided->documents[provided->count++] =
            (ProvidedDocument){entry, index, message->documents[index].content};
    }
}

/** TF-2 3.41.4.1.2, the other way: bytes without metadata are refused, in whatever form they came.
 */
static void check_leftovers(Request *req, const SoapMessage *message,
                            const DocumentElements *elements)
{
    for (size_t i = 0; i < elements->count; i++) {
        if (!elements->items[i].is_matched) {
            error_add(&req->errors, ERR_XDS_MISSING_DOCUMENT_METADATA, "Document/@id",
                      "the xds:Document with id \"%.*s\" has no metadata; send a "
                      "rim:ExtrinsicObject with the same id",
                      STR_ARG(elements->items[i].id));
        }
    }
    for (size_t i = 0; i < message->document_count; i++) {
        const SoapDocument *document = &message->documents[i];
        if (!document->is_referenced) {
            error_add(&req->errors, ERR_XDS_MISSING_DOCUMENT_METADATA, "Content-ID",
                      "the MIME part with Content-ID <%.*s> is referenced by no xds:Document; "
                      "refer to it with "
                      "xop:Include or leave it out",
                      STR_ARG(document->content_id));
        }
    }
}

static void check_unique_ids(Request *req, const Provided *provided)
{
    for (size_t i = 0; i < provided->count; i++) {
        const DocumentEntry *entry = provided->documents[i].entry;
        if (str_is_empty(entry->unique_id)) {
            error_add(&req->errors, ERR_XDS_REPOSITORY_METADATA_ERROR,
                      str_cstr(req->arena, entry->object->id),
                      "the rim:ExtrinsicObject with id \"%.*s\" has no XDSDocumentEntry.uniqueId, "
                      "under which the "
                      "document is stored; send it as rim:ExternalIdentifier",
                      STR_ARG(entry->object->id));
        } else if (i > 0 &&
                   str_equal(entry->unique_id, provided->documents[i - 1].entry->unique_id)) {
            error_add(&req->errors, ERR_XDS_REPOSITORY_DUPLICATE_UNIQUE_ID_IN_MESSAGE,
                      str_cstr(req->arena, entry->unique_id),
                      "two documents of this message have the uniqueId %.*s; give each its own",
                      STR_ARG(entry->unique_id));
        }
    }
}

/** TF-2 3.41.4.1.3: hash and size, where they are given, are those of the bytes. */
static void check_content(Request *req, const ProvidedDocument *document)
{
    const DocumentEntry *entry = document->entry;
    const char *id = str_cstr(req->arena, entry->object->id);
    Str hash = str_hex(req->arena, document->content->sha1, sizeof(document->content->sha1));
    uint64_t size_bytes;
    if (!str_is_empty(entry->hash) && !str_equal_ci(entry->hash, hash)) {
        error_add(&req->errors, ERR_XDS_REPOSITORY_METADATA_ERROR, id,
                  "the hash of document %.*s is stated as %.*s, but the SHA-1 of the bytes "
                  "received is %.*s",
                  STR_ARG(entry->unique_id), STR_ARG(entry->hash), STR_ARG(hash));
    }
    if (!str_is_empty(entry->size) &&
        (!str_to_u64(entry->size, &size_bytes) || size_bytes != document->content->size_bytes)) {
        error_add(&req->errors, ERR_XDS_REPOSITORY_METADATA_ERROR, id,
                  "the size of document %.*s is stated as %.*s, but %llu bytes were received",
                  STR_ARG(entry->unique_id), STR_ARG(entry->size),
                  (unsigned long long)document->content->size_bytes);
    }
}

int provided_read(Request *req, const SoapMessage *message, Provided *ret_provided)
{
    const XmlNode *request = xml_child(message->body, NS_LCM, "SubmitObjectsRequest");
    if (!request || xml_next(request, NS_LCM, "SubmitObjectsRequest")) {
        return error_add(&req->errors, ERR_XDS_REPOSITORY_METADATA_ERROR, "SubmitObjectsRequest",
                         "xds:ProvideAndRegisterDocumentSetRequest must hold exactly one "
                         "lcm:SubmitObjectsRequest");
    }
    int rc = submission_read(req, request, &ret_provided->submission);
    if (rc < 0) {
        return rc;
    }
    DocumentElements elements = collect_elements(req, message->body);
    check_elements(req, &elements);
    match_entries(req, message, &elements, ret_provided);
    check_leftovers(req, message, &elements);
    if (ret_provided->count > 0) {
        qsort(ret_provided->documents, ret_provided->count, sizeof(*ret_provided->documents),
              compare_unique_ids);
    }
    check_unique_ids(req, ret_provided);
    for (size_t i = 0; i < ret_provided->count; i++) {
        check_content(req, &ret_provided->documents[i]);
    }
    return error_list_has_errors(&req->errors) ? -(int)req->errors.first->code : 0;
}

void provided_complete(Request *req, const Provided *provided, const char *repository_unique_id)
{
    for (size_t i = 0; i < provided->count; i++) {
        const ProvidedDocument *document = &provided->documents[i];
        Str hash = str_hex(req->arena, document->content->sha1, sizeof(document->content->sha1));
        Str size =
            str_printf(req->arena, "%llu", (unsigned long long)document->content->size_bytes);
        document_entry_set_slot(req->arena, document->entry, "repositoryUniqueId",
                                str_from(repository_unique_id));
        document_entry_set_slot(req->arena, document->entry, "hash", hash);
        document_entry_set_slot(req->arena, document->entry, "size", size);
    }
}

static Str code_text(Arena *arena, const Code *code)
{
    return str_printf(arena, "%.*s^^%.*s", STR_ARG(code->code), STR_ARG(code->scheme));
}

/** What a disclosure's period is held against. */
static int64_t effective_us(const DocumentEntry *entry)
{
    int64_t utc_us;
    Str time =
        str_is_empty(entry->service_start_time) ? entry->creation_time : entry->service_start_time;
    return dtm_parse(time, &utc_us) ? utc_us : INT64_MIN;
}

DocumentRow provided_row(Request *req, const ProvidedDocument *document, DocumentState state)
{
    const DocumentEntry *entry = document->entry;
    size_t count = entry->confidentiality_code.count;
    Str *confidentiality = ARENA_ARRAY(req->arena, Str, count);
    for (size_t i = 0; i < count; i++) {
        confidentiality[i] = code_text(req->arena, &entry->confidentiality_code.items[i]);
    }
    DocumentRow row = {
        .unique_id = entry->unique_id,
        .state = state,
        .size_bytes = document->content->size_bytes,
        .mime_type = entry->mime_type,
        .patient_id = entry->patient_id,
        .effective_us = effective_us(entry),
        .class_code = code_text(req->arena, &entry->class_code),
        .confidentiality = confidentiality,
        .confidentiality_count = count,
    };
    memcpy(row.sha1, document->content->sha1, sizeof(row.sha1));
    memcpy(row.sha256, document->content->sha256, sizeof(row.sha256));
    return row;
}
