#pragma once

#include "lib/base/error.h"
#include "lib/base/macros.h"

/**
 * A linear, streaming look at the raw bytes of an XML document before libxml2 sees them. It refuses
 * what costs libxml2 quadratic time or unbounded memory (document types, huge tags, deep nesting),
 * what is not UTF-8, and processing instructions. The parser behind it gets only tags and text: the
 * byte order mark, the XML declaration and comments are left out, CDATA sections arrive as escaped
 * text.
 *
 * It also diverts the content of {urn:ihe:iti:xds-b:2007}Document, which may be larger than memory:
 * inline base64 is decoded and handed over while it arrives, and the parser gets an empty element.
 * One xop:Include instead of base64 is passed on to the parser (TF-2 Appendix V.8).
 */
typedef struct Prescan Prescan;

/** Elements inside elements; no message of the profiles needs a third of it. */
#define XML_DEPTH_MAX 100

typedef struct PrescanLimits {
    size_t tag_bytes;
    unsigned attributes; /* per start tag, namespace declarations included */
    unsigned namespaces; /* declarations per start tag */
    unsigned depth;      /* at most XML_DEPTH_MAX */
    unsigned elements;
    size_t xml_bytes; /* that reach the parser: diverted content does not count */
} PrescanLimits;

extern const PrescanLimits PRESCAN_LIMITS;

/**
 * Where the content of the xds:Document elements goes, in document order: open, bytes, close for
 * inline content (no bytes if the element is empty); reference alone for an xop:Include. The
 * functions return 0, or a negative ErrorCode after adding the error.
 */
typedef struct XmlDiversion {
    void *ctx;
    int (*open)(void *ctx);
    int (*bytes)(void *ctx, const void *bytes, size_t len);
    int (*close)(void *ctx);
    int (*reference)(void *ctx);
} XmlDiversion;

/**
 * Takes checked bytes for the parser; whole tags are never cut.
 *
 * @param hidden_lines  line ends left out since the previous call, to keep line numbers right
 */
typedef int (*PrescanOutput)(void *ctx, const char *bytes, size_t len, unsigned hidden_lines);

/**
 * @param errors     borrowed
 * @param limits     borrowed
 * @param diversion  borrowed; NULL: nothing is diverted
 */
Prescan *prescan_new(ErrorList *errors, const PrescanLimits *limits, PrescanOutput output,
                     void *output_ctx, const XmlDiversion *diversion);

/** @return 0, ERR_SOAP_SENDER, ERR_TOO_LARGE, or what a callback returned; final: do not push again
 */
int prescan_push(Prescan *scan, const char *bytes, size_t len) MUST_CHECK;

/** The last byte arrived: nothing may be left open. */
int prescan_finish(Prescan *scan) MUST_CHECK;

/** Comments that were left out so far. */
unsigned prescan_comment_count(const Prescan *scan);

/** Begins another document, as prescan_new() with the same arguments but this one. */
void prescan_restart(Prescan *scan, ErrorList *errors);

void prescan_free(Prescan *scan);
