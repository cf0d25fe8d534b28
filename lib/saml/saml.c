#include "lib/saml/saml.h"

#include <stdlib.h>
#include <string.h>

#include "lib/access/access.h"
#include "lib/base/clock.h"
#include "lib/base/heap.h"
#include "lib/saml/cache.h"
#include "lib/saml/names.h"
#include "lib/saml/replay.h"
#include "lib/saml/security_header.h"
#include "lib/saml/signature.h"

/** How often expired assertions are forgotten. */
#define FORGET_EVERY_NS (60 * INT64_C(1000000000))

struct Saml {
    SamlConfig config;
    Arena *arena; /* of the lists */
    SamlRules rules;
    SamlProviders *providers;
    SamlCache *cache;
    SamlReplay *replay;
    int64_t forget_at_ns; /* of clock_now_ns() */
};

const XmlKeep SAML_KEEP = {.ns = NS_WSSE, .name = "Security", .depth = 3};

void saml_init(void)
{
    saml_signature_init();
}

/* ---- The verifier ---- */

/** Items between commas. */
static size_t split(Arena *arena, const char *list, const Str **ret_items)
{
    Str rest = str_from(list);
    Str item;
    Str *items = ARENA_ARRAY(arena, Str, rest.len / 2 + 1);
    size_t count = 0;
    while (str_split_next(&rest, ',', &item)) {
        item = str_trim(item);
        if (!str_is_empty(item)) {
            items[count++] = str_dup(arena, item);
        }
    }
    *ret_items = items;
    return count;
}

Saml *saml_new(const SamlConfig *config)
{
    Saml *saml = HEAP_NEW(Saml);
    saml->config = *config;
    saml->arena = arena_new();
    saml->rules.skew_us = (int64_t)config->skew_ms * 1000;
    saml->rules.audience_count = split(saml->arena, config->audiences, &saml->rules.audiences);
    saml->rules.authn_context_count =
        split(saml->arena, config->authn_contexts, &saml->rules.authn_contexts);
    saml->providers = saml_providers_new();
    saml->cache = saml_cache_new();
    saml->replay = saml_replay_new(config->pool);
    return saml;
}

void saml_free(Saml *saml)
{
    if (!saml) {
        return;
    }
    saml_replay_free(saml->replay);
    saml_cache_free(saml->cache);
    saml_providers_free(saml->providers);
    arena_free(saml->arena);
    free(saml);
}

int saml_refresh(Saml *saml, Request *req)
{
    _cleanup_(db_releasep) DbConn *conn = NULL;
    int rc = db_acquire(saml->config.pool, req, &conn);
    rc = rc < 0 ? rc : saml_providers_refresh(saml->providers, conn, req);
    if (rc == 0 && clock_now_ns() >= saml->forget_at_ns) {
        saml->forget_at_ns = clock_now_ns() + FORGET_EVERY_NS;
        rc = saml_replay_forget(conn, req);
    }
    return rc;
}

/* ---- Refusals ---- */

static const struct {
    ErrorCode error;
    const char *text;
} refusals[] = {
#define REFUSAL(error, text) {ERR_##error, text},
#include "lib/saml/refusals.def"
#undef REFUSAL
};

static int refuse(Request *req, SamlCheck check)
{
    ErrorCode error = saml_check_error(check);
    size_t i = 0;
    while (refusals[i].error != error) { /* every error of checks.def has a row */
        i++;
    }
    req->refusal = saml_check_word(check);
    return error_add(&req->errors, error, NULL, "%s", refusals[i].text);
}

/* ---- One message ---- */

/** Who presents the assertion: the certificate of the TLS connection, or the node whose rights a
 * plain listener gives. */
static Str name_presenter(const Request *req)
{
    const Principal *principal = req->principal;
    Str certificate = principal->certificate_fingerprint;
    Str name = str_printf(req->arena, "%s:%.*s", str_is_empty(certificate) ? "plain" : "tls",
                          STR_ARG(str_is_empty(certificate) ? principal->node_name : certificate));
    return str_slice(name, 0, SAML_PRESENTER_SIZE - 1);
}

/** What is read from the assertion, how it was verified, and what is still awaited. */
typedef struct Verified {
    Confirmation confirmation; /* of the request */
    const Saml *saml;
    SamlClaims claims;
    SamlSeen seen;
    bool is_seen; /* by this process, as seen says */
    Str presenter;
    SamlPresentation *presentation; /* NULL: seen says to whom it is bound */
    ErrorList errors;               /* of the request before it went on */
} Verified;

