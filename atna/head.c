#include "atna/head.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/file_io.h"
#include "lib/base/heap.h"
#include "lib/base/instant.h"

#define SIGNATURE_MARK " signature="

const char *const head_purpose_names[HEAD_PURPOSE_COUNT] = {
    [HEAD_STATE] = "head",
    [HEAD_ANCHOR] = "anchor",
};

struct HeadKey {
    EVP_PKEY *pkey;
};

/* ---- text ---- */

static void hex_of(const uint8_t *bytes, size_t len, char *ret_hex)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < len; i++) {
        ret_hex[2 * i] = digits[bytes[i] >> 4];
        ret_hex[2 * i + 1] = digits[bytes[i] & 15];
    }
    ret_hex[2 * len] = '\0';
}

/** What is signed. @return its length */
static size_t write_statement(const Head *head, char ret_line[HEAD_LINE_SIZE])
{
    char chain[UUID_URN_LEN];
    char hash[2 * CHAIN_HASH_BYTES + 1];
    char key[2 * HEAD_KEY_BYTES + 1];
    _cleanup_(arena_freep) Arena *arena = arena_new();
    Str time = clock_iso8601(arena, head->signed_us);
    uuid_format_urn(head->chain, chain);
    hex_of(head->hash.bytes, sizeof(head->hash.bytes), hash);
    hex_of(head->key, sizeof(head->key), key);
    int len = snprintf(ret_line, HEAD_LINE_SIZE,
                       "musubi-audit-head-1 chain=%.*s purpose=%s sequence=%" PRIu64
                       " hash=%s time=%.*s key=%s",
                       UUID_URN_LEN, chain, head_purpose_names[head->purpose], head->sequence, hash,
                       STR_ARG(time), key);
    return (size_t)len;
}

void head_write(const Head *head, char ret_line[HEAD_LINE_SIZE])
{
    char signature[2 * HEAD_SIGNATURE_BYTES + 1];
    size_t len = write_statement(head, ret_line);
    hex_of(head->signature, sizeof(head->signature), signature);
    (void)snprintf(ret_line + len, HEAD_LINE_SIZE - len, SIGNATURE_MARK "%s", signature);
}

/** Takes " NAME=" and the value behind it. */
static bool take(Str *rest, Str name, Str *ret_value)
{
    Str field = STR_EMPTY;
    if (!str_split_next(rest, ' ', &field) || !str_starts_with(field, name)) {
        return false;
    }
    *ret_value = str_from_offset(field, name.len);
    return true;
}

static bool read_purpose(Str text, HeadPurpose *ret_purpose)
{
    for (int i = 0; i < HEAD_PURPOSE_COUNT; i++) {
        if (str_equal(text, str_from(head_purpose_names[i]))) {
            *ret_purpose = (HeadPurpose)i;
            return true;
        }
    }
    return false;
}

bool head_read(Str line, Head *ret_head)
{
    Head head = {0};
    Instant time;
    Str rest = str_trim(line);
    Str value = STR_EMPTY;
    bool is_good = take(&rest, STR("musubi-audit-head-1"), &value) && str_is_empty(value) &&
                   take(&rest, STR("chain="), &value) && uuid_parse_urn(value, &head.chain) &&
                   take(&rest, STR("purpose="), &value) && read_purpose(value, &head.purpose) &&
                   take(&rest, STR("sequence="), &value) && str_to_u64(value, &head.sequence) &&
                   take(&rest, STR("hash="), &value) &&
                   str_unhex(value, head.hash.bytes, sizeof(head.hash.bytes)) &&
                   take(&rest, STR("time="), &value) && instant_parse(value, &time) &&
                   take(&rest, STR("key="), &value) &&
                   str_unhex(value, head.key, sizeof(head.key)) &&
                   take(&rest, STR("signature="), &value) &&
                   str_unhex(value, head.signature, sizeof(head.signature)) && str_is_empty(rest);
    if (!is_good) {
        return false;
    }
    char canonical[HEAD_LINE_SIZE];
    head.signed_us = time.utc_us;
    head_write(&head, canonical); /* one way to write it: what is kept is what was signed */
    if (!str_equal(str_trim(line), str_from(canonical))) {
        return false;
    }
    *ret_head = head;
    return true;
}

