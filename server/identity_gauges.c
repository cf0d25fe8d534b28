#include "server/identity_gauges.h"

#include <pthread.h>
#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/base/heap.h"
#include "pix/identity_counts.h"
#include "server/metrics.h"

#define RENEW_AFTER_NS (INT64_C(60) * 1000000000)

struct IdentityGauges {
    DbPool *pool;
    pthread_mutex_t lock; /* one reader counts, the others wait for what it finds */
    int64_t counts[IDENTITY_COUNT_TOTAL];
    int64_t read_ns; /* 0: never */
};

IdentityGauges *identity_gauges_new(DbPool *pool)
{
    IdentityGauges *gauges = HEAP_NEW(IdentityGauges);
    gauges->pool = pool;
    pthread_mutex_init(&gauges->lock, NULL);
    return gauges;
}

void identity_gauges_free(IdentityGauges *gauges)
{
    if (gauges) {
        pthread_mutex_destroy(&gauges->lock);
        free(gauges);
    }
}

static int renew(IdentityGauges *gauges, Request *req)
{
    _cleanup_(db_releasep) DbConn *conn = NULL;
    int rc = db_acquire(gauges->pool, req, &conn);

    rc = rc < 0 ? rc : identity_counts_read(conn, req, gauges->counts);
    if (rc == 0) {
        gauges->read_ns = clock_now_ns();
    }
    return rc;
}

void identity_gauges_write(IdentityGauges *gauges, Request *req, StrBuf *buf)
{
    int64_t counts[IDENTITY_COUNT_TOTAL];
    int rc = 0;

    pthread_mutex_lock(&gauges->lock);
    if (gauges->read_ns == 0 || clock_now_ns() - gauges->read_ns > RENEW_AFTER_NS) {
        rc = renew(gauges, req);
    }
    for (size_t i = 0; i < IDENTITY_COUNT_TOTAL; i++) {
        counts[i] = gauges->counts[i];
    }
    pthread_mutex_unlock(&gauges->lock);
    for (size_t i = 0; rc == 0 && i < IDENTITY_COUNT_TOTAL; i++) {
        metrics_gauge(buf, identity_count_rows[i].name, identity_count_rows[i].help,
                      (double)counts[i]);
    }
}
