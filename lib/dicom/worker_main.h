#pragma once

#include "lib/dicom/workers.h"

/** The inside of a worker process. */

/** Loads what jobs need from files. Once, in the nursery. */
void worker_prepare(void);

/** Limits and sandbox of a job, for the calling process, for good. @return false: and the reason */
bool worker_confine(WorkerJob job, char *ret_problem, size_t problem_size) MUST_CHECK;

/** A worker's whole life, after the fork: keeps these two descriptors alone. */
_Noreturn void worker_live(WorkerJob job, int control, int peer);

/* The jobs (worker_jobs.def), from the first message of the server to the last. */
void worker_accept(int control, int peer);
void worker_request(int control, int peer);
void worker_inspect(int control, int peer);
void worker_pixels(int control, int peer);
