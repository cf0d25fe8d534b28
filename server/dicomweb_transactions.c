#include "server/dicomweb_transactions.h"

static const DicomwebTransaction dicomweb_transactions[] = {
#define DICOMWEB(method, path, number, handler, receiver, media_types)                             \
    {STR_INIT(method), STR_INIT(path), number, handler, receiver, media_types},
#include "server/dicomweb_transactions.def"
#undef DICOMWEB
};

/** Part by part; '*' is any part that is not empty. */
static bool matches(Str pattern, Str path, Str *ret_values)
{
    size_t count = 0;
    Str expected;
    Str part;
    while (str_split_next(&pattern, '/', &expected)) {
        if (!str_split_next(&path, '/', &part)) {
            return false;
        }
        if (!str_equal(expected, STR("*"))) {
            if (!str_equal(expected, part)) {
                return false;
            }
        } else if (str_is_empty(part) || count == DICOMWEB_PATH_VALUES) {
            return false;
        } else {
            ret_values[count++] = part;
        }
    }
    while (count < DICOMWEB_PATH_VALUES) {
        ret_values[count++] = STR_EMPTY;
    }
    return path.data == NULL;
}

const DicomwebTransaction *dicomweb_transaction_find(Arena *arena, Str method, Str path,
                                                     Str *ret_values, Str *ret_allowed)
{
    const DicomwebTransaction *found = NULL;
    Str allowed = STR_EMPTY;
    for (size_t i = 0; i < ARRAY_LEN(dicomweb_transactions); i++) {
        const DicomwebTransaction *row = &dicomweb_transactions[i];
        Str values[DICOMWEB_PATH_VALUES];
        if (!matches(row->path, path, values)) {
            continue;
        }
        allowed = str_printf(arena, "%.*s%s%.*s", STR_ARG(allowed), allowed.len ? ", " : "",
                             STR_ARG(row->method));
        if (str_equal(row->method, method)) {
            found = row;
            memcpy(ret_values, values, sizeof(values));
        }
    }
    *ret_allowed = allowed;
    return found;
}
