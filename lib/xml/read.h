#pragma once

#include "lib/base/macros.h"
#include "lib/base/request.h"
#include "lib/xml/prescan.h"
#include "lib/xml/tree.h"

/**
 * The one way in for XML: bytes -> pre-scan (prescan.h) -> libxml2's SAX2 push parser -> XmlNode
 * tree. No network, no DTD, no external entities; bounded depth, size and count. Text is joined
 * over comments and CDATA sections. Well-formed and namespace-well-formed, or refused.
 */
typedef struct XmlReader XmlReader;

/** Once per process, before the first thread that reads XML. */
void xml_init(void);

/**
 * @param arena      where the tree goes; borrowed
 * @param errors     borrowed
 * @param diversion  where the content of xds:Document goes; borrowed; NULL: it stays text in the
 * tree
 */
XmlReader *xml_reader_new(Arena *arena, ErrorList *errors, const XmlDiversion *diversion);

/** @return 0, ERR_SOAP_SENDER, ERR_TOO_LARGE, or what the diversion returned; final: do not push
 * again */
int xml_reader_push(XmlReader *reader, const void *bytes, size_t len) MUST_CHECK;

/** The last byte arrived. ret_root is in the arena and outlives the reader. */
int xml_reader_finish(XmlReader *reader, XmlNode **ret_root) MUST_CHECK;

/** After a good finish: the elements whose content was diverted, in document order; borrowed from
 * the reader. */
XmlNode *const *xml_reader_documents(const XmlReader *reader, size_t *ret_count);

void xml_reader_free(XmlReader *reader);

/** Reads a whole document in memory into req->arena; errors as above go to req->errors. */
int xml_read(Request *req, Str bytes, XmlNode **ret_root) MUST_CHECK;
