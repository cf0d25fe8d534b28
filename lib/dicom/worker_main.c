#include "lib/dicom/worker_main.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "lib/dicom/dcmtk/association.h"
#include "lib/dicom/part10.h"
#include "lib/dicom/worker_fields.h"
#include "lib/sandbox/sandbox.h"

#define PROBLEM_BYTES 256
#define CONTROL_FD 3
#define PEER_FD 4
#define FREE_FD 5 /* from here on, none stays open */
#define DESCRIPTORS_MAX 16
#define ABOVE_ALL 64 /* out of the way of those that get their places */

/* Of a sanitizer: its shadow takes terabytes of addresses. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define IS_SANITIZED true
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define IS_SANITIZED true
#endif
#endif
#ifndef IS_SANITIZED
#define IS_SANITIZED false
#endif

static const struct {
    rlim_t memory_bytes;
    rlim_t cpu_s;
    SandboxProfile profile;
    void (*run)(int control, int peer);
} jobs[] = {
#define JOB(name, memory_bytes, cpu_s, has_peer, profile, function, description)                   \
    {memory_bytes, cpu_s, SANDBOX_##profile, function},
#include "lib/dicom/worker_jobs.def"
#undef JOB
};

void worker_prepare(void)
{
    association_prepare(DICOM_IMPLEMENTATION_CLASS_UID, DICOM_IMPLEMENTATION_VERSION);
}

static void limit(int resource, rlim_t value)
{
    const struct rlimit both = {value, value};
    (void)setrlimit((__rlimit_resource_t)resource, &both);
}

bool worker_confine(WorkerJob job, char *ret_problem, size_t problem_size)
{
    limit(RLIMIT_CORE, 0);
    limit(RLIMIT_FSIZE, 0);
    limit(RLIMIT_NOFILE, DESCRIPTORS_MAX);
    if (!IS_SANITIZED) {
        limit(RLIMIT_AS, jobs[job].memory_bytes);
    }
    if (jobs[job].cpu_s > 0) {
        limit(RLIMIT_CPU, jobs[job].cpu_s);
    }
    return sandbox_enter(jobs[job].profile, NULL, 0, ret_problem, problem_size);
}

/** Only control and peer stay open; where DCMTK makes its own socket, it finds the peer's. */
static void arrange_descriptors(WorkerJob job, int control, int peer)
{
    bool is_requestor = jobs[job].profile == SANDBOX_DICOM_REQUESTOR;
    control = fcntl(control, F_DUPFD, ABOVE_ALL);
    peer = peer < 0 ? -1 : fcntl(peer, F_DUPFD, ABOVE_ALL);
    if (dup2(control, CONTROL_FD) < 0 ||
        (peer >= 0 && dup2(peer, is_requestor ? ASSOCIATION_REQUESTOR_SOCKET : PEER_FD) < 0)) {
        _exit(EXIT_FAILURE);
    }
    (void)close_range(peer >= 0 && !is_requestor ? FREE_FD : PEER_FD, ~0U, 0);
}

void worker_live(WorkerJob job, int control, int peer)
{
    char problem[PROBLEM_BYTES];

    (void)prctl(PR_SET_NAME, "musubi-worker");
    arrange_descriptors(job, control, peer);
    (void)signal(SIGPIPE, SIG_IGN);
    if (worker_confine(job, problem, sizeof(problem))) {
        jobs[job].run(CONTROL_FD, PEER_FD);
        _exit(EXIT_SUCCESS);
    }
    StrBuf said = {0};
    worker_put(&said, WORKER_TEXT, str_from(problem));
    (void)worker_say(CONTROL_FD, WORKER_SAYS_PROBLEM, strbuf_str(&said));
    _exit(EXIT_FAILURE);
}
