#include "repository/imaging/query_keys.h"

const QueryAttributeRow query_attributes[ATTRIBUTE_COUNT] = {
#define QUERY_ATTRIBUTE(name, level, tag, vr, matching, column)                                    \
    {tag, IMAGING_##level, DICOM_VR_##vr, MATCHING_##matching},
#include "repository/imaging/query_attributes.def"
#undef QUERY_ATTRIBUTE
};

static QueryAttribute find_attribute(uint32_t tag)
{
    size_t at = 0;
    while (at < ATTRIBUTE_COUNT && query_attributes[at].tag != tag) {
        at++;
    }
    return (QueryAttribute)at;
}

size_t index_unsupported_keys(const ImagingQuery *query)
{
    size_t count = 0;
    for (size_t i = 0; i < query->key_count; i++) {
        QueryAttribute attribute = find_attribute(query->keys[i].tag);
        bool is_known =
            attribute != ATTRIBUTE_COUNT && query_attributes[attribute].level <= query->level;
        count += !is_known || (query_attributes[attribute].matching == MATCHING_NONE &&
                               !str_is_empty(query->keys[i].value));
    }
    return count;
}

QueryKeys query_keys_read(const ImagingQuery *query)
{
    QueryKeys keys = {0};
    for (size_t i = 0; i < query->key_count; i++) {
        QueryAttribute attribute = find_attribute(query->keys[i].tag);
        if (attribute != ATTRIBUTE_COUNT && query_attributes[attribute].level <= query->level) {
            Str value = str_trim(query->keys[i].value);
            bool is_universal = str_equal(value, STR("*"));
            keys.values[attribute] = is_universal || !value.data ? STR_EMPTY : value;
        }
    }
    return keys;
}

bool query_keys_has(const QueryKeys *keys, QueryAttribute attribute)
{
    return !str_is_empty(keys->values[attribute]);
}

size_t query_keys_list(const QueryKeys *keys, QueryAttribute attribute, Arena *arena,
                       Str **ret_values)
{
    Str list = keys->values[attribute];
    Str item;
    size_t count = 1;
    for (size_t i = 0; i < list.len; i++) {
        count += list.data[i] == '\\';
    }
    Str *values = ARENA_ARRAY(arena, Str, count);
    count = 0;
    while (str_split_next(&list, '\\', &item)) {
        values[count++] = str_trim(item);
    }
    *ret_values = values;
    return count;
}
