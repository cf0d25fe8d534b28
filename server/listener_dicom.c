#include "server/listener_dicom.h"

#include <stdlib.h>

#include "lib/base/heap.h"
#include "server/stream_relay.h"

/** Between two requests of an association. */
#define IDLE_TIMEOUT_MS 600000

struct DicomListener {
    DicomListenerConfig config;
    StreamListener *stream;
};

/** One association. */
typedef struct OpenAssociation {
    const DicomListener *listener;
    const StreamConnection *stream;
    DicomConversation *conversation;
} OpenAssociation;

static const Principal *principal_of(void *ctx, Arena *arena)
{
    const OpenAssociation *association = ctx;
    const Principal *principal = stream_principal(association->stream, arena);
    return stream_may_go_on(association->stream, principal) ? principal : NULL;
}

static void on_finished(void *ctx, Request *req, bool is_good)
{
    const OpenAssociation *association = ctx;
    const DicomListenerConfig *config = &association->listener->config;
    config->finished(config->ctx, req, is_good);
}

static bool is_busy(void *ctx)
{
    const OpenAssociation *association = ctx;
    return imaging_conversation_is_busy(association->conversation);
}

static void serve_association(void *ctx, const StreamConnection *stream)
{
    OpenAssociation association = {.listener = ctx, .stream = stream};
    const DicomPeer peer = {
        .ctx = &association,
        .address = stream_address(stream),
        .principal = principal_of,
        .finished = on_finished,
    };
    StreamRelay relay = {
        .idle_timeout_ms = IDLE_TIMEOUT_MS, .ctx = &association, .is_busy = is_busy};
    association.conversation =
        imaging_conversation_start(association.listener->config.imaging, &peer, &relay.socket);
    if (association.conversation) {
        stream_relay_run(stream, &relay);
        imaging_conversation_end(association.conversation);
    }
}

DicomListener *dicom_listener_bind(const DicomListenerConfig *config, char *ret_problem,
                                   size_t problem_size)
{
    DicomListener *listener = HEAP_NEW(DicomListener);
    listener->config = *config;
    listener->config.stream.ctx = listener;
    listener->config.stream.converse = serve_association;
    listener->stream = stream_listener_bind(&listener->config.stream, ret_problem, problem_size);
    if (!listener->stream) {
        free(listener);
        return NULL;
    }
    return listener;
}

bool dicom_listener_start(DicomListener *listener, char *ret_problem, size_t problem_size)
{
    return stream_listener_start(listener->stream, ret_problem, problem_size);
}

void dicom_listener_free(DicomListener *listener)
{
    if (listener) {
        stream_listener_free(listener->stream);
        free(listener);
    }
}
