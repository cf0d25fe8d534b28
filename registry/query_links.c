#include "registry/query_links.h"

#include "lib/base/macros.h"

static const int32_t has_member[] = {ASSOCIATION_HAS_MEMBER};

LinkFilter link_filter_any(void)
{
    return (LinkFilter){.source_kind = KIND_ANY, .target_kind = KIND_ANY};
}

LinkFilter link_filter_members(int source_kind, int target_kind)
{
    return (LinkFilter){.types = has_member,
                        .type_count = ARRAY_LEN(has_member),
                        .source_kind = source_kind,
                        .target_kind = target_kind};
}

void link_list_init(LinkList *list, QueryRun *run)
{
    *list = (LinkList){.run = run};
    list->end = &list->first;
}

static bool is_kept(const LinkFilter *filter, const LoadedObject *object)
{
    bool is_type = filter->types == NULL;
    for (size_t i = 0; i < filter->type_count && !is_type; i++) {
        is_type = filter->types[i] == (int32_t)object->association_type;
    }
    return is_type &&
           (filter->source_kind == KIND_ANY || filter->source_kind == (int)object->source_kind) &&
           (filter->target_kind == KIND_ANY || filter->target_kind == (int)object->target_kind) &&
           (filter->not_from == NULL || !uuid_set_has(filter->not_from, object->source));
}

static int hold_link(void *ctx, Request *req, const LoadedObject *object)
{
    LinkList *list = ctx;
    if (!is_kept(list->filter, object)) {
        return 0;
    }
    if (list->settled != NULL && uuid_set_has(list->settled, object->source) &&
        uuid_set_has(list->settled, object->target)) {
        return query_answer_add(list->run->answer, req, object, 0);
    }
    Link *link = arena_alloc(req->arena, sizeof(*link));
    *link = (Link){
        .entry_uuid = object->entry_uuid,
        .source = object->source,
        .target = object->target,
        .type = (uint8_t)object->association_type,
        .source_kind = (uint8_t)object->source_kind,
        .target_kind = (uint8_t)object->target_kind,
        .status = (uint8_t)object->access.status,
        .submission_set_status = (uint8_t)object->submission_set_status,
        .metadata = str_dup(req->arena, object->metadata),
    };
    *list->end = link;
    list->end = &link->next;
    return 0;
}

int link_list_load(LinkList *list, LoadKind kind, const UuidSet *keys, const LinkFilter *filter)
{
    QueryRun *run = list->run;
    const LoadKeys load_keys = load_keys_of(keys);
    list->filter = filter;
    return load_objects(run->conn, run->req, kind, &load_keys, run->filters,
                        run->request->is_leaf_class, hold_link, list);
}

int link_list_load_of(LinkList *list, const UuidSet *objects, LinkFilter filter)
{
    int r = link_list_load(list, LOAD_ASSOCIATIONS_FROM, objects, &filter);
    if (r < 0) {
        return r;
    }
    filter.not_from = objects;
    return link_list_load(list, LOAD_ASSOCIATIONS_TO, objects, &filter);
}

void link_list_keep_within(LinkList *list, const UuidSet *objects)
{
    Link **at = &list->first;
    while (*at != NULL) {
        if (uuid_set_has(objects, (*at)->source) && uuid_set_has(objects, (*at)->target)) {
            at = &(*at)->next;
        } else {
            *at = (*at)->next;
        }
    }
    list->end = at;
}

/** Keeps the links that have no end in the set. */
static void drop_links_to(LinkList *list, const UuidSet *denied)
{
    Link **at = &list->first;
    while (*at != NULL) {
        if (uuid_set_has(denied, (*at)->source) || uuid_set_has(denied, (*at)->target)) {
            *at = (*at)->next;
        } else {
            at = &(*at)->next;
        }
    }
    list->end = at;
}

/** UUIDs by ObjectKind. */
typedef struct Ends {
    UuidSet of_kind[OBJECT_ASSOCIATION + 1];
} Ends;

static void add_end(Ends *ends, const UuidSet *visible, uint8_t kind, Uuid uuid)
{
    if (kind < ARRAY_LEN(ends->of_kind) && !uuid_set_has(visible, uuid)) {
        uuid_set_add(&ends->of_kind[kind], uuid);
    }
}

static void add_ends(Ends *ends, const UuidSet *visible, const LinkList *list)
{
    for (const Link *link = list->first; link != NULL; link = link->next) {
        add_end(ends, visible, link->source_kind, link->source);
        add_end(ends, visible, link->target_kind, link->target);
    }
}

