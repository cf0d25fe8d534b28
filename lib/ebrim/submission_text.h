#pragma once

#include "lib/ebrim/codes.h"
#include "lib/ebrim/metadata.h"

/**
 * The metadata of documents that this server makes itself, as the text of an
 * lcm:SubmitObjectsRequest (TF-3 4.2): read by submission_read(), it is checked as any other.
 */

/* attributes.def */
#define UUID_CLASS_CODE "urn:uuid:41a5887f-8865-4c09-adf7-e362475b143a"
#define UUID_TYPE_CODE "urn:uuid:f0306f51-975f-434e-a61c-c59651d33983"
#define UUID_FORMAT_CODE "urn:uuid:a09d5840-386c-46f2-b5ad-9c3699a4309d"
#define UUID_CONFIDENTIALITY_CODE "urn:uuid:f4f85eac-e6cb-4883-b524-f2705394840f"
#define UUID_EVENT_CODE_LIST "urn:uuid:2c6b8cb7-8b2a-4051-b291-b1ae6a575ef4"
#define UUID_FACILITY_TYPE_CODE "urn:uuid:f33fb8ac-18af-42cc-ae0e-ed0b0bdb91e1"
#define UUID_PRACTICE_SETTING_CODE "urn:uuid:cccf5598-8b07-4b77-a05e-ae952c785ead"
#define UUID_CONTENT_TYPE_CODE "urn:uuid:aa543740-bdda-424e-8c96-df4873be8500"
#define UUID_AUTHOR "urn:uuid:93606bcf-9494-43ec-9b4e-a7748d1a838d"
#define UUID_DOCUMENT_UNIQUE_ID "urn:uuid:2e82c1f6-a085-4c72-9da3-8640a32e42ab"
#define UUID_DOCUMENT_PATIENT_ID "urn:uuid:58a6f841-87b3-4a3e-92fd-a8ffeff98427"
#define UUID_SET_UNIQUE_ID "urn:uuid:96fdda7c-d067-4183-912e-bf5ee74998a8"
#define UUID_SET_PATIENT_ID "urn:uuid:6b5aea1a-874d-4603-a4bc-96a0a7b38446"
#define UUID_SET_SOURCE_ID "urn:uuid:554ac39e-e3fe-47fe-b233-965d2a147832"

typedef struct SubmissionText {
    Arena *arena;
    StrBuf *buf;
    const CodeSets *codes; /* of the affinity domain; NULL: every code is taken */
    unsigned next_id;      /* of Classifications, ExternalIdentifiers and Associations */
} SubmissionText;

void submission_text_begin(SubmissionText *text);
void submission_text_end(SubmissionText *text);

/** The attribute of an element that is open. */
void submission_text_attribute(StrBuf *buf, const char *name, Str value);
/** The attribute id, with the next id. */
void submission_text_id(SubmissionText *text);
void submission_text_slot(StrBuf *buf, const char *name, const Str *values, size_t count);
/** A Slot with one value; none if that is empty. */
void submission_text_value(StrBuf *buf, const char *name, Str value);
void submission_text_name(StrBuf *buf, Str name);
/** @param object  id of what has the code */
void submission_text_code(SubmissionText *text, Str object, const char *scheme, Code code);
void submission_text_identifier(SubmissionText *text, Str object, const char *scheme,
                                const char *name, Str value);
void submission_text_association(SubmissionText *text, AssociationType type, Str source, Str target,
                                 bool is_original);

typedef struct SubmissionSetText {
    Str id; /* urn:uuid */
    Str unique_id;
    Str patient_id;
    Str source_id;
    Str submission_time; /* DTM */
    Code content_type;
} SubmissionSetText;

void submission_text_set(SubmissionText *text, const SubmissionSetText *set);

/** "CODE^^SCHEME" of the configuration. */
Code submission_text_configured(const char *text, const char *display);
/** Whether the affinity domain knows the code; its own display name goes before ours. */
bool submission_text_knows(const SubmissionText *text, const char *scheme, Code *code);
/** The wanted one, else the first that the affinity domain has. */
Code submission_text_known_or_first(const SubmissionText *text, const char *scheme, Code wanted);
