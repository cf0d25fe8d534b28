#include "lib/base/oid.h"

#define OID_MAX_LEN 64

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
