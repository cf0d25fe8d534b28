#include "lib/base/uuid.h"

#include <openssl/sha.h>

#include "lib/base/clock.h"
#include "lib/base/random.h"

static const char urn_prefix[] = "urn:uuid:";
#define URN_PREFIX_LEN (sizeof(urn_prefix) - 1)

static void set_version(Uuid *uuid, unsigned version)
{
    uuid->bytes[6] = (uint8_t)((uuid->bytes[6] & 0x0f) | (version << 4));
    uuid->bytes[8] = (uint8_t)((uuid->bytes[8] & 0x3f) | 0x80);
}

Uuid uuid_new(void)
{
    Uuid uuid;
    random_bytes(uuid.bytes, sizeof(uuid.bytes));
    uint64_t ms = (uint64_t)clock_utc_us() / 1000;
    for (int i = 5; i >= 0; i--) {
        uuid.bytes[i] = (uint8_t)ms;
        ms >>= 8;
    }
    set_version(&uuid, 7);
    return uuid;
}

/** A bijective mixing step (finalizer of SplitMix64). */
static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

Uuid uuid_derive(Uuid parent, uint32_t ordinal)
{
    uint64_t half[2];
    memcpy(half, parent.bytes, sizeof(half));
    half[0] = mix(half[0] + (ordinal + 1) * 0x9e3779b97f4a7c15u);
    half[1] = mix(half[1] ^ half[0]);
    Uuid uuid;
    memcpy(uuid.bytes, half, sizeof(half));
    set_version(&uuid, 8);
    return uuid;
}

Uuid uuid_digest(Str text)
{
    unsigned char sha256[SHA256_DIGEST_LENGTH];
    SHA256((const unsigned char *)text.data, text.len, sha256);
    Uuid digest;
    memcpy(digest.bytes, sha256, sizeof(digest.bytes));
    return digest;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool has_dash_before(size_t byte)
{
    return byte == 4 || byte == 6 || byte == 8 || byte == 10;
}

bool uuid_parse_urn(Str urn, Uuid *ret_uuid)
{
    if (urn.len != UUID_URN_LEN || memcmp(urn.data, urn_prefix, URN_PREFIX_LEN) != 0) {
        return false;
    }
    const char *text = urn.data + URN_PREFIX_LEN;
    Uuid uuid;
    for (size_t i = 0; i < 16; i++) {
        if (has_dash_before(i) && *text++ != '-') {
            return false;
        }
        int high = hex_value(text[0]);
        int low = hex_value(text[1]);
        if (high < 0 || low < 0) {
            return false;
        }
        uuid.bytes[i] = (uint8_t)(high << 4 | low);
        text += 2;
    }
    *ret_uuid = uuid;
    return true;
}

void uuid_format_urn(Uuid uuid, char *ret_text)
{
    static const char hex[] = "0123456789abcdef";
    static const unsigned char places[16] = {0,  2,  4,  6,  9,  11, 14, 16,
                                             19, 21, 24, 26, 28, 30, 32, 34};
    memcpy(ret_text, urn_prefix, URN_PREFIX_LEN);
    char *text = ret_text + URN_PREFIX_LEN;
    for (size_t i = 0; i < 16; i++) {
        text[places[i]] = hex[uuid.bytes[i] >> 4];
        text[places[i] + 1] = hex[uuid.bytes[i] & 15];
    }
    text[8] = text[13] = text[18] = text[23] = '-';
}

Str uuid_urn(Arena *arena, Uuid uuid)
{
    char *text = arena_alloc(arena, UUID_URN_LEN);
    uuid_format_urn(uuid, text);
    return (Str){text, UUID_URN_LEN};
}

bool uuid_equal(Uuid a, Uuid b)
{
    return memcmp(a.bytes, b.bytes, sizeof(a.bytes)) == 0;
}

int uuid_compare(const void *a, const void *b)
{
    return memcmp(((const Uuid *)a)->bytes, ((const Uuid *)b)->bytes,
                  sizeof(((const Uuid *)a)->bytes));
}
