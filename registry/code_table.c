#include "registry/code_table.h"

#include <pthread.h>
#include <stdlib.h>

#include "lib/base/arena.h"
#include "lib/base/heap.h"
#include "lib/base/macros.h"

/* A sender with code_check = off may make up codes; what exceeds this is looked up in the database
 * each time. */
#define MAX_CACHED 65536
#define FIRST_CAPACITY 256

typedef struct Entry {
    Str scheme;
    Str code;
    uint64_t hash;
    int32_t id;
} Entry;

/** One interned kind of value. A repositoryUniqueId is a code without scheme, so that both share
 * all code. */
typedef struct InternTable {
    const DbStatement *select; /* $1 schemes, $2 codes -> position from 0, id */
    const DbStatement *insert; /* $1 schemes, $2 codes */
    pthread_rwlock_t lock;
    Arena *arena;    /* entries and texts; grows only */
    Entry **slots;   /* open addressing, at most half full */
    size_t capacity; /* power of two */
    size_t count;
} InternTable;

struct CodeTable {
    InternTable codes;
    InternTable repositories;
};

static const DbStatement select_codes = {
    "code_select", "SELECT (k.n - 1)::int, c.id"
                   "  FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS k (scheme, code, n)"
                   "  JOIN code c ON c.scheme = k.scheme AND c.code = k.code"};
/* Sorted, so that two senders with the same new codes wait for each other instead of deadlocking.
 */
static const DbStatement insert_codes = {
    "code_insert",
    "INSERT INTO code (scheme, code)"
    " SELECT DISTINCT scheme, code FROM unnest($1::text[], $2::text[]) AS k (scheme, code)"
    "  ORDER BY scheme, code ON CONFLICT DO NOTHING"};

static const DbStatement select_repositories = {
    "repository_select",
    "SELECT (k.n - 1)::int, r.id"
    "  FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS k (scheme, code, n)"
    "  JOIN repository r ON r.unique_id = k.code"};
static const DbStatement insert_repositories = {
    "repository_insert",
    "INSERT INTO repository (unique_id)"
    " SELECT DISTINCT code FROM unnest($1::text[], $2::text[]) AS k (scheme, code)"
    "  ORDER BY code ON CONFLICT DO NOTHING"};
static const DbStatement select_repository_by_id = {
    "repository_by_id", "SELECT unique_id FROM repository WHERE id = $1::int"};

static void intern_table_init(InternTable *table, const DbStatement *select,
                              const DbStatement *insert)
{
    *table = (InternTable){
        .select = select,
        .insert = insert,
        .arena = arena_new(),
        .capacity = FIRST_CAPACITY,
        .slots = HEAP_ARRAY(Entry *, FIRST_CAPACITY),
    };
    if (pthread_rwlock_init(&table->lock, NULL) != 0) {
        abort();
    }
}

static void intern_table_done(InternTable *table)
{
    pthread_rwlock_destroy(&table->lock);
    free(table->slots);
    arena_free(table->arena);
}

CodeTable *code_table_new(void)
{
    CodeTable *table = HEAP_NEW(CodeTable);
    intern_table_init(&table->codes, &select_codes, &insert_codes);
    intern_table_init(&table->repositories, &select_repositories, &insert_repositories);
    return table;
}

void code_table_free(CodeTable *table)
{
    if (table == NULL) {
        return;
    }
    intern_table_done(&table->codes);
    intern_table_done(&table->repositories);
    free(table);
}

/** FNV-1a over both texts, with a byte between that occurs in neither. */
static uint64_t key_hash(Str scheme, Str code)
{
    uint64_t hash = 0xcbf29ce484222325;
    for (size_t i = 0; i < scheme.len; i++) {
        hash = (hash ^ (uint8_t)scheme.data[i]) * 0x100000001b3;
    }
    hash = (hash ^ 0xff) * 0x100000001b3;
    for (size_t i = 0; i < code.len; i++) {
        hash = (hash ^ (uint8_t)code.data[i]) * 0x100000001b3;
    }
    return hash;
}

