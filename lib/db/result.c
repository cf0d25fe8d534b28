#include <assert.h>
#include <endian.h>
#include <string.h>

#include "lib/db/connection.h"
#include "lib/db/wire.h"

static void clear_result(void *object)
{
    PQclear(object);
}

DbResult *result_new(Arena *arena, PGresult *pg)
{
    DbResult *result = ARENA_NEW(arena, DbResult);
    result->pg = pg;
    arena_defer(arena, clear_result, pg);
    return result;
}

int db_rows(const DbResult *result)
{
    return PQntuples(result->pg);
}

bool db_is_null(const DbResult *result, int row, int column)
{
    return PQgetisnull(result->pg, row, column) != 0;
}

static uint16_t load_u16(const char *bytes)
{
    uint16_t wire;
    memcpy(&wire, bytes, sizeof(wire));
    return be16toh(wire);
}

static uint32_t load_u32(const char *bytes)
{
    uint32_t wire;
    memcpy(&wire, bytes, sizeof(wire));
    return be32toh(wire);
}

static uint64_t load_u64(const char *bytes)
{
    uint64_t wire;
    memcpy(&wire, bytes, sizeof(wire));
    return be64toh(wire);
}

/** An integer of any width as PostgreSQL sends it. */
static int64_t load_integer(const char *bytes, int len)
{
    switch (len) {
    case 2:
        return (int16_t)load_u16(bytes);
    case 4:
        return (int32_t)load_u32(bytes);
    case 8:
        return (int64_t)load_u64(bytes);
    default:
        assert(len == 0); /* NULL reads as 0 */
        return 0;
    }
}

static int64_t integer_at(const DbResult *result, int row, int column)
{
    return load_integer(PQgetvalue(result->pg, row, column), PQgetlength(result->pg, row, column));
}

bool db_bool(const DbResult *result, int row, int column)
{
    return PQgetlength(result->pg, row, column) == 1 && PQgetvalue(result->pg, row, column)[0] != 0;
}

int16_t db_i16(const DbResult *result, int row, int column)
{
    return (int16_t)integer_at(result, row, column);
}

int32_t db_i32(const DbResult *result, int row, int column)
{
    return (int32_t)integer_at(result, row, column);
}

int64_t db_i64(const DbResult *result, int row, int column)
{
    return integer_at(result, row, column);
}

int64_t db_timestamp(const DbResult *result, int row, int column)
{
    return db_timestamp_or(result, row, column, 0);
}

int64_t db_timestamp_or(const DbResult *result, int row, int column, int64_t if_null)
{
    return db_is_null(result, row, column)
               ? if_null
               : wire_timestamp_to_utc_us(integer_at(result, row, column));
}

Str db_text(const DbResult *result, int row, int column)
{
    return (Str){PQgetvalue(result->pg, row, column), (size_t)PQgetlength(result->pg, row, column)};
}

bool db_bytes(const DbResult *result, int row, int column, void *ret_bytes, size_t len)
{
    Str bytes = db_text(result, row, column);
    if (bytes.len != len) {
        return false;
    }
    memcpy(ret_bytes, bytes.data, len);
    return true;
}

Uuid db_uuid(const DbResult *result, int row, int column)
{
    Uuid uuid = {{0}};
    if (PQgetlength(result->pg, row, column) == (int)sizeof(uuid.bytes)) {
        memcpy(uuid.bytes, PQgetvalue(result->pg, row, column), sizeof(uuid.bytes));
    }
    return uuid;
}

/** Walks the elements of a one-dimensional array in the form of array_send. */
typedef struct ArrayReader {
    const char *next;
    const char *end;
    size_t count;
} ArrayReader;

static ArrayReader array_open(const DbResult *result, int row, int column)
{
    enum { HEADER = 12, DIMENSION = 8 };
    const char *bytes = PQgetvalue(result->pg, row, column);
    size_t len = (size_t)PQgetlength(result->pg, row, column);
    ArrayReader reader = {.next = bytes, .end = bytes + len, .count = 0};

    if (len >= HEADER + DIMENSION && load_u32(bytes) == 1) {
        size_t count = load_u32(bytes + HEADER);
        if (count <= (len - HEADER - DIMENSION) / sizeof(uint32_t)) {
            reader.count = count;
            reader.next = bytes + HEADER + DIMENSION;
        }
    }
    return reader;
}

/** @return the element; data NULL for SQL NULL */
static Str array_next(ArrayReader *reader)
{
    if ((size_t)(reader->end - reader->next) < sizeof(uint32_t)) {
        return (Str){NULL, 0};
    }
    int32_t len = (int32_t)load_u32(reader->next);
    reader->next += sizeof(uint32_t);
    if (len < 0 || len > reader->end - reader->next) {
        return (Str){NULL, 0};
    }
    Str item = {reader->next, (size_t)len};
    reader->next += len;
    return item;
}

size_t db_i32_array(const DbResult *result, int row, int column, Arena *arena, int32_t **ret_values)
{
    ArrayReader reader = array_open(result, row, column);
    int32_t *values = ARENA_ARRAY(arena, int32_t, reader.count);

    for (size_t i = 0; i < reader.count; i++) {
        Str item = array_next(&reader);
        values[i] = (int32_t)load_integer(item.data, (int)item.len);
    }
    *ret_values = values;
    return reader.count;
}

size_t db_i64_array(const DbResult *result, int row, int column, Arena *arena, int64_t **ret_values)
{
    ArrayReader reader = array_open(result, row, column);
    int64_t *values = ARENA_ARRAY(arena, int64_t, reader.count);

    for (size_t i = 0; i < reader.count; i++) {
        Str item = array_next(&reader);
        values[i] = load_integer(item.data, (int)item.len);
    }
    *ret_values = values;
    return reader.count;
}

size_t db_text_array(const DbResult *result, int row, int column, Arena *arena, Str **ret_values)
{
    ArrayReader reader = array_open(result, row, column);
    Str *values = ARENA_ARRAY(arena, Str, reader.count);

    for (size_t i = 0; i < reader.count; i++) {
        Str item = array_next(&reader);
        values[i] = item.data ? str_dup(arena, item) : item;
    }
    *ret_values = values;
    return reader.count;
}

int64_t db_affected(const DbResult *result)
{
    int64_t count = 0;
    if (!str_to_i64(str_from(PQcmdTuples(result->pg)), &count)) {
        return 0;
    }
    return count;
}
