#pragma once

#include "repository/imaging/imaging.h"
#include "server/stream_listener.h"

/**
 * DICOM listeners, plain on loopback or with mutual TLS (PS3.15 B.1; ITI TF-2 3.19): each
 * association has a process of its own that speaks PS3.8 and PS3.7, to which its bytes are passed
 * on.
 */
typedef struct DicomListener DicomListener;

/** All is borrowed. */
typedef struct DicomListenerConfig {
    StreamListenerConfig stream; /* but what the listener itself sets */
    Imaging *imaging;
    void *ctx;
    /** A request of an association was answered, or the association refused. */
    void (*finished)(void *ctx, Request *req, bool is_good);
} DicomListenerConfig;

/** Binds and listens; NULL and the reason on failure. Accepts only after dicom_listener_start(). */
DicomListener *dicom_listener_bind(const DicomListenerConfig *config, char *ret_problem,
                                   size_t problem_size);

/** Starts the thread that accepts. False and the reason on failure. */
bool dicom_listener_start(DicomListener *listener, char *ret_problem, size_t problem_size);

/** Takes no new associations, waits until requests in work are answered, and frees. NULL is fine.
 */
void dicom_listener_free(DicomListener *listener);
