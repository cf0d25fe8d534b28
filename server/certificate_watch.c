#include "server/certificate_watch.h"

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "server/command/node_certificates.h"
#include "server/metrics.h"

#define TELL_EVERY_NS (24 * 3600 * INT64_C(1000000000))
/** Lists are made anew every few days or weeks: less notice than for a certificate. */
#define CRL_WARNING_DAYS 2

static void trust_directly(const CertificateWatch *watch, Arena *arena)
{
    NodeCertificate *certificates;
    size_t count = node_directory_certificates(watch->nodes, arena, &certificates);
    Str *fingerprints = ARENA_ARRAY(arena, Str, count);
    for (size_t i = 0; i < count; i++) {
        fingerprints[i] = certificates[i].fingerprint;
    }
    tls_trust_directly(watch->tls, fingerprints, count);
}

static void tell(Arena *arena, const char *what, Str name, int64_t at_us, int64_t warning_days)
{
    int64_t days = certificate_days_left(at_us);
    if (days < warning_days) {
        log_warn("msg=\"%s\" of=%s until=%.*s days_left=%lld", what, log_quote(arena, name),
                 STR_ARG(clock_iso8601(arena, at_us)), (long long)days);
    }
}

static void tell_all(const CertificateWatch *watch, Arena *arena)
{
    NodeCertificate *certificates;
    TlsExpiry *crls;
    int64_t own_us;
    size_t crl_count = tls_expiries(watch->tls, arena, &own_us, &crls);
    size_t count = node_directory_certificates(watch->nodes, arena, &certificates);
    tell(arena, "certificate ends soon", STR("this server"), own_us, CERTIFICATE_WARNING_DAYS);
    for (size_t i = 0; i < crl_count; i++) {
        tell(arena, "revocation list is due", crls[i].name, crls[i].at_us, CRL_WARNING_DAYS);
    }
    for (size_t i = 0; i < count; i++) {
        if (certificates[i].not_after_us != INT64_MAX) {
            tell(arena, "certificate ends soon", certificates[i].node_name,
                 certificates[i].not_after_us, CERTIFICATE_WARNING_DAYS);
        }
    }
}

void certificate_watch_tick(CertificateWatch *watch)
{
    if (!watch->tls) {
        return;
    }
    _cleanup_(arena_freep) Arena *arena = arena_new();
    trust_directly(watch, arena);
    if (watch->told_ns == 0 || clock_now_ns() - watch->told_ns > TELL_EVERY_NS) {
        tell_all(watch, arena);
        watch->told_ns = clock_now_ns();
    }
}

static double seconds_left(int64_t at_us)
{
    return (double)(at_us - clock_utc_us()) / 1e6;
}

void certificate_watch_gauges(const CertificateWatch *watch, Arena *arena, StrBuf *buf)
{
    NodeCertificate *certificates;
    TlsExpiry *crls;
    int64_t own_us;
    if (!watch->tls) {
        return;
    }
    size_t crl_count = tls_expiries(watch->tls, arena, &own_us, &crls);
    size_t count = node_directory_certificates(watch->nodes, arena, &certificates);
    metrics_gauge(buf, "tls_certificate_left_seconds",
                  "Until the certificate of this server, or one of its chain, expires.",
                  seconds_left(own_us));
    metrics_gauge_head(buf, "tls_crl_left_seconds",
                       "Until a revocation list is due to be replaced (nextUpdate).");
    for (size_t i = 0; i < crl_count; i++) {
        const MetricsLabel labels[] = {{"issuer", crls[i].name}};
        metrics_gauge_row(buf, "tls_crl_left_seconds", labels, 1, seconds_left(crls[i].at_us));
    }
    metrics_gauge_head(buf, "node_certificate_left_seconds",
                       "Until a certificate of a registered node expires.");
    for (size_t i = 0; i < count; i++) {
        const MetricsLabel labels[] = {
            {"node", certificates[i].node_name},
            {"certificate", str_slice(certificates[i].fingerprint, 0, 16)}};
        if (certificates[i].not_after_us != INT64_MAX) {
            metrics_gauge_row(buf, "node_certificate_left_seconds", labels, ARRAY_LEN(labels),
                              seconds_left(certificates[i].not_after_us));
        }
    }
}
