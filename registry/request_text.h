#pragma once

#include "lib/xml/tree.h"

/**
 * Writes an element with all that is in it as XML text: equal to what was received in names,
 * attributes and character data, not in prefixes or layout. For the audit event, which carries the
 * whole AdhocQueryRequest (ITI TF-2 3.18.5.1).
 */
void request_text_write(const XmlNode *element, StrBuf *buf);
