#include "lib/base/request.h"

#include "lib/base/clock.h"
#include "lib/base/random.h"

Request *request_new(unsigned timeout_ms)
{
    /* Crockford's base 32: no I, L, O, U, so that a reference survives a telephone call. */
    static const char digits[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    Arena *arena = arena_new();
    Request *req = ARENA_NEW(arena, Request);
    req->arena = arena;
    error_list_init(&req->errors, arena);
    req->transaction = "";
    unsigned char random[REQUEST_REF_LEN];
    random_bytes(random, sizeof(random));
    for (size_t i = 0; i < REQUEST_REF_LEN; i++) {
        req->ref[i] = digits[random[i] & 31];
    }
    req->started_ns = clock_now_ns();
    req->deadline_ns = req->started_ns + (int64_t)timeout_ms * 1000000;
    return req;
}

void request_free(Request *req)
{
    if (req) {
        arena_free(req->arena);
    }
}

int request_confirm(Request *req)
{
    Confirmation *awaited = req->awaited;
    if (awaited) {
        req->awaited = NULL;
        req->unconfirmed = awaited->await(awaited, req);
    }
    return req->unconfirmed;
}
