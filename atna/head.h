#pragma once

#include "atna/chain.h"

/**
 * Signed statements about a chain: the record of this sequence has this hash. Who holds a head can
 * prove later that the records up to there were changed, whoever changed them.
 *
 * As text, one line:
 *   musubi-audit-head-1 chain=UUID purpose=head sequence=N hash=HEX time=ISO key=HEX signature=HEX
 * The signature is Ed25519 (RFC 8032) over all that stands before " signature=".
 */

#define HEAD_KEY_BYTES 32
#define HEAD_SIGNATURE_BYTES 64
/** Longest line, line end and NUL included. */
#define HEAD_LINE_SIZE 512

typedef enum HeadPurpose {
    HEAD_STATE,  /* "head" */
    HEAD_ANCHOR, /* "anchor": the records up to here were removed when their retention was over */
    HEAD_PURPOSE_COUNT
} HeadPurpose;

extern const char *const head_purpose_names[HEAD_PURPOSE_COUNT];

typedef struct Head {
    Uuid chain;
    HeadPurpose purpose;
    uint64_t sequence;
    ChainHash hash;
    int64_t signed_us; /* UTC, whole milliseconds */
    uint8_t key[HEAD_KEY_BYTES];
    uint8_t signature[HEAD_SIGNATURE_BYTES];
} Head;

/** The private key that signs heads. */
typedef struct HeadKey HeadKey;

/** Reads the key of a PEM file (PKCS #8, Ed25519); made, readable for its owner only, if there is
 * no file and may_make says so. NULL and the reason on failure. */
HeadKey *head_key_open(const char *path, bool may_make, char *ret_problem, size_t problem_size);
/** head_key_free(NULL) is fine. */
void head_key_free(HeadKey *key);
void head_key_public(const HeadKey *key, uint8_t ret_key[HEAD_KEY_BYTES]);

/** Signs the first five fields, as of now. */
void head_sign(Head *head, const HeadKey *key);

/** Whether head->signature is that of head->key. Whose key it is, the caller decides. */
bool head_is_signed(const Head *head) MUST_CHECK;

/** Writes the line, without a line end. */
void head_write(const Head *head, char ret_line[HEAD_LINE_SIZE]);
/** Reads a line; white space around it does not count. False if it is no head. */
bool head_read(Str line, Head *ret_head) MUST_CHECK;
