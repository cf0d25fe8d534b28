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

struct _xmlDoc; /* libxml2's xmlDoc */

/**
 * What is kept as libxml2's own DOM beside the XmlNode tree, because a signature is checked on it:
 * the elements with this name at this depth with all that is in them. The elements above them are
 * kept too, without other content: their namespace declarations are in scope. Both trees are made
 * of the same events of the same parser.
 */
typedef struct XmlKeep {
    const char *ns;
    const char *name;
    unsigned depth; /* the root element has 1 */
} XmlKeep;

/** No more than this is kept: a DOM takes forty times the room of its text. */
#define XML_KEEP_ELEMENTS_MAX 4096
#define XML_KEEP_TEXT_BYTES_MAX ((size_t)256 * 1024)

/** Once per process, before the first thread that reads XML. */
void xml_init(void);

/**
 * @param arena      where the tree goes; borrowed
 * @param errors     borrowed
 * @param diversion  where the content of xds:Document goes; borrowed; NULL: it stays text in the
 * tree
 */
XmlReader *xml_reader_new(Arena *arena, ErrorList *errors, const XmlDiversion *diversion);

/**
 * Begins another document with the same reader and diversion: to make a reader costs more than to
 * read a short document. What was kept of the last one and not taken is gone.
 */
void xml_reader_restart(XmlReader *reader, Arena *arena, ErrorList *errors);

/** Before the first push. @param keep  borrowed */
void xml_reader_keep(XmlReader *reader, const XmlKeep *keep);

/** @return 0, ERR_SOAP_SENDER, ERR_TOO_LARGE, or what the diversion returned; final: do not push
 * again */
int xml_reader_push(XmlReader *reader, const void *bytes, size_t len) MUST_CHECK;

/** The last byte arrived. ret_root is in the arena and outlives the reader. */
int xml_reader_finish(XmlReader *reader, XmlNode **ret_root) MUST_CHECK;

/** After a good finish: the elements whose content was diverted, in document order; borrowed from
 * the reader. */
XmlNode *const *xml_reader_documents(const XmlReader *reader, size_t *ret_count);

/** What was kept of a message. */
typedef struct XmlKept {
    struct _xmlDoc *document; /* the caller frees it */
    bool has_comments; /* the message has comments in a kept element; they are in neither tree */
} XmlKept;

/** After a good finish, once. @return false: no element was to be kept */
bool xml_reader_take_kept(XmlReader *reader, XmlKept *ret_kept);

void xml_reader_free(XmlReader *reader);

/** Reads a whole document in memory into req->arena; errors as above go to req->errors. */
int xml_read(Request *req, Str bytes, XmlNode **ret_root) MUST_CHECK;
