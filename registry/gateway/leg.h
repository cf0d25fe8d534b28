#pragma once

#include <pthread.h>

#include "registry/gateway/communities.h"
#include "registry/gateway/gateway_private.h"
#include "registry/gateway/kept_documents.h"

/** One request to one community, this one included, and what came back. In the arena of the request
 * that it is made for, and freed with it. */
typedef struct Leg {
    InitiatingGateway *gateway;
    GatewayService service;
    const Community *community; /* NULL: this one */
    Str home;
    Str body;               /* what is asked: XML of the body's element */
    Str headers;            /* XML of further headers */
    Str message_id;         /* of the question to another community */
    Request *req;           /* of its own: arena and deadline */
    Request reading;        /* req, with the errors of what came back */
    KeptClient *client;     /* of another community, while it is asked */
    KeptDocuments kept;     /* its documents */
    SoapReceiver *receiver; /* NULL: nothing has come */
    SoapMessage *reply;     /* NULL: none that can be read, and problem says why */
    Str problem;
    bool has_failed;    /* it did not answer, or all that it says is an error */
    const Error *error; /* the last that it is the cause of; NULL: none */
    pthread_t thread;
} Leg;

/** What all legs of one request have in common. */
typedef struct LegPlan {
    InitiatingGateway *gateway;
    GatewayService service;
    Request *req; /* that is answered by the legs */
    Str headers;  /* that go with each */
} LegPlan;

/** wsse:Security of a message as it came (TF-2 3.40: the user's assertion goes on to whoever gives
 * out the data); empty if there is none. */
Str leg_security_headers(Arena *arena, const SoapMessage *message);

/** @param community  NULL: this one
 *  @param body       borrowed */
Leg *leg_new(const LegPlan *plan, const Community *community, Str body);

/** Runs all at the same time, each until its own deadline. What the access of this community's own
 * actors needs before the reply is taken over into the request. */
void legs_run(Request *req, Leg **legs, size_t count);

/** Passes on the errors of a leg's reply, or says that there is none. What a community calls a
 * failure or a part without saying why is never taken for the whole. */
void leg_pass_errors(Leg *leg, Request *req);

/** Whether an error of the reply is about this document: in location or text (TF-2 3.39.4.1.3; RAD
 * TF-2 4.75). Of very many errors the first ones are looked at. */
bool leg_tells_of(const Leg *leg, Str unique_id);

/** Adds the error that something does not come with the home of the community that gives it (TF-2
 * 3.38.4.1.3, 3.39.5): without a home it cannot be asked for again, and nobody speaks for another
 * community. @param what  "object" or "document". @return the error */
const Error *leg_refuse_home(const Leg *leg, Request *req, Str home, const char *location,
                             const char *what, Str id);

/** The event of who asks another community (TF-2 3.38.4.2, 3.39.6). Nothing for this community: its
 * actors record it. @param error  what went wrong; NULL: nothing */
int leg_record(const Leg *leg, Request *req, const Error *error, const AuditObject *objects,
               size_t object_count) MUST_CHECK;

/** An event of this gateway as the one that is asked. @param error  as in leg_record() */
int gateway_record(const InitiatingGateway *gateway, Request *req, AuditEventType type,
                   const Error *error, const AuditObject *objects, size_t object_count) MUST_CHECK;

/** The first error that is no warning; NULL: none. */
const Error *gateway_first_error(const Request *req);
