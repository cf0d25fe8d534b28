#pragma once

#include "lib/base/request.h"
#include "lib/xml/tree.h"

/**
 * HL7 v3 messages (interactions) as XML (ITI TF-2 Appendix O; HL7 v3 XML ITS): reading of the
 * transmission wrapper and of its data types, acknowledgements, answers.
 */

#define NS_HL7_V3 "urn:hl7-org:v3"
/** Names of interactions and trigger events. */
#define OID_HL7_INTERACTIONS "2.16.840.1.113883.1.6"

/** Types of v3_model.def. */
typedef enum V3Type {
#define TYPE(name) V3_##name,
#define ELEMENT(parent, name, min, max, type)
#include "lib/hl7/v3_model.def"
#undef ELEMENT
#undef TYPE
    V3_TYPE_COUNT
} V3Type;

/** II. Without a root it says nothing. */
typedef struct V3Id {
    Str root;      /* OID or UUID */
    Str extension; /* empty: root alone */
    bool is_null;  /* it has a nullFlavor */
} V3Id;

/** What an acknowledgement needs of a message, and where its content begins. */
typedef struct V3Message {
    const XmlNode *root; /* the interaction */
    V3Id id;
    Str processing_code;          /* D, T or P */
    const XmlNode *sender_device; /* NULL if the message has none */
    const XmlNode *receiver_device;
    const XmlNode *act; /* controlActProcess */
} V3Message;

/* ---- reading ---- */

/**
 * Checks an interaction down to where v3_model.def says ANY, and its transmission wrapper; adds
 * every fault that it finds. The message is filled in as far as it can be read, so that the fault
 * can be acknowledged.
 *
 * @param root         body element
 * @param interaction  "PRPA_IN201301UV02": what interactionId must say
 * @return 0, or the first ERR_HL7_...
 */
int v3_message_read(Request *req, const XmlNode *root, const char *interaction,
                    V3Message *ret_message) MUST_CHECK;

/** Checks an element's content against its type; adds every fault. */
int v3_check(Request *req, const XmlNode *node, V3Type type) MUST_CHECK;

/** Whether this is the element of HL7 v3 with this name. */
bool v3_is(const XmlNode *node, const char *name);
/** As xml_child(), xml_next() with the namespace of HL7 v3. */
XmlNode *v3_child(const XmlNode *node, const char *name);
XmlNode *v3_next(const XmlNode *node, const char *name);
/** The element at a path of names with '/' between them, the first one each; NULL if there is
 * none. */
const XmlNode *v3_at(const XmlNode *node, const char *path);
/** @code, or @value, or another attribute of a child; empty if there is none. */
Str v3_child_attribute(const XmlNode *node, const char *child, const char *attribute);

V3Id v3_id(const XmlNode *node);
/** "extension@root", or the root alone; in the arena. */
Str v3_id_text(Arena *arena, V3Id id);

/** XPath from the interaction: "/PRPA_IN201309UV02/controlActProcess/...", without prefixes. */
const char *v3_path(Arena *arena, const XmlNode *node);

/* ---- writing ---- */

/** What begins an answer. */
typedef struct V3Reply {
    const char *interaction; /* "MCCI_IN000002UV01" */
    bool is_accept;          /* accept acknowledgement: CA, CE, CR; else AA, AE, AR */
} V3Reply;

/**
 * Appends the start tag of the interaction, its transmission wrapper and the acknowledgement that
 * req->errors call for: one detail for each. What follows is the controlActProcess, if any, and
 * v3_reply_end().
 */
void v3_reply_begin(StrBuf *buf, const Request *req, const V3Message *message,
                    const V3Reply *reply);
void v3_reply_end(StrBuf *buf, const V3Reply *reply);

/** <element root="..." extension="..."/> */
void v3_append_id(StrBuf *buf, const char *element, V3Id id);
/** <element attribute="..."/> */
void v3_append_attribute(StrBuf *buf, const char *element, const char *attribute, Str value);
/** <element>text</element>; nothing for an empty text. */
void v3_append_text(StrBuf *buf, const char *element, Str text);