static int load_denied(QueryRun *run, Ends *ends, UuidSet *denied)
{
    static const LoadKind kinds[] = {[OBJECT_DOCUMENT_ENTRY] = LOAD_DOCUMENT_ACCESS,
                                     [OBJECT_SUBMISSION_SET] = LOAD_SUBMISSION_SET_ACCESS,
                                     [OBJECT_FOLDER] = LOAD_FOLDER_ACCESS};
    for (size_t kind = 0; kind < ARRAY_LEN(kinds); kind++) {
        uuid_set_close(&ends->of_kind[kind]);
        int r = select_objects((Selection){.run = run, .denied = denied}, kinds[kind],
                               load_keys_of(&ends->of_kind[kind]));
        if (r < 0) {
            return r;
        }
    }
    uuid_set_close(denied);
    return 0;
}

/** Adds the Associations of which an end is denied. */
static void add_denied_links(const LinkList *list, UuidSet *denied)
{
    UuidSet found;
    uuid_set_init(&found, list->run->req->arena);
    for (const Link *link = list->first; link != NULL; link = link->next) {
        if (uuid_set_has(denied, link->source) || uuid_set_has(denied, link->target)) {
            uuid_set_add(&found, link->entry_uuid);
        }
    }
    for (size_t i = 0; i < found.count; i++) {
        uuid_set_add(denied, found.items[i]);
    }
    uuid_set_close(denied);
}

int link_list_drop_denied(LinkList *list, const UuidSet *visible)
{
    const LinkFilter all = link_filter_any();
    QueryRun *run = list->run;
    Ends ends;
    LinkList nested;
    UuidSet denied;
    for (size_t i = 0; i < ARRAY_LEN(ends.of_kind); i++) {
        uuid_set_init(&ends.of_kind[i], run->req->arena);
    }
    link_list_init(&nested, run);
    uuid_set_init(&denied, run->req->arena);
    add_ends(&ends, visible, list);
    uuid_set_close(&ends.of_kind[OBJECT_ASSOCIATION]);
    int r =
        link_list_load(&nested, LOAD_ASSOCIATIONS_BY_UUID, &ends.of_kind[OBJECT_ASSOCIATION], &all);
    if (r < 0) {
        return r;
    }
    add_ends(&ends, visible, &nested);
    r = load_denied(run, &ends, &denied);
    if (r < 0) {
        return r;
    }
    add_denied_links(&nested, &denied);
    drop_links_to(list, &denied);
    return 0;
}

static int answer_link(QueryRun *run, const Link *link)
{
    const LoadedObject object = {
        .kind = OBJECT_ASSOCIATION,
        .entry_uuid = link->entry_uuid,
        .lid = link->entry_uuid,
        .version = 1,
        .size_bytes = -1,
        .access.status = link->status,
        .submission_set_status = link->submission_set_status,
        .metadata = link->metadata,
        .association_type = (AssociationType)link->type,
        .source = link->source,
        .target = link->target,
        .source_kind = (ObjectKind)link->source_kind,
        .target_kind = (ObjectKind)link->target_kind,
    };
    return query_answer_add(run->answer, run->req, &object, 0);
}

int link_list_answer(const LinkList *list)
{
    for (const Link *link = list->first; link != NULL; link = link->next) {
        int r = answer_link(list->run, link);
        if (r < 0) {
            return r;
        }
    }
    return 0;
}

int link_list_answer_within(const LinkList *list, const UuidSet *sources, const UuidSet *targets)
{
    for (const Link *link = list->first; link != NULL; link = link->next) {
        if (uuid_set_has(sources, link->source) && uuid_set_has(targets, link->target)) {
            int r = answer_link(list->run, link);
            if (r < 0) {
                return r;
            }
        }
    }
    return 0;
}

UuidSet link_list_sources(const LinkList *list)
{
    UuidSet set;
    uuid_set_init(&set, list->run->req->arena);
    for (const Link *link = list->first; link != NULL; link = link->next) {
        uuid_set_add(&set, link->source);
    }
    uuid_set_close(&set);
    return set;
}

UuidSet link_list_targets(const LinkList *list, ObjectKind kind)
{
    UuidSet set;
    uuid_set_init(&set, list->run->req->arena);
    for (const Link *link = list->first; link != NULL; link = link->next) {
        if (link->target_kind == (uint8_t)kind) {
            uuid_set_add(&set, link->target);
        }
    }
    uuid_set_close(&set);
    return set;
}

UuidSet link_list_ends(const LinkList *list)
{
    UuidSet set = link_list_sources(list);
    for (const Link *link = list->first; link != NULL; link = link->next) {
        uuid_set_add(&set, link->target);
    }
    uuid_set_close(&set);
    return set;
}
