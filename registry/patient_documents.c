#include "lib/base/macros.h"
#include "lib/ebrim/rendered.h"
#include "lib/ebrim/submission_text.h"
#include "lib/ebrim/vocabulary.h"
#include "lib/xml/read.h"
#include "registry/load.h"
#include "registry/registry_private.h"

/** What documents a patient has, for those who make a document of it (lib/ebrim/patient_record.h).
 */

typedef struct Listing {
    const Registry *registry;
    const AccessScope *scope; /* of the patient that is named last */
    int64_t patient;
    Arena *row_arena; /* of one row */
    ListedDocument *items;
    size_t count;
    size_t capacity;
} Listing;

/** Another patient's rules are read when it is met first: rows come patient by patient. */
static int open_scope(Listing *listing, Request *req, int64_t patient)
{
    if (listing->scope != NULL && listing->patient == patient) {
        return 0;
    }
    listing->patient = patient;
    return access_open(req, patient, ACCESS_LIST, &listing->scope);
}

static Str name_of(const XmlNode *holder)
{
    const XmlNode *name = xml_child(holder, NS_RIM, "Name");
    return xml_attribute(xml_child(name, NS_RIM, "LocalizedString"), "value");
}

static Str type_name_of(const XmlNode *entry)
{
    const XmlNode *c = xml_child(entry, NS_RIM, "Classification");
    while (c != NULL && !str_equal(xml_attribute(c, "classificationScheme"), STR(UUID_TYPE_CODE))) {
        c = xml_next(c, NS_RIM, "Classification");
    }
    return c == NULL ? STR_EMPTY : name_of(c);
}

/** Title and typeCode are no columns. */
static int read_entry(Listing *listing, Request *req, const LoadedObject *object,
                      ListedDocument *ret_document)
{
    const RenderValues values = {.entry_uuid = object->entry_uuid,
                                 .lid = object->lid,
                                 .version = object->version,
                                 .size_bytes = -1};
    Request reading = *req;
    StrBuf xml = {0};
    XmlNode *root = NULL;
    arena_clear(listing->row_arena);
    reading.arena = listing->row_arena;
    strbuf_literal(&xml, "<rim:RegistryObjectList xmlns:rim=\"" NS_RIM "\">");
    int rc = rendered_append(listing->registry->dictionaries, OBJECT_DOCUMENT_ENTRY,
                             object->metadata, &values, &xml);
    strbuf_literal(&xml, "</rim:RegistryObjectList>");
    rc = rc < 0 ? rc : xml_read(&reading, str_dup(listing->row_arena, strbuf_str(&xml)), &root);
    strbuf_done(&xml);
    if (rc < 0) {
        return error_add(&req->errors, ERR_XDS_REGISTRY_ERROR, NULL,
                         "stored metadata cannot be read; the operator of the registry has to "
                         "repair it");
    }
    const XmlNode *entry = xml_child(root, NS_RIM, "ExtrinsicObject");
    *ret_document = (ListedDocument){
        .unique_id = str_dup(req->arena, object->unique_id),
        .title = str_dup(req->arena, name_of(entry)),
        .type_name = str_dup(req->arena, type_name_of(entry)),
        .time_us = object->access.effective_us,
        .source_facility = object->access.source_facility,
    };
    return 0;
}

static ListedDocument *add_place(Listing *listing, Arena *arena)
{
    if (listing->count == listing->capacity) {
        size_t capacity = 2 * listing->capacity + 64;
        ListedDocument *grown = ARENA_ARRAY(arena, ListedDocument, capacity);
        if (listing->count > 0) {
            memcpy(grown, listing->items, listing->count * sizeof(*grown));
        }
        listing->items = grown;
        listing->capacity = capacity;
    }
    return &listing->items[listing->count++];
}

static int list_object(void *ctx, Request *req, const LoadedObject *object)
{
    Listing *listing = ctx;
    int rc = open_scope(listing, req, object->patient);
    if (rc < 0 || !access_decide(listing->scope, &object->access)) {
        return rc;
    }
    return read_entry(listing, req, object, add_place(listing, req->arena));
}

/** The patient as it is now: identifier of the survivor, and all whose objects are its. */
static int find_patient(const Registry *registry, Request *req, DbConn *conn, int64_t patient,
                        Str *ret_patient_id, LoadKeys *ret_keys)
{
    const PatientDirectory *directory = registry->config.patients;
    int64_t survivor;
    int64_t *ids = NULL;
    int rc =
        directory->identifiers(directory->ctx, req, conn, &patient, 1, ret_patient_id, &survivor);
    rc = rc < 0
             ? rc
             : directory->ids(directory->ctx, req, conn, ret_patient_id, 1, &ids, &ret_keys->count);
    ret_keys->patients = ids;
    return rc;
}

static int list_documents(void *ctx, Request *req, int64_t patient, Str *ret_patient_id,
                          ListedDocument **ret_documents, size_t *ret_count)
{
    const Registry *registry = ctx;
    _cleanup_(db_releasep) DbConn *conn = NULL;
    _cleanup_(arena_freep) Arena *row_arena = arena_new();
    Listing listing = {.registry = registry, .row_arena = row_arena};
    LoadKeys keys = {0};
    int rc = db_acquire(registry->config.pool, req, &conn);
    rc = rc < 0 ? rc : db_queue_snapshot(conn, req);
    rc = rc < 0 ? rc : find_patient(registry, req, conn, patient, ret_patient_id, &keys);
    rc = rc < 0 ? rc : access_prepare(req, keys.patients, keys.count);
    rc = rc < 0 ? rc
                : load_objects(conn, req, LOAD_LISTED_DOCUMENTS, &keys,
                               load_filters_none(registry, req), true, list_object, &listing);
    *ret_documents = listing.items;
    *ret_count = listing.count;
    return rc;
}

PatientDocuments registry_patient_documents(Registry *registry)
{
    return (PatientDocuments){.ctx = registry, .list = list_documents};
}
