#pragma once

#include <stdbool.h>
#include <sys/timex.h>

/**
 * Whether the clock of this host follows a time server (ITI-1 Maintain Time, ITI TF-1 7, TF-2 3.1):
 * audit records, submissions and validity periods all take their time from it.
 *
 * The kernel knows: chronyd (with rtcsync), systemd-timesyncd and ntpd tell it that they hold the
 * clock, and it takes that back when they have been silent for long. Which of them runs is read
 * from what it leaves in /run, and decides only what the operator is told to do.
 */

typedef enum TimeService {
    TIME_SERVICE_NONE,
#define TIME_SERVICE(name, text, file, remedy) TIME_SERVICE_##name,
#include "server/time_services.def"
#undef TIME_SERVICE
    TIME_SERVICE_COUNT
} TimeService;

typedef struct TimeSync {
    bool is_synchronized;
    double offset_seconds;          /* what the kernel still has to correct */
    double estimated_error_seconds; /* of the clock to its server */
    double max_error_seconds;       /* no error is larger; grows while no answer comes */
    TimeService service;
} TimeSync;

/** What the kernel says. service is untouched. */
void time_sync_from_kernel(const struct timex *state, TimeSync *ret_sync);

/** Asks kernel and /run. */
void time_sync_read(TimeSync *ret_sync);

/** Synchronized, and better than the second that ITI-1 allows (TF-2 3.1.4.1). */
bool time_sync_is_good(const TimeSync *sync);

/** "chronyd"; "no time service" if none was found. */
const char *time_sync_service_name(const TimeSync *sync);

/** In a few words: "synchronized", "not synchronized", "synchronized, but a second off or more". */
const char *time_sync_verdict(const TimeSync *sync);

/** What the operator has to do about a clock that is not good. */
const char *time_sync_remedy(const TimeSync *sync);
