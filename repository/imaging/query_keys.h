#pragma once

#include "repository/imaging/index.h"
#include "repository/imaging/query_match.h"

/** What queries know of attributes (query_attributes.def), and the keys of one query. */

typedef enum QueryAttribute {
#define QUERY_ATTRIBUTE(name, level, tag, vr, matching, column) ATTRIBUTE_##name,
#include "repository/imaging/query_attributes.def"
#undef QUERY_ATTRIBUTE
    ATTRIBUTE_COUNT
} QueryAttribute;

typedef struct QueryAttributeRow {
    uint32_t tag;
    ImagingLevel level;
    DicomVr vr;
    QueryMatching matching;
} QueryAttributeRow;

extern const QueryAttributeRow query_attributes[ATTRIBUTE_COUNT];

typedef struct QueryKeys {
    Str values[ATTRIBUTE_COUNT]; /* data NULL: not asked for */
} QueryKeys;

/** Those of its level and above; what matches all is empty. Borrows from the query. */
QueryKeys query_keys_read(const ImagingQuery *query);
/** Whether it names a value. */
bool query_keys_has(const QueryKeys *keys, QueryAttribute attribute);
/** Values of a key that is a list of UIDs, in the arena. @return how many */
size_t query_keys_list(const QueryKeys *keys, QueryAttribute attribute, Arena *arena,
                       Str **ret_values);