/** The slot where this key is, or the empty one where it belongs. */
static Entry **find_slot(Entry **slots, size_t capacity, uint64_t hash, Str scheme, Str code)
{
    for (size_t i = (size_t)hash & (capacity - 1);; i = (i + 1) & (capacity - 1)) {
        const Entry *entry = slots[i];
        if (entry == NULL || (entry->hash == hash && str_equal(entry->code, code) &&
                              str_equal(entry->scheme, scheme))) {
            return &slots[i];
        }
    }
}

static void grow(InternTable *table)
{
    size_t capacity = table->capacity * 2;
    Entry **slots = HEAP_ARRAY(Entry *, capacity);
    for (size_t i = 0; i < table->capacity; i++) {
        Entry *entry = table->slots[i];
        if (entry != NULL) {
            *find_slot(slots, capacity, entry->hash, entry->scheme, entry->code) = entry;
        }
    }
    free(table->slots);
    table->slots = slots;
    table->capacity = capacity;
}

/** Adds one key; the write lock is held. NULL when the cache is full. */
static const Entry *remember(InternTable *table, Str scheme, Str code, int32_t id)
{
    uint64_t hash = key_hash(scheme, code);
    Entry **slot = find_slot(table->slots, table->capacity, hash, scheme, code);
    if (*slot != NULL) {
        return *slot;
    }
    if (table->count >= MAX_CACHED) {
        return NULL;
    }
    if ((table->count + 1) * 2 > table->capacity) {
        grow(table);
        slot = find_slot(table->slots, table->capacity, hash, scheme, code);
    }
    Entry *entry = ARENA_NEW(table->arena, Entry);
    *entry = (Entry){str_dup(table->arena, scheme), str_dup(table->arena, code), hash, id};
    *slot = entry;
    table->count++;
    return entry;
}

/** Fills in what the cache has. @return how many it lacks */
static size_t find_cached(InternTable *table, const Code *keys, size_t count, int32_t *ret_ids)
{
    size_t missing = 0;
    pthread_rwlock_rdlock(&table->lock);
    for (size_t i = 0; i < count; i++) {
        const Entry *entry =
            *find_slot(table->slots, table->capacity, key_hash(keys[i].scheme, keys[i].code),
                       keys[i].scheme, keys[i].code);
        ret_ids[i] = entry != NULL ? entry->id : 0;
        missing += entry == NULL;
    }
    pthread_rwlock_unlock(&table->lock);
    return missing;
}

/** The keys that have no id yet, as two arrays of parameters. */
static size_t bind_missing(DbParams *params, Arena *arena, const Code *keys, size_t count,
                           const int32_t *ids, size_t *positions)
{
    Str *schemes = ARENA_ARRAY(arena, Str, count);
    Str *codes = ARENA_ARRAY(arena, Str, count);
    size_t missing = 0;
    for (size_t i = 0; i < count; i++) {
        if (ids[i] == 0) {
            /* An empty text must not become NULL in the array. */
            schemes[missing] = str_is_empty(keys[i].scheme) ? STR_EMPTY : keys[i].scheme;
            codes[missing] = str_is_empty(keys[i].code) ? STR_EMPTY : keys[i].code;
            positions[missing++] = i;
        }
    }
    db_params_init(params, arena);
    db_param_text_array(params, schemes, missing);
    db_param_text_array(params, codes, missing);
    return missing;
}

/** Asks the database for the keys without id and remembers what it has. ret_missing: how many it
 * lacks too. */
static int fetch(InternTable *table, Request *req, DbConn *conn, const Code *keys, size_t count,
                 int32_t *ids, size_t *ret_missing)
{
    size_t *positions = ARENA_ARRAY(req->arena, size_t, count);
    DbParams params;
    size_t missing = bind_missing(&params, req->arena, keys, count, ids, positions);
    DbResult *result;
    int rc = db_exec(conn, req, table->select, &params, &result);
    if (rc < 0) {
        return rc;
    }
    pthread_rwlock_wrlock(&table->lock);
    for (int row = 0; row < db_rows(result); row++) {
        size_t i = positions[db_i32(result, row, 0)];
        ids[i] = db_i32(result, row, 1);
        remember(table, keys[i].scheme, keys[i].code, ids[i]);
    }
    pthread_rwlock_unlock(&table->lock);
    *ret_missing = missing - (size_t)db_rows(result);
    return 0;
}