static SamlCheck verify(const Saml *saml, Request *req, SamlCandidate *candidate,
                        const SamlRules *rules, Verified *verified)
{
    SamlCheck check = saml_assertion_inspect(req->arena, candidate);
    if (check) {
        return check;
    }
    SamlKeys keys =
        saml_providers_find(saml->providers, req->arena,
                            xml_child_text(candidate->tree, NS_SAML, "Issuer"), rules->now_us);
    SamlSeen seen = {.digest = saml_assertion_digest(candidate->dom)};
    verified->is_seen = saml_cache_find(saml->cache, &seen.digest, &verified->seen) &&
                        verified->seen.generation == keys.generation &&
                        verified->seen.until_us > rules->now_us;
    if (!verified->is_seen) {
        seen.generation = keys.generation;
        seen.until_us = keys.until_us;
        verified->seen = seen;
    }
    const XmlNode *tree = NULL;
    check = saml_assertion_verify(req->arena, candidate, &keys, verified->is_seen, &tree);
    return check ? check : saml_claims_read(req->arena, tree, rules, &verified->claims);
}

/** @return 0 with ret_use, or the negative code of the database */
static int await_use(Verified *verified, SamlUse *ret_use)
{
    *ret_use = (SamlUse){.is_first = false};
    if (!verified->presentation) {
        memcpy(ret_use->bound_to, verified->seen.presenter, sizeof(ret_use->bound_to));
        return 0;
    }
    int rc = saml_replay_await(verified->presentation, ret_use);
    if (rc == 0) {
        memcpy(verified->seen.presenter, ret_use->bound_to, sizeof(verified->seen.presenter));
        saml_cache_add(verified->saml->cache, &verified->seen);
    }
    return rc;
}

static SamlCheck check_use(const Verified *verified, const SamlUse *use)
{
    bool is_once = verified->saml->config.is_once_only || verified->claims.is_one_time;
    bool is_same = str_equal(str_from(use->bound_to), verified->presenter);
    return use->is_first ? SAML_GOOD
           : !is_same    ? SAML_USED_BY_ANOTHER_NODE
           : is_once     ? SAML_USED_BEFORE
                         : SAML_GOOD;
}

static int refuse_unknown_use(Request *req, int rc)
{
    return error_add(&req->errors, (ErrorCode)-rc, NULL,
                     "the use of the assertion could not be noted; send the same message again "
                     "later");
}

/** Confirmation.await: where the assertion does not serve the request, all that the request found
 * out meanwhile is forgotten. */
static int confirm(Confirmation *confirmation, Request *req)
{
    Verified *verified = (Verified *)confirmation;
    SamlUse use;
    int rc = await_use(verified, &use);
    SamlCheck check = rc < 0 ? SAML_GOOD : check_use(verified, &use);
    if (rc == 0 && !check) {
        return 0;
    }
    error_list_rewind(&req->errors, &verified->errors);
    req->user = NULL;
    req->rules = NULL;
    return rc < 0 ? refuse_unknown_use(req, rc) : refuse(req, check);
}

/** From here on the user counts; whether it is he who may present the assertion is awaited. */
static void begin_use(const Saml *saml, Request *req, Verified *verified)
{
    verified->saml = saml;
    verified->confirmation.await = confirm;
    verified->errors = req->errors;
    verified->presenter = name_presenter(req);
    if (!verified->is_seen) {
        verified->presentation =
            saml_replay_present(saml->replay, req->arena, &verified->claims, verified->presenter);
    }
    req->user = &verified->claims.user;
    req->awaited = &verified->confirmation;
}

static int accept(const Saml *saml, Request *req, SamlCandidate *candidate, const SamlRules *rules)
{
    Verified *verified = ARENA_NEW(req->arena, Verified);
    SamlCheck check = verify(saml, req, candidate, rules, verified);
    if (check) {
        return refuse(req, check);
    }
    begin_use(saml, req, verified);
    return verified->is_seen ? request_confirm(req) : 0;
}

int saml_authenticate(Saml *saml, Request *req, const SamlMessage *message, bool is_required)
{
    SamlRules rules = saml->rules;
    SamlCandidate candidate = {.root = message->envelope};
    rules.now_us = clock_utc_us();
    rules.peer_fingerprint = req->principal->certificate_fingerprint;
    SamlCheck check =
        saml_security_header_read(message->security ? message->security->document : NULL,
                                  rules.now_us, rules.skew_us, &candidate.dom);
    if (!check && message->security && message->security->has_comments) {
        check = SAML_COMMENT;
    }
    if (!check && !candidate.dom && is_required) {
        check = SAML_ASSERTION_MISSING;
    }
    if (check) {
        return refuse(req, check);
    }
    return candidate.dom ? accept(saml, req, &candidate, &rules) : 0;
}
