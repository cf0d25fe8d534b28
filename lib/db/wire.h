#pragma once

#include <stdint.h>

/** PostgreSQL's binary form of values: network byte order, type OIDs of pg_type.dat, time since
 * 2000. */

#define WIRE_OID_BYTEA 17
#define WIRE_OID_INT8 20
#define WIRE_OID_INT4 23
#define WIRE_OID_TEXT 25
#define WIRE_OID_TIMESTAMPTZ 1184
#define WIRE_OID_UUID 2950

/** 1970-01-01 to 2000-01-01 in microseconds. */
#define WIRE_EPOCH_US 946684800000000LL

/** INT64_MIN and INT64_MAX are -infinity and infinity on both sides. */
static inline int64_t wire_timestamp_from_utc_us(int64_t utc_us)
{
    return utc_us == INT64_MAX || utc_us < INT64_MIN + WIRE_EPOCH_US ? utc_us
                                                                     : utc_us - WIRE_EPOCH_US;
}

static inline int64_t wire_timestamp_to_utc_us(int64_t timestamp)
{
    return timestamp == INT64_MIN || timestamp > INT64_MAX - WIRE_EPOCH_US
               ? timestamp
               : timestamp + WIRE_EPOCH_US;
}