static int lookup(InternTable *table, Request *req, DbConn *conn, const Code *keys, size_t count,
                  int32_t *ret_ids, size_t *ret_missing)
{
    *ret_missing = find_cached(table, keys, count, ret_ids);
    return *ret_missing == 0 ? 0 : fetch(table, req, conn, keys, count, ret_ids, ret_missing);
}

static int intern(InternTable *table, Request *req, DbConn *conn, const Code *keys, size_t count,
                  int32_t *ret_ids)
{
    size_t missing;
    int rc = lookup(table, req, conn, keys, count, ret_ids, &missing);
    if (rc < 0 || missing == 0) {
        return rc;
    }
    DbParams params;
    size_t *positions = ARENA_ARRAY(req->arena, size_t, count);
    bind_missing(&params, req->arena, keys, count, ret_ids, positions);
    rc = db_exec(conn, req, table->insert, &params, NULL);
    if (rc < 0) {
        return rc;
    }
    /* A statement of its own: its snapshot also sees what another sender inserted meanwhile. */
    rc = fetch(table, req, conn, keys, count, ret_ids, &missing);
    if (rc < 0) {
        return rc;
    }
    return missing == 0 ? 0
                        : error_add(&req->errors, ERR_DATABASE, table->select->name,
                                    "the registry could not store a code; send the message again");
}

/** repositoryUniqueIds as codes without scheme. */
static const Code *as_codes(Arena *arena, const Str *texts, size_t count)
{
    Code *codes = ARENA_ARRAY(arena, Code, count);
    for (size_t i = 0; i < count; i++) {
        codes[i].code = texts[i];
    }
    return codes;
}

int code_table_lookup(CodeTable *table, Request *req, DbConn *conn, const Code *codes, size_t count,
                      int32_t *ret_ids)
{
    size_t missing;
    return lookup(&table->codes, req, conn, codes, count, ret_ids, &missing);
}

int code_table_intern(CodeTable *table, Request *req, DbConn *conn, const Code *codes, size_t count,
                      int32_t *ret_ids)
{
    return intern(&table->codes, req, conn, codes, count, ret_ids);
}

int code_table_intern_repositories(CodeTable *table, Request *req, DbConn *conn,
                                   const Str *unique_ids, size_t count, int32_t *ret_ids)
{
    return intern(&table->repositories, req, conn, as_codes(req->arena, unique_ids, count), count,
                  ret_ids);
}

/** Repositories are few: a walk over the table is enough. */
static bool find_cached_text(InternTable *table, int32_t id, Str *ret_text)
{
    bool is_found = false;
    pthread_rwlock_rdlock(&table->lock);
    for (size_t i = 0; i < table->capacity && !is_found; i++) {
        const Entry *entry = table->slots[i];
        if (entry != NULL && entry->id == id) {
            *ret_text = entry->code;
            is_found = true;
        }
    }
    pthread_rwlock_unlock(&table->lock);
    return is_found;
}

int code_table_repository_text(CodeTable *table, Request *req, DbConn *conn, int32_t id,
                               Str *ret_unique_id)
{
    InternTable *repositories = &table->repositories;
    if (find_cached_text(repositories, id, ret_unique_id)) {
        return 0;
    }
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_i32(&params, id);
    DbResult *result;
    int rc = db_exec(conn, req, &select_repository_by_id, &params, &result);
    if (rc < 0) {
        return rc;
    }
    if (db_rows(result) == 0) {
        return error_add(&req->errors, ERR_CORRUPT, "repository",
                         "an entry names repository %d, which table repository does not hold", id);
    }
    pthread_rwlock_wrlock(&repositories->lock);
    const Entry *entry = remember(repositories, STR_EMPTY, db_text(result, 0, 0), id);
    pthread_rwlock_unlock(&repositories->lock);
    *ret_unique_id = entry != NULL ? entry->code : db_text(result, 0, 0);
    return 0;
}
