#pragma once

#include "lib/base/body.h"
#include "lib/fhir/parameters.h"
#include "repository/imaging/imaging.h"

/** DICOMweb and WADO-URI (PS3.18; RAD TF-2 4.55, 4.107, 4.108, 4.129): what the server's table
 * dicomweb_transactions.def names. */

/** Variable parts of a path. */
#define DICOMWEB_PATH_VALUES 4

/**
 * One request with room for its reply: what a handler gets.
 *
 * The handler sets status and reply_type, and either reply or source, and returns 0; or it returns
 * a negative ErrorCode, and the reply is made of req->errors. What it appended to the audit trail
 * is durable before the first byte leaves. Everything but reply is in req->arena.
 */
typedef struct DicomwebExchange {
    Request *req;
    Str base;         /* "https://host:8443/dicomweb", for URLs in answers */
    Str query;        /* as it was sent, without the question mark */
    Str accept;       /* header Accept, or parameter accept (PS3.18 8.3.3.1); empty: anything */
    Str content_type; /* of the request's body */
    Str path[DICOMWEB_PATH_VALUES]; /* study, series, instance, and frames or place; empty: none */
    const char *offered;            /* media types of the row, for who asks for others */
    FhirParameters parameters;      /* of the query string */
    void *receiving;                /* of who takes a body */

    int status;
    Str reply_type;
    StrBuf reply;
    BodySource source; /* next is NULL: reply is all there is */
    Str warning;       /* header Warning; empty: none */
} DicomwebExchange;

typedef int (*DicomwebHandler)(Imaging *imaging, DicomwebExchange *exchange);

/** A body, taken while it arrives. Functions return 0 or a negative ErrorCode. */
typedef struct DicomwebReceiver {
    int (*begin)(Imaging *imaging, DicomwebExchange *exchange);
    int (*push)(DicomwebExchange *exchange, const void *bytes, size_t len);
    /** Frees exchange->receiving: also after the handler, also where begin() failed. */
    void (*done)(DicomwebExchange *exchange);
} DicomwebReceiver;

/* WADO-RS (PS3.18 10.4) */
int dicomweb_retrieve(Imaging *imaging, DicomwebExchange *exchange);
int dicomweb_metadata(Imaging *imaging, DicomwebExchange *exchange);
int dicomweb_frames(Imaging *imaging, DicomwebExchange *exchange);
int dicomweb_bulk_data(Imaging *imaging, DicomwebExchange *exchange);
int dicomweb_rendered(Imaging *imaging, DicomwebExchange *exchange);
int dicomweb_thumbnail(Imaging *imaging, DicomwebExchange *exchange);

/* QIDO-RS (PS3.18 10.6) */
int dicomweb_studies(Imaging *imaging, DicomwebExchange *exchange);
int dicomweb_series(Imaging *imaging, DicomwebExchange *exchange);
int dicomweb_instances(Imaging *imaging, DicomwebExchange *exchange);

/* STOW-RS (PS3.18 10.5) */
extern const DicomwebReceiver dicomweb_store_receiver;
int dicomweb_store(Imaging *imaging, DicomwebExchange *exchange);

/* WADO-URI (PS3.18 9) */
int dicomweb_uri(Imaging *imaging, DicomwebExchange *exchange);