/* ---- key ---- */

static EVP_PKEY *make_key(const char *path, int *ret_error)
{
    EVP_PKEY *pkey = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    int file = pkey ? open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600) : -1;
    FILE *out = file >= 0 ? fdopen(file, "w") : NULL;
    *ret_error = out ? 0 : errno;
    if (out) {
        bool is_written = PEM_write_PrivateKey(out, pkey, NULL, NULL, 0, NULL, NULL) == 1 &&
                          fflush(out) == 0 && fsync(file) == 0;
        *ret_error = is_written ? 0 : EIO;
        (void)fclose(out);
    }
    if (*ret_error != 0) {
        EVP_PKEY_free(pkey);
        return NULL;
    }
    return pkey;
}

static EVP_PKEY *read_key(const char *path, int *ret_error)
{
    FILE *in = fopen(path, "re");
    *ret_error = in ? 0 : errno;
    if (!in) {
        return NULL;
    }
    EVP_PKEY *pkey = PEM_read_PrivateKey(in, NULL, NULL, NULL);
    (void)fclose(in);
    if (!pkey || !EVP_PKEY_is_a(pkey, "ED25519")) {
        EVP_PKEY_free(pkey);
        *ret_error = EINVAL;
        return NULL;
    }
    return pkey;
}

HeadKey *head_key_open(const char *path, bool may_make, char *ret_problem, size_t problem_size)
{
    int error = 0;
    EVP_PKEY *pkey = read_key(path, &error);
    if (!pkey && error == ENOENT && may_make) {
        pkey = make_key(path, &error);
    }
    if (!pkey) {
        (void)snprintf(ret_problem, problem_size, "%s: %s", path,
                       error == EINVAL ? "no Ed25519 key in PEM form" : strerror(error));
        return NULL;
    }
    HeadKey *key = HEAP_NEW(HeadKey);
    key->pkey = pkey;
    return key;
}

void head_key_free(HeadKey *key)
{
    if (key) {
        EVP_PKEY_free(key->pkey);
        free(key);
    }
}

void head_key_public(const HeadKey *key, uint8_t ret_key[HEAD_KEY_BYTES])
{
    size_t len = HEAD_KEY_BYTES;
    if (EVP_PKEY_get_raw_public_key(key->pkey, ret_key, &len) != 1 || len != HEAD_KEY_BYTES) {
        abort(); /* every Ed25519 key has one */
    }
}

/* ---- signature ---- */

void head_sign(Head *head, const HeadKey *key)
{
    char line[HEAD_LINE_SIZE];
    size_t signature_len = sizeof(head->signature);
    head_key_public(key, head->key);
    head->signed_us = clock_utc_us() / 1000 * 1000;
    size_t len = write_statement(head, line);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    if (!context || EVP_DigestSignInit(context, NULL, NULL, NULL, key->pkey) != 1 ||
        EVP_DigestSign(context, head->signature, &signature_len, (const unsigned char *)line,
                       len) != 1) {
        abort(); /* Ed25519 of memory has no way to fail */
    }
    EVP_MD_CTX_free(context);
}

bool head_is_signed(const Head *head)
{
    char line[HEAD_LINE_SIZE];
    size_t len = write_statement(head, line);
    EVP_PKEY *pkey =
        EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, head->key, sizeof(head->key));
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool is_signed = pkey && context &&
                     EVP_DigestVerifyInit(context, NULL, NULL, NULL, pkey) == 1 &&
                     EVP_DigestVerify(context, head->signature, sizeof(head->signature),
                                      (const unsigned char *)line, len) == 1;
    EVP_MD_CTX_free(context);
    EVP_PKEY_free(pkey);
    return is_signed;
}
