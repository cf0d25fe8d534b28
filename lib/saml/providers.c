#include "lib/saml/providers.h"

#include <openssl/x509.h>
#include <pthread.h>
#include <stdlib.h>

#include "lib/base/heap.h"
#include "lib/saml/signature.h"

typedef struct Pinned {
    Str issuer;
    SamlKey key;
    int64_t from_us;
    int64_t to_us;
} Pinned;

/** Never changed once it is read. */
typedef struct Snapshot {
    Arena *arena;
    Str text; /* of all rows, to see whether they changed */
    Pinned *pinned;
    size_t count;
    size_t cap;
} Snapshot;

struct SamlProviders {
    pthread_rwlock_t lock;
    Snapshot snapshot;
    uint64_t generation;
};

static const DbStatement select_providers = {
    "saml_providers",
    "SELECT issuer, certificate, valid_from, valid_to, fingerprint FROM identity_provider"
    " WHERE revoked_at IS NULL ORDER BY issuer, fingerprint",
};

SamlProviders *saml_providers_new(void)
{
    SamlProviders *providers = HEAP_NEW(SamlProviders);
    pthread_rwlock_init(&providers->lock, NULL);
    providers->snapshot.arena = arena_new();
    return providers;
}

void saml_providers_free(SamlProviders *providers)
{
    if (!providers) {
        return;
    }
    arena_free(providers->snapshot.arena);
    pthread_rwlock_destroy(&providers->lock);
    free(providers);
}

static void free_key(void *key)
{
    EVP_PKEY_free(key);
}

static EVP_PKEY *key_of(Str certificate)
{
    const unsigned char *der = (const unsigned char *)certificate.data;
    X509 *x509 = d2i_X509(NULL, &der, (long)certificate.len);
    EVP_PKEY *key = x509 ? X509_get_pubkey(x509) : NULL;
    X509_free(x509);
    if (key && !saml_key_is_good(key)) {
        EVP_PKEY_free(key);
        return NULL;
    }
    return key;
}

/** @return false: no certificate, or too weak */
static bool add(Snapshot *snapshot, Str issuer, Str certificate, int64_t from_us, int64_t to_us)
{
    EVP_PKEY *key = key_of(certificate);
    if (!key) {
        return false;
    }
    if (snapshot->count == snapshot->cap) {
        size_t cap = snapshot->cap ? 2 * snapshot->cap : 8;
        Pinned *grown = ARENA_ARRAY(snapshot->arena, Pinned, cap);
        if (snapshot->count > 0) {
            memcpy(grown, snapshot->pinned, snapshot->count * sizeof(*grown));
        }
        snapshot->pinned = grown;
        snapshot->cap = cap;
    }
    arena_defer(snapshot->arena, free_key, key);
    snapshot->pinned[snapshot->count++] = (Pinned){str_dup(snapshot->arena, issuer),
                                                   {key, str_dup(snapshot->arena, certificate)},
                                                   from_us,
                                                   to_us};
    return true;
}

/** Whatever of the rows matters, as one text. */
static Str text_of(Arena *arena, const DbResult *rows)
{
    _cleanup_(strbuf_done) StrBuf text = {0};
    for (int row = 0; row < db_rows(rows); row++) {
        Str issuer = db_text(rows, row, 0);
        strbuf_printf(&text, "%zu:", issuer.len);
        strbuf_append(&text, issuer);
        strbuf_append(&text, db_text(rows, row, 4));
        strbuf_printf(&text, " %lld %lld\n", (long long)db_timestamp(rows, row, 2),
                      (long long)db_timestamp(rows, row, 3));
    }
    return str_dup(arena, strbuf_str(&text));
}

static void replace(SamlProviders *providers, Snapshot fresh)
{
    pthread_rwlock_wrlock(&providers->lock);
    Snapshot old = providers->snapshot;
    providers->snapshot = fresh;
    providers->generation++;
    pthread_rwlock_unlock(&providers->lock);
    arena_free(old.arena);
}

int saml_providers_refresh(SamlProviders *providers, DbConn *conn, Request *req)
{
    DbResult *rows = NULL;
    int rc = db_exec(conn, req, &select_providers, NULL, &rows);
    if (rc < 0) {
        return rc;
    }
    Snapshot fresh = {.arena = arena_new()};
    fresh.text = text_of(fresh.arena, rows);
    /* only this function changes the text, and one thread calls it */
    if (str_equal(fresh.text, providers->snapshot.text)) {
        arena_free(fresh.arena);
        return 0;
    }
    for (int row = 0; row < db_rows(rows); row++) {
        (void)add(&fresh, db_text(rows, row, 0), db_text(rows, row, 1), db_timestamp(rows, row, 2),
                  db_timestamp(rows, row, 3)); /* what idp add took is good */
    }
    replace(providers, fresh);
    return 0;
}

bool saml_providers_pin(SamlProviders *providers, Str issuer, Str certificate, int64_t from_us,
                        int64_t to_us)
{
    pthread_rwlock_wrlock(&providers->lock);
    bool is_good = add(&providers->snapshot, issuer, certificate, from_us, to_us);
    providers->generation += is_good;
    pthread_rwlock_unlock(&providers->lock);
    return is_good;
}

static int64_t next_change(const Pinned *pinned, int64_t now_us)
{
    return pinned->from_us > now_us ? pinned->from_us
           : pinned->to_us > now_us ? pinned->to_us
                                    : INT64_MAX;
}

SamlKeys saml_providers_find(SamlProviders *providers, Arena *arena, Str issuer, int64_t now_us)
{
    SamlKeys found = {.until_us = INT64_MAX};
    pthread_rwlock_rdlock(&providers->lock);
    const Snapshot *snapshot = &providers->snapshot;
    found.generation = providers->generation;
    found.keys = ARENA_ARRAY(arena, SamlKey, snapshot->count);
    for (size_t i = 0; i < snapshot->count; i++) {
        const Pinned *pinned = &snapshot->pinned[i];
        if (!str_equal(pinned->issuer, issuer)) {
            continue;
        }
        found.known_count++;
        found.until_us = MIN(found.until_us, next_change(pinned, now_us));
        if (pinned->from_us <= now_us && now_us < pinned->to_us) {
            EVP_PKEY_up_ref(pinned->key.key);
            arena_defer(arena, free_key, pinned->key.key);
            found.keys[found.count++] =
                (SamlKey){pinned->key.key, str_dup(arena, pinned->key.certificate)};
        }
    }
    pthread_rwlock_unlock(&providers->lock);
    return found;
}
