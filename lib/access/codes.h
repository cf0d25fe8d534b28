#pragma once

/** SQL of the texts CODE^^SCHEME of an array of rows of table code, as operators write and read
 * them. */
#define CODED_TEXTS(ids)                                                                           \
    "ARRAY(SELECT c.code || '^^' || c.scheme FROM code c WHERE c.id = ANY (" ids                   \
    ") ORDER BY c.scheme, c.code)"
