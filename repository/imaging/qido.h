#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/str.h"

/** An attribute by keyword or by 8 hexadecimal digits (PS3.18 8.3.4.1). @return false: neither */
bool qido_attribute(Str name, uint32_t *ret_tag);
