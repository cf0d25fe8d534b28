#include <assert.h>
#include <endian.h>
#include <limits.h>
#include <string.h>

#include "lib/db/connection.h"
#include "lib/db/wire.h"

void db_params_init(DbParams *params, Arena *arena)
{
    params->arena = arena;
    params->count = 0;
}

static void push(DbParams *params, const void *bytes, size_t len)
{
    assert(params->count < DB_MAX_PARAMS && len <= INT_MAX);
    params->values[params->count] = bytes;
    params->lengths[params->count] = (int)len;
    params->count++;
}

static void push_copy(DbParams *params, const void *bytes, size_t len)
{
    void *copy = arena_alloc(params->arena, len);
    memcpy(copy, bytes, len);
    push(params, copy, len);
}

void db_param_null(DbParams *params)
{
    push(params, NULL, 0);
}

void db_param_bool(DbParams *params, bool value)
{
    push(params, value ? "\1" : "\0", 1);
}

void db_param_i16(DbParams *params, int16_t value)
{
    uint16_t wire = htobe16((uint16_t)value);
    push_copy(params, &wire, sizeof(wire));
}

void db_param_i32(DbParams *params, int32_t value)
{
    uint32_t wire = htobe32((uint32_t)value);
    push_copy(params, &wire, sizeof(wire));
}

void db_param_i64(DbParams *params, int64_t value)
{
    uint64_t wire = htobe64((uint64_t)value);
    push_copy(params, &wire, sizeof(wire));
}

void db_param_text(DbParams *params, Str value)
{
    push(params, value.data ? value.data : "", value.len);
}

void db_param_text_or_null(DbParams *params, Str value)
{
    push(params, value.len > 0 ? value.data : NULL, value.len);
}

void db_param_bytes(DbParams *params, Str value)
{
    db_param_text(params, value);
}

void db_param_uuid(DbParams *params, Uuid value)
{
    push_copy(params, value.bytes, sizeof(value.bytes));
}

void db_param_timestamp(DbParams *params, int64_t utc_us)
{
    db_param_i64(params, wire_timestamp_from_utc_us(utc_us));
}

/** An array in PostgreSQL's binary form (array_recv) while it is written. */
typedef struct ArrayWriter {
    DbParams *params;
    char *bytes;
    size_t len;
} ArrayWriter;

static void array_u32(ArrayWriter *writer, uint32_t value)
{
    uint32_t wire = htobe32(value);
    memcpy(writer->bytes + writer->len, &wire, sizeof(wire));
    writer->len += sizeof(wire);
}

/** @param content_bytes  of all elements together, without their length words
 * @param has_null  as PostgreSQL itself would write it: the audit chain hashes these bytes */
static ArrayWriter array_begin(DbParams *params, uint32_t element_oid, size_t count,
                               size_t content_bytes, bool has_null)
{
    assert(count <= INT_MAX / 8 && content_bytes <= INT_MAX / 2);
    ArrayWriter writer = {
        .params = params,
        .bytes = arena_alloc(params->arena, 5 * sizeof(uint32_t) + 4 * count + content_bytes)};

    array_u32(&writer, count > 0 ? 1 : 0); /* dimensions */
    array_u32(&writer, has_null ? 1 : 0);
    array_u32(&writer, element_oid);
    if (count > 0) {
        array_u32(&writer, (uint32_t)count);
        array_u32(&writer, 1); /* first index */
    }
    return writer;
}

static void array_item(ArrayWriter *writer, const void *bytes, size_t len)
{
    array_u32(writer, (uint32_t)len);
    if (len > 0) {
        memcpy(writer->bytes + writer->len, bytes, len);
        writer->len += len;
    }
}

static void array_end(ArrayWriter *writer)
{
    push(writer->params, writer->bytes, writer->len);
}

void db_param_i32_array(DbParams *params, const int32_t *values, size_t count)
{
    ArrayWriter writer = array_begin(params, WIRE_OID_INT4, count, count * sizeof(*values), false);
    for (size_t i = 0; i < count; i++) {
        uint32_t wire = htobe32((uint32_t)values[i]);
        array_item(&writer, &wire, sizeof(wire));
    }
    array_end(&writer);
}

static void push_i64_array(DbParams *params, uint32_t oid, const int64_t *values, size_t count,
                           int64_t (*convert)(int64_t))
{
    ArrayWriter writer = array_begin(params, oid, count, count * sizeof(*values), false);
    for (size_t i = 0; i < count; i++) {
        uint64_t wire = htobe64((uint64_t)(convert ? convert(values[i]) : values[i]));
        array_item(&writer, &wire, sizeof(wire));
    }
    array_end(&writer);
}

void db_param_i64_array(DbParams *params, const int64_t *values, size_t count)
{
    push_i64_array(params, WIRE_OID_INT8, values, count, NULL);
}

void db_param_timestamp_array(DbParams *params, const int64_t *values, size_t count)
{
    push_i64_array(params, WIRE_OID_TIMESTAMPTZ, values, count, wire_timestamp_from_utc_us);
}

static void push_str_array(DbParams *params, uint32_t oid, const Str *values, size_t count)
{
    size_t content_bytes = 0;
    bool has_null = false;
    for (size_t i = 0; i < count; i++) {
        content_bytes += values[i].len;
        has_null |= values[i].data == NULL;
    }
    ArrayWriter writer = array_begin(params, oid, count, content_bytes, has_null);
    for (size_t i = 0; i < count; i++) {
        if (values[i].data) {
            array_item(&writer, values[i].data, values[i].len);
        } else {
            array_u32(&writer, UINT32_MAX); /* -1: NULL */
        }
    }
    array_end(&writer);
}

void db_param_text_array(DbParams *params, const Str *values, size_t count)
{
    push_str_array(params, WIRE_OID_TEXT, values, count);
}

void db_param_bytes_array(DbParams *params, const Str *values, size_t count)
{
    push_str_array(params, WIRE_OID_BYTEA, values, count);
}

void db_param_uuid_array(DbParams *params, const Uuid *values, size_t count)
{
    ArrayWriter writer =
        array_begin(params, WIRE_OID_UUID, count, count * sizeof(values->bytes), false);
    for (size_t i = 0; i < count; i++) {
        array_item(&writer, values[i].bytes, sizeof(values[i].bytes));
    }
    array_end(&writer);
}
