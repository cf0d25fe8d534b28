#include "pix/pix.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/base/heap.h"
#include "lib/base/oid.h"
#include "pix/pix_state.h"
#include "pix/subscribers/subscribers.h"

#define START_TIMEOUT_MS 30000

/* ---- life ---- */

static bool open_authorities(Pix *pix, Request *req)
{
    if (authority_directory_open(pix->config.pool, req, pix->authority_oid,
                                 pix->authority_namespace, &pix->authorities) < 0) {
        return false;
    }
    pix->authority_id = authority_directory_hold(pix->authorities, req->arena)->affinity_domain->id;
    return true;
}

static bool open_subscribers(Pix *pix, char *ret_problem, size_t problem_size)
{
    const SubscribersConfig config = {
        .pool = pix->config.pool,
        .audit = pix->config.audit,
        .authorities = pix->authorities,
        .tls = pix->config.tls,
        .sending_application = pix->config.sending_application,
        .sending_facility = pix->config.sending_facility,
        .manager_oid = pix->config.manager_oid,
        .is_sending = pix->config.has_subscribers,
    };
    pix->subscribers = subscribers_new(&config, ret_problem, problem_size);
    return pix->subscribers != NULL;
}

Pix *pix_new(const PixConfig *config, char *ret_problem, size_t problem_size)
{
    Str oid = str_from(config->patient_id_authority);
    if (!oid_is_valid(oid)) {
        (void)snprintf(ret_problem, problem_size, "patient_id_authority \"%.*s\" is not an OID",
                       STR_ARG(oid));
        return NULL;
    }
    Pix *pix = HEAP_NEW(Pix);
    pix->config = *config;
    pix->authority_oid = oid;
    pix->authority_namespace = str_from(config->patient_id_namespace);

    Request *req = request_new(START_TIMEOUT_MS);
    bool is_open = open_authorities(pix, req);
    request_free(req);
    if (!is_open) {
        (void)snprintf(ret_problem, problem_size, "the identity tables cannot be read: %s",
                       db_last_failure());
    }
    if (!is_open || !open_subscribers(pix, ret_problem, problem_size)) {
        pix_free(pix);
        return NULL;
    }
    return pix;
}

void pix_free(Pix *pix)
{
    if (!pix) {
        return;
    }
    subscribers_free(pix->subscribers);
    authority_directory_free(pix->authorities);
    free(pix);
}

void pix_set_mover(Pix *pix, const PatientMover *mover)
{
    pix->mover = mover;
}

int pix_refresh(Pix *pix, Request *req)
{
    int rc = authority_directory_refresh(pix->authorities, req);
    return rc < 0 ? rc : subscribers_refresh(pix->subscribers, req);
}

int pix_announce_known(Pix *pix, Request *req, Str registry, int64_t *ret_count)
{
    return subscribers_announce_known(pix->subscribers, req, registry, ret_count);
}

int pix_notification_counts(Pix *pix, Request *req, NotificationCounts *ret_counts)
{
    return subscribers_counts(pix->subscribers, req, ret_counts);
}
