#pragma once

#include "lib/base/request.h"
#include "lib/db/db.h"
#include "lib/saml/check.h"
#include "lib/xml/read.h"

/**
 * XUA (ITI-40): who the user behind a SOAP message is, by the SAML 2.0 assertion in its
 * wsse:Security header. The only header of this folder that a server needs.
 */
typedef struct Saml Saml;

/** Everything is borrowed. */
typedef struct SamlConfig {
    DbPool *pool;
    const char *audiences;      /* names of this service, separated by commas */
    const char *authn_contexts; /* accepted classes, separated by commas; empty: every one */
    unsigned skew_ms;
    bool is_once_only; /* no assertion is taken twice, whether it says OneTimeUse or not */
} SamlConfig;

/** Once per process, after xml_init(). */
void saml_init(void);

Saml *saml_new(const SamlConfig *config);
/** saml_free(NULL) is fine. */
void saml_free(Saml *saml);

/** Takes over what operators changed of identity providers; now and then forgets assertions whose
 * time is over. Called by one thread, every second. */
int saml_refresh(Saml *saml, Request *req) MUST_CHECK;

/** Where a message keeps its assertion: for xml_reader_keep(). */
extern const XmlKeep SAML_KEEP;

/** A received message. */
typedef struct SamlMessage {
    const XmlNode *envelope;
    const XmlKept *security; /* NULL: it has no wsse:Security header */
} SamlMessage;

/**
 * Sets req->user to the user whom the message's assertion names, or leaves it NULL where there is
 * none and none is required.
 *
 * The first use of an assertion is being made durable when this returns, and request_confirm()
 * waits for it: then the assertion is bound to who presented it, and nobody else is served with it,
 * also after a restart and by other processes. Where it turns out to be bound to another,
 * request_confirm() refuses the request as this function does, and forgets user and rules.
 *
 * @return 0, or the negative code of the error that the peer is told; req->refusal then has the
 *         word for the log. ERR_WSSE_..., ERR_DATABASE, ERR_DATABASE_BUSY
 *
 * Spec: ITI TF-2 3.40; SAML 2.0 Core; WS-Security SAML Token Profile 1.1.
 */
int saml_authenticate(Saml *saml, Request *req, const SamlMessage *message,
                      bool is_required) MUST_CHECK;
