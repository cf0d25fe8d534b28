#include "server/command/time.h"

#include <stdio.h>

#include "server/command/json.h"
#include "server/language.h"
#include "server/options.h"

/* musubi check-time: whether the clock can be believed (ITI-1). */

json_t *command_time_json(const TimeSync *sync)
{
    return json_pack("{s:b, s:b, s:s, s:f, s:f, s:f}", "is_good", time_sync_is_good(sync),
                     "is_synchronized", sync->is_synchronized, "service",
                     time_sync_service_name(sync), "offset_seconds", sync->offset_seconds,
                     "estimated_error_seconds", sync->estimated_error_seconds, "max_error_seconds",
                     sync->max_error_seconds);
}

static void print_seconds(const char *label, double seconds)
{
    printf("%-*s %.6f s\n", language_pad(label, 18), label, seconds);
}

static void print_sync(const TimeSync *sync)
{
    const char *label = tr("clock");
    printf("%-*s %s (%s)\n", language_pad(label, 18), label, tr(time_sync_verdict(sync)),
           tr(time_sync_service_name(sync)));
    print_seconds(tr("offset"), sync->offset_seconds);
    print_seconds(tr("estimated error"), sync->estimated_error_seconds);
    print_seconds(tr("largest error"), sync->max_error_seconds);
    if (!time_sync_is_good(sync)) {
        (void)puts(tr(time_sync_remedy(sync)));
    }
}

int command_check_time(const Options *options)
{
    TimeSync sync;

    time_sync_read(&sync);
    if (options->json) {
        json_print(command_time_json(&sync));
    } else {
        print_sync(&sync);
    }
    return time_sync_is_good(&sync) ? EXIT_GOOD : EXIT_FOUND;
}
