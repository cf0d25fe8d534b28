#include "lib/base/oid.h"

#define OID_MAX_LEN 64
#define UUID_DECIMAL_LEN_MAX 39 /* of 2^128 - 1 */

bool oid_is_valid(Str oid)
{
    if (oid.len == 0 || oid.len > OID_MAX_LEN) {
        return false;
    }
    unsigned arcs = 0;
    Str rest = oid;
    Str arc;
    while (str_split_next(&rest, '.', &arc)) {
        if (arc.len == 0 || (arc.len > 1 && arc.data[0] == '0')) {
            return false;
        }
        for (size_t i = 0; i < arc.len; i++) {
            if (arc.data[i] < '0' || arc.data[i] > '9') {
                return false;
            }
        }
        arcs++;
    }
    return arcs >= 2;
}

bool oid_is_valid_urn(Str urn)
{
    Str prefix = STR("urn:oid:");
    return str_starts_with(urn, prefix) && oid_is_valid(str_from_offset(urn, prefix.len));
}

Str oid_of_uuid(Arena *arena, Uuid uuid)
{
    char digits[UUID_DECIMAL_LEN_MAX];
    size_t first = sizeof(digits);
    bool is_zero;
    do {
        unsigned remainder = 0;
        is_zero = true;
        for (size_t i = 0; i < sizeof(uuid.bytes); i++) {
            unsigned part = remainder << 8 | uuid.bytes[i];
            uuid.bytes[i] = (uint8_t)(part / 10);
            remainder = part % 10;
            is_zero = is_zero && uuid.bytes[i] == 0;
        }
        digits[--first] = (char)('0' + remainder);
    } while (!is_zero);
    return str_printf(arena, "2.25.%.*s", (int)(sizeof(digits) - first), digits + first);
}
