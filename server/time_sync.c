#include "server/time_sync.h"

#include <math.h>
#include <unistd.h>

#define US_PER_S 1e6
#define NS_PER_S 1e9
/** TF-2 3.1.4.1: the median error to the server is below a second. */
#define ALLOWED_ERROR_SECONDS 1.0

static const struct {
    const char *name;
    const char *file; /* NULL: none */
    const char *remedy;
} services[TIME_SERVICE_COUNT] = {
    [TIME_SERVICE_NONE] = {"no time service", NULL,
                           "install chrony, and name the time servers of the network in "
                           "/etc/chrony/chrony.conf"},
#define TIME_SERVICE(name, text, file, remedy) [TIME_SERVICE_##name] = {text, file, remedy},
#include "server/time_services.def"
#undef TIME_SERVICE
};

void time_sync_from_kernel(const struct timex *state, TimeSync *ret_sync)
{
    bool is_in_ns = (state->status & STA_NANO) != 0;
    ret_sync->is_synchronized = (state->status & (STA_UNSYNC | STA_CLOCKERR)) == 0;
    ret_sync->offset_seconds = (double)state->offset / (is_in_ns ? NS_PER_S : US_PER_S);
    ret_sync->estimated_error_seconds = (double)state->esterror / US_PER_S;
    ret_sync->max_error_seconds = (double)state->maxerror / US_PER_S;
}

void time_sync_read(TimeSync *ret_sync)
{
    struct timex state = {.status = STA_UNSYNC}; /* a kernel that does not tell promises nothing */
    (void)adjtimex(&state);
    time_sync_from_kernel(&state, ret_sync);
    ret_sync->service = TIME_SERVICE_NONE;
    for (TimeService i = TIME_SERVICE_NONE + 1; i < TIME_SERVICE_COUNT; i++) {
        if (ret_sync->service == TIME_SERVICE_NONE && access(services[i].file, F_OK) == 0) {
            ret_sync->service = i;
        }
    }
}

static bool is_accurate(const TimeSync *sync)
{
    return fabs(sync->offset_seconds) < ALLOWED_ERROR_SECONDS &&
           sync->estimated_error_seconds < ALLOWED_ERROR_SECONDS;
}

bool time_sync_is_good(const TimeSync *sync)
{
    return sync->is_synchronized && is_accurate(sync);
}

const char *time_sync_service_name(const TimeSync *sync)
{
    return services[sync->service].name;
}

const char *time_sync_verdict(const TimeSync *sync)
{
    if (!sync->is_synchronized) {
        return "not synchronized";
    }
    return is_accurate(sync) ? "synchronized" : "synchronized, but a second off or more";
}

const char *time_sync_remedy(const TimeSync *sync)
{
    return services[sync->service].remedy;
}
