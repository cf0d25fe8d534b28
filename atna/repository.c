#include "atna/repository.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "atna/audit.h"
#include "atna/loader.h"
#include "lib/base/clock.h"
#include "lib/base/heap.h"
#include "lib/base/log.h"
#include "lib/base/thread.h"

/** What is received is durable after twice this time at the latest, on a disk that keeps up. */
#define SYNC_EVERY_NS INT64_C(20000000)

struct AuditRepository {
    AuditRepositoryConfig config;
    Arena *arena;
    Spool *spool; /* of received messages */
    Loader *loader;
    Worker syncer;
    bool is_syncer_started;
    atomic_uint_fast64_t ticket; /* of the last message, for the syncer */
    atomic_uint_fast64_t received;
    atomic_uint_fast64_t loaded;
    atomic_uint_fast64_t loaded_received;
    atomic_uint_fast64_t sequence;
};

/* ---- senders ---- */

/** The subject of a certificate may be longer than a key of a table. */
#define SENDER_NODE_MAX_BYTES 512

static const char *const transport_prefixes[AUDIT_TRANSPORT_COUNT] = {
    [AUDIT_OWN] = "own:", [AUDIT_TLS] = "tls:", [AUDIT_UDP] = "udp:"};

Str audit_sender_text(Arena *arena, const AuditSender *sender)
{
    Str node = str_slice(sender->node, 0, SENDER_NODE_MAX_BYTES);
    Str text = str_printf(arena, "%s%.*s@%.*s", transport_prefixes[sender->transport],
                          STR_ARG(node), STR_ARG(sender->address));
    return str_printable(arena, text);
}

/** The last @ counts: addresses have none. */
static size_t find_address(Str text)
{
    const char *at = memrchr(text.data, '@', text.len);
    return at ? (size_t)(at - text.data) : SIZE_MAX;
}

bool audit_sender_parse(Str text, AuditSender *ret_sender)
{
    size_t at = str_is_empty(text) ? SIZE_MAX : find_address(text);
    for (int i = 0; at != SIZE_MAX && i < AUDIT_TRANSPORT_COUNT; i++) {
        Str prefix = str_from(transport_prefixes[i]);
        if (str_starts_with(text, prefix)) {
            *ret_sender =
                (AuditSender){.transport = (AuditTransport)i,
                              .node = str_slice(text, prefix.len, at - MIN(at, prefix.len)),
                              .address = str_from_offset(text, at + 1)};
            return true;
        }
    }
    return false;
}

/* ---- messages ---- */

void audit_parcel_add(AuditParcel *parcel, Str sender, uint64_t defects, Str message)
{
    const ReceivedMessage received = {.sender = sender, .defects = defects, .raw = message};
    size_t begin = spool_frame_begin(&parcel->frames);
    received_write(&parcel->frames, &received);
    spool_frame_end(&parcel->frames, begin, clock_utc_us());
    parcel->message_count++;
}

void audit_parcel_done(AuditParcel *parcel)
{
    strbuf_done(&parcel->frames);
    parcel->message_count = 0;
}

int audit_repository_receive(AuditRepository *repository, AuditParcel *parcel)
{
    uint64_t count = parcel->message_count;
    uint64_t ticket = 0;
    if (count == 0) {
        return 0;
    }
    atomic_fetch_add(&repository->received, count); /* the loader may be faster than our return */
    int rc = spool_append_frames(repository->spool, strbuf_str(&parcel->frames), &ticket);
    if (rc < 0) {
        atomic_fetch_sub(&repository->received, count);
        return rc;
    }
    strbuf_clear(&parcel->frames);
    parcel->message_count = 0;
    uint_fast64_t last = atomic_load(&repository->ticket);
    while (last < ticket && !atomic_compare_exchange_weak(&repository->ticket, &last, ticket)) {
    }
    return 0;
}

/** Syncs what was received since the last time. */
static void *sync_run(void *ctx)
{
    AuditRepository *repository = ctx;
    uint64_t synced = 0;
    bool goes_on = true;
    while (goes_on) {
        goes_on = worker_rest_until(&repository->syncer, clock_now_ns() + SYNC_EVERY_NS);
        uint64_t ticket = atomic_load(&repository->ticket);
        if (ticket > synced && spool_sync(repository->spool, ticket) < 0) {
            log_error("event=audit_receive_spool_failed msg=\"nothing more is received until the "
                      "server is started again\"");
            return NULL;
        }
        synced = ticket;
    }
    return NULL;
}

bool audit_repository_is_writable(AuditRepository *repository)
{
    return spool_is_trusted(repository->spool);
}

void audit_repository_counts(AuditRepository *repository, AuditRepositoryCounts *ret_counts)
{
    uint64_t loaded_received = atomic_load(&repository->loaded_received);
    uint64_t received = atomic_load(&repository->received);
    *ret_counts = (AuditRepositoryCounts){
        .received = received,
        .loaded = atomic_load(&repository->loaded),
        .waiting = received - MIN(received, loaded_received),
        .sequence = atomic_load(&repository->sequence),
    };
}

/* ---- opening ---- */

static bool open_loader(AuditRepository *repository, const char *received_directory,
                        char *ret_problem, size_t problem_size)
{
    const AuditRepositoryConfig *config = &repository->config;
    const AuditSender own = {.transport = AUDIT_OWN, .node = str_from(config->source_id)};
    const LoaderConfig loader = {
        .repository = config,
        .received = repository->spool,
        .received_directory = received_directory,
        .own = config->audit ? config->audit->spool : NULL,
        .own_sender = audit_sender_text(repository->arena, &own),
        .loaded = &repository->loaded,
        .loaded_received = &repository->loaded_received,
        .sequence = &repository->sequence,
    };
    repository->loader = loader_new(&loader, ret_problem, problem_size);
    return repository->loader != NULL;
}

static bool start_syncer(AuditRepository *repository, char *ret_problem, size_t problem_size)
{
    int rc = worker_start(&repository->syncer, sync_run, repository);
    repository->is_syncer_started = rc == 0;
    if (rc != 0) {
        (void)snprintf(ret_problem, problem_size, "no thread for received audit messages: %s",
                       strerror(rc));
    }
    return rc == 0;
}

AuditRepository *audit_repository_new(const AuditRepositoryConfig *config, char *ret_problem,
                                      size_t problem_size)
{
    AuditRepository *repository = HEAP_NEW(AuditRepository);
    repository->config = *config;
    repository->arena = arena_new();
    const char *directory = str_printf(repository->arena, "%s/received", config->directory).data;
    repository->spool = spool_open(directory, ret_problem, problem_size);
    if (!repository->spool || !start_syncer(repository, ret_problem, problem_size) ||
        !open_loader(repository, directory, ret_problem, problem_size)) {
        audit_repository_free(repository);
        return NULL;
    }
    return repository;
}

void audit_repository_free(AuditRepository *repository)
{
    if (!repository) {
        return;
    }
    if (repository->is_syncer_started) {
        worker_stop(&repository->syncer);
    }
    loader_free(repository->loader);
    spool_close(repository->spool);
    arena_free(repository->arena);
    free(repository);
}
