#pragma once

#include <sys/types.h>

#include "lib/base/error.h"
#include "lib/base/str.h"
#include "lib/dicom/spill.h"

/**
 * Processes that parse what came from outside: associations, files, pixels (DCMTK lives only
 * there). One process per job, forked from a small one (the nursery) that serve makes before its
 * first thread; it has DCMTK's tables in memory already, and holds no database, no key and no file.
 * A job's process can open no file, connect to nobody, make no process and run no program
 * (lib/sandbox), has limits for memory and time, and two sockets: control (worker_messages.def)
 * and, for associations, the bytes of the peer, which serve takes off its TLS connection. When it
 * crashes, that is the end of its own job alone. Should the nursery be killed, its parent, a
 * process that does nothing else, makes another. All of them end with serve.
 */
typedef struct DicomWorkers DicomWorkers;

typedef enum WorkerJob {
#define JOB(name, memory_bytes, cpu_s, has_peer, profile, function, description) JOB_##name,
#include "lib/dicom/worker_jobs.def"
#undef JOB
    JOB_COUNT
} WorkerJob;

/** As many run at once as may: room for the shares of all jobs (dicom_workers_limit()). */
#define DICOM_WORKERS_MAX 576

/**
 * Makes the nursery. To be called before any thread is started, and before keys are in memory.
 * @return NULL and the reason
 */
DicomWorkers *dicom_workers_start(char *ret_problem, size_t problem_size);
/** Ends nursery and workers. NULL is fine. */
void dicom_workers_stop(DicomWorkers *workers);

/** Of one job, at most so many at once. Before any is started; else DICOM_WORKERS_MAX. */
void dicom_workers_limit(DicomWorkers *workers, WorkerJob job, unsigned most);

/** Where what they have made may wait until it is taken. Before any is started; else nowhere.
 * @param directory  borrowed */
void dicom_workers_give_room(DicomWorkers *workers, const char *directory, uint64_t bytes);
SpillRoom *dicom_workers_room(DicomWorkers *workers);

/** One job's process, seen from serve. */
typedef struct WorkerProcess {
    int control;
    int peer; /* -1 without */
    DicomWorkers *workers;
    uint64_t id;
    WorkerJob job;
} WorkerProcess;

/**
 * Starts a process for a job; for any thread. Where it cannot be made after all, control is closed
 * by the other side.
 * @param until_ns  how long to wait for others of the job to end (clock_now_ns()); 0: not at all
 * @return 0; -ERR_DICOM_BUSY: as many run as may; -ERR_DICOM_WORKER: no process can be made
 */
int dicom_worker_start(DicomWorkers *workers, ErrorList *errors, WorkerJob job, int64_t until_ns,
                       WorkerProcess *ret_process) MUST_CHECK;
/** Closes its sockets, and ends it. */
void dicom_worker_end(WorkerProcess *process);

/**
 * Keeps a process that has no work now, for whoever takes it back by its id. It stands in nobody's
 * way: where one of its job may not be started otherwise, it is ended.
 */
void dicom_worker_park(WorkerProcess *process);
/** @return false: it was ended */
bool dicom_worker_unpark(DicomWorkers *workers, uint64_t id, WorkerProcess *ret_process);

/** Crashes since the start, for metrics: processes that ended by a signal. */
uint64_t dicom_workers_crashes(const DicomWorkers *workers);
