/* Who makes workers: serve asks, a nursery forks, a keeper makes the nursery again should it die.
 */

#include "lib/dicom/workers.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/file_io.h"
#include "lib/base/heap.h"
#include "lib/base/thread.h"
#include "lib/dicom/worker_main.h"
#include "lib/sandbox/privileges.h"

#define NOBODY 65534 /* of a serve that is root still */
#define REQUEST_FD 3
#define SIGNALS_FD 4
#define RESPAWN_PAUSE_NS 50000000L
#define PASSED_MAX 2 /* descriptors of one request */
#define OOM_SCORE_MAX "1000"
/** More than serve asks for at once: some are ending while others begin. */
#define WARDS_MAX (2 * DICOM_WORKERS_MAX)

/** One request of serve, with the worker's ends of its sockets. */
typedef struct NurseryRequest {
    uint64_t id; /* serve's name for the worker */
    bool is_end; /* of one that was asked for; otherwise a new one */
    WorkerJob job;
} NurseryRequest;

/** Memory that serve and nursery share; workers have it no more. */
typedef struct Shared {
    _Atomic uint64_t crashes;
} Shared;

struct DicomWorkers {
    pid_t keeper;
    int requests;
    Shared *shared;
    SpillRoom room;
    pthread_mutex_t lock; /* of all below */
    pthread_cond_t ended; /* one of some job */
    uint64_t last_id;
    unsigned running;
    struct {
        unsigned most;
        unsigned running;
    } jobs[JOB_COUNT];
    WorkerProcess parked[DICOM_WORKERS_MAX]; /* the longest first */
    size_t parked_count;
};

static const bool has_peer[] = {
#define JOB(name, memory_bytes, cpu_s, has_peer, profile, function, description) has_peer,
#include "lib/dicom/worker_jobs.def"
#undef JOB
};

/* ---- the nursery ---- */

/** A worker that runs. */
typedef struct Ward {
    pid_t pid; /* 0: no row */
    uint64_t id;
    bool is_ended; /* by us */
} Ward;

typedef struct Nursery {
    Shared *shared;
    sigset_t own_signals; /* what workers get back */
    Ward wards[WARDS_MAX];
} Nursery;

static Ward *find_ward(Nursery *nursery, pid_t pid)
{
    for (size_t i = 0; i < WARDS_MAX; i++) {
        if (nursery->wards[i].pid == pid) {
            return &nursery->wards[i];
        }
    }
    return NULL;
}

static _Noreturn void become_worker(const Nursery *nursery, const NurseryRequest *request,
                                    const int *passed, pid_t nursery_pid)
{
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != nursery_pid) {
        _exit(EXIT_FAILURE);
    }
    (void)munmap(nursery->shared, sizeof(*nursery->shared));
    (void)sigprocmask(SIG_SETMASK, &nursery->own_signals, NULL);
    worker_live(request->job, passed[0], has_peer[request->job] ? passed[1] : -1);
}

static void start_worker(Nursery *nursery, const NurseryRequest *request, const int *passed)
{
    Ward *ward = find_ward(nursery, 0);
    pid_t self = getpid();
    if (!ward || request->job >= JOB_COUNT) {
        return; /* its sockets are closed, which tells serve */
    }
    pid_t pid = fork();
    if (pid == 0) {
        become_worker(nursery, request, passed, self);
    }
    if (pid > 0) {
        *ward = (Ward){.pid = pid, .id = request->id};
    }
}

static void end_worker(Nursery *nursery, uint64_t id)
{
    for (size_t i = 0; i < WARDS_MAX; i++) {
        Ward *ward = &nursery->wards[i];
        if (ward->pid != 0 && ward->id == id) {
            ward->is_ended = true;
            (void)kill(ward->pid, SIGKILL);
        }
    }
}

/** @return false: serve has ended */
static bool take_request(Nursery *nursery)
{
    NurseryRequest request;
    int passed[PASSED_MAX] = {-1, -1};
    union {
        char bytes[CMSG_SPACE(sizeof(passed))];
        struct cmsghdr aligned;
    } space = {0};
    struct iovec part = {&request, sizeof(request)};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = space.bytes,
                             .msg_controllen = sizeof(space.bytes)};
    ssize_t len = recvmsg(REQUEST_FD, &message, MSG_CMSG_CLOEXEC);
    if (len == 0) {
        return false;
    }
    struct cmsghdr *header = len > 0 ? CMSG_FIRSTHDR(&message) : NULL;
    if (header && header->cmsg_type == SCM_RIGHTS) {
        memcpy(passed, CMSG_DATA(header), MIN(header->cmsg_len - CMSG_LEN(0), sizeof(passed)));
    }
    if (len == (ssize_t)sizeof(request) && request.is_end) {
        end_worker(nursery, request.id);
    } else if (len == (ssize_t)sizeof(request) && passed[0] >= 0) {
        start_worker(nursery, &request, passed);
    }
    io_closep(&passed[0]);
    io_closep(&passed[1]);
    return true;
}

/** Processes that have ended; those that a signal ended without our wish are crashes. */
static void reap(Nursery *nursery)
{
    struct signalfd_siginfo info;
    int status = 0;
    pid_t pid = 0;

    (void)!read(SIGNALS_FD, &info, sizeof(info));
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        Ward *ward = find_ward(nursery, pid);
        bool is_ours = ward && ward->is_ended && WTERMSIG(status) == SIGKILL;
        if (WIFSIGNALED(status) && !is_ours) {
            atomic_fetch_add(&nursery->shared->crashes, 1);
        }
        if (ward) {
            *ward = (Ward){0};
        }
    }
}

/** Should memory run out, the kernel ends the largest worker first: a small file may decode to
 * much, and neither serve nor its database is to make room for it. Where that cannot be said, it is
 * as for any process. */
static void offer_memory(void)
{
    (void)prctl(PR_SET_DUMPABLE, 1); /* or this file would be root's */
    int score = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (score >= 0) {
        (void)!write(score, OOM_SCORE_MAX, strlen(OOM_SCORE_MAX));
        close(score);
    }
    privileges_forbid_core_files();
}

/** It never looks at what came from outside. */
static _Noreturn void nurse(Shared *shared, pid_t keeper)
{
    static Nursery nursery;
    sigset_t child;

    (void)prctl(PR_SET_NAME, "musubi-nursery");
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    offer_memory();
    nursery.shared = shared;
    (void)sigemptyset(&child);
    (void)sigaddset(&child, SIGCHLD);
    (void)sigprocmask(SIG_BLOCK, &child, &nursery.own_signals);
    int signals = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
    if (getppid() != keeper || signals < 0 || dup2(signals, SIGNALS_FD) < 0) {
        _exit(EXIT_FAILURE);
    }
    worker_prepare();
    bool is_wanted = true;
    while (is_wanted) {
        struct pollfd sources[] = {{.fd = REQUEST_FD, .events = POLLIN},
                                   {.fd = SIGNALS_FD, .events = POLLIN}};
        (void)poll(sources, ARRAY_LEN(sources), -1);
        if (sources[1].revents) {
            reap(&nursery);
        }
        is_wanted = !sources[0].revents || take_request(&nursery);
    }
    _exit(EXIT_SUCCESS); /* the workers go with it */
}

/* ---- the keeper ---- */

/** Descriptors and rights of serve stay with serve. */
static bool give_up_everything(int requests)
{
    char problem[256];
    bool is_root = geteuid() == 0;
    int nowhere = open("/dev/null", O_RDWR | O_CLOEXEC);

    privileges_forbid_core_files();
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        (void)dup2(nowhere, fd);
    }
    if (nowhere < 0 || dup2(requests, REQUEST_FD) < 0) {
        return false;
    }
    (void)close_range(REQUEST_FD + 1, ~0U, 0);
    return privileges_drop(is_root ? NOBODY : geteuid(), is_root ? NOBODY : getegid(), problem,
                           sizeof(problem));
}

/** What serve does at a signal is not for its children; a crash has to end them as one. */
static void reset_signals(void)
{
    static const int of_the_terminal[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
    sigset_t none;

    for (int number = 1; number < NSIG; number++) {
        (void)signal(number, SIG_DFL);
    }
    for (size_t i = 0; i < ARRAY_LEN(of_the_terminal); i++) {
        (void)signal(of_the_terminal[i], SIG_IGN); /* serve says when it is over */
    }
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

static _Noreturn void keep(Shared *shared, int requests, pid_t serve)
{
    const struct timespec pause = {.tv_nsec = RESPAWN_PAUSE_NS};
    pid_t self = getpid();
    int status = 0;

    (void)prctl(PR_SET_NAME, "musubi-dicom");
    reset_signals();
    if (!give_up_everything(requests) || prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 ||
        getppid() != serve) {
        _exit(EXIT_FAILURE);
    }
    for (;;) {
        pid_t pid = fork();
        if (pid == 0) {
            nurse(shared, self);
        }
        while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR) {
        }
        if (pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SUCCESS) {
            _exit(EXIT_SUCCESS);
        }
        (void)nanosleep(&pause, NULL);
    }
}

/* ---- serve's side ---- */

DicomWorkers *dicom_workers_start(char *ret_problem, size_t problem_size)
{
    int ends[2];
    pid_t self = getpid();
    DicomWorkers *workers = HEAP_NEW(DicomWorkers);
    workers->shared =
        mmap(NULL, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (workers->shared == MAP_FAILED) {
        abort();
    }
    bool is_made = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0;
    workers->keeper = is_made ? fork() : -1;
    if (workers->keeper == 0) {
        keep(workers->shared, ends[1], self);
    }
    if (workers->keeper < 0) {
        (void)snprintf(ret_problem, problem_size, "cannot make the process musubi-dicom: %s",
                       strerror(errno));
        if (is_made) {
            close(ends[0]);
            close(ends[1]);
        }
        (void)munmap(workers->shared, sizeof(Shared));
        free(workers);
        return NULL;
    }
    close(ends[1]);
    workers->requests = ends[0];
    (void)pthread_mutex_init(&workers->lock, NULL);
    thread_condition_init(&workers->ended);
    for (size_t job = 0; job < JOB_COUNT; job++) {
        workers->jobs[job].most = DICOM_WORKERS_MAX;
    }
    return workers;
}

void dicom_workers_limit(DicomWorkers *workers, WorkerJob job, unsigned most)
{
    workers->jobs[job].most = most;
}

void dicom_workers_give_room(DicomWorkers *workers, const char *directory, uint64_t bytes)
{
    workers->room.directory = directory;
    workers->room.limit_bytes = bytes;
}

SpillRoom *dicom_workers_room(DicomWorkers *workers)
{
    return &workers->room;
}

void dicom_workers_stop(DicomWorkers *workers)
{
    if (!workers) {
        return;
    }
    close(workers->requests);
    while (waitpid(workers->keeper, NULL, 0) < 0 && errno == EINTR) {
    }
    for (size_t i = 0; i < workers->parked_count; i++) {
        io_closep(&workers->parked[i].control);
        io_closep(&workers->parked[i].peer);
    }
    (void)munmap(workers->shared, sizeof(Shared));
    (void)pthread_cond_destroy(&workers->ended);
    (void)pthread_mutex_destroy(&workers->lock);
    free(workers);
}

static bool ask(const DicomWorkers *workers, const NurseryRequest *request, const int *passed,
                size_t passed_count)
{
    union {
        char bytes[CMSG_SPACE(PASSED_MAX * sizeof(int))];
        struct cmsghdr aligned;
    } space = {0};
    NurseryRequest copy = *request;
    struct iovec part = {&copy, sizeof(copy)};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (passed_count > 0) {
        message.msg_control = space.bytes;
        message.msg_controllen = CMSG_SPACE(passed_count * sizeof(int));
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        *header = (struct cmsghdr){.cmsg_level = SOL_SOCKET,
                                   .cmsg_type = SCM_RIGHTS,
                                   .cmsg_len = CMSG_LEN(passed_count * sizeof(int))};
        memcpy(CMSG_DATA(header), passed, passed_count * sizeof(int));
    }
    ssize_t len = -1;
    do {
        len = sendmsg(workers->requests, &message, MSG_NOSIGNAL);
    } while (len < 0 && errno == EINTR);
    return len == (ssize_t)sizeof(copy);
}

static bool make_sockets(WorkerJob job, int control[2], int peer[2])
{
    return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, control) == 0 &&
           (!has_peer[job] || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, peer) == 0);
}

/* ---- how many ---- */

static WorkerProcess take_parked(DicomWorkers *workers, size_t at)
{
    WorkerProcess process = workers->parked[at];
    workers->parked_count--;
    memmove(&workers->parked[at], &workers->parked[at + 1],
            (workers->parked_count - at) * sizeof(process));
    return process;
}

/** Ends a process, whose place is still taken. */
static void end_process(WorkerProcess *process)
{
    const NurseryRequest request = {.id = process->id, .is_end = true};
    io_closep(&process->control);
    io_closep(&process->peer);
    (void)ask(process->workers, &request, NULL, 0);
}

static bool is_free(const DicomWorkers *workers, WorkerJob job)
{
    return workers->running < DICOM_WORKERS_MAX &&
           workers->jobs[job].running < workers->jobs[job].most;
}

/** Where there is no place for one of the job, ends the one that has been parked longest. */
static void end_parked_for(DicomWorkers *workers, WorkerJob job)
{
    size_t at = 0;
    while (at < workers->parked_count && workers->parked[at].job != job) {
        at++;
    }
    if (at < workers->parked_count && !is_free(workers, job)) {
        WorkerProcess process = take_parked(workers, at);
        end_process(&process);
        workers->running--;
        workers->jobs[job].running--;
    }
}

/** @return the id of the process that may be started; 0: none may */
static uint64_t take_place(DicomWorkers *workers, WorkerJob job, int64_t until_ns)
{
    uint64_t id = 0;
    bool is_early = until_ns > 0;
    (void)pthread_mutex_lock(&workers->lock);
    end_parked_for(workers, job);
    while (!is_free(workers, job) && is_early) {
        is_early = thread_wait_until(&workers->ended, &workers->lock, until_ns);
        end_parked_for(workers, job);
    }
    if (is_free(workers, job)) {
        workers->running++;
        workers->jobs[job].running++;
        id = ++workers->last_id;
    }
    (void)pthread_mutex_unlock(&workers->lock);
    return id;
}

static void leave_place(DicomWorkers *workers, WorkerJob job)
{
    (void)pthread_mutex_lock(&workers->lock);
    workers->running--;
    workers->jobs[job].running--;
    (void)pthread_cond_broadcast(&workers->ended); /* each waits for its own job */
    (void)pthread_mutex_unlock(&workers->lock);
}

int dicom_worker_start(DicomWorkers *workers, ErrorList *errors, WorkerJob job, int64_t until_ns,
                       WorkerProcess *ret_process)
{
    int control[2] = {-1, -1};
    int peer[2] = {-1, -1};
    const NurseryRequest request = {.id = take_place(workers, job, until_ns), .job = job};

    if (request.id == 0) {
        return error_add(errors, ERR_DICOM_BUSY, NULL,
                         "as many processes of this kind run as may (%u); try again later",
                         workers->jobs[job].most);
    }
    bool is_made = make_sockets(job, control, peer);
    if (is_made) {
        const int passed[] = {control[1], peer[1]};
        is_made = ask(workers, &request, passed, has_peer[job] ? 2 : 1);
    }
    int failed = errno;
    io_closep(&control[1]);
    io_closep(&peer[1]);
    if (!is_made) {
        io_closep(&control[0]);
        io_closep(&peer[0]);
        leave_place(workers, job);
        return error_add(errors, ERR_DICOM_WORKER, NULL, "no process for DICOM can be made: %s",
                         strerror(failed));
    }
    *ret_process = (WorkerProcess){control[0], peer[0], workers, request.id, job};
    return 0;
}

void dicom_worker_end(WorkerProcess *process)
{
    if (process->workers) {
        end_process(process);
        leave_place(process->workers, process->job);
        process->workers = NULL;
    }
}

void dicom_worker_park(WorkerProcess *process)
{
    DicomWorkers *workers = process->workers;
    (void)pthread_mutex_lock(&workers->lock);
    workers->parked[workers->parked_count++] = *process; /* not more than run */
    (void)pthread_cond_broadcast(&workers->ended);       /* who waits may end it */
    (void)pthread_mutex_unlock(&workers->lock);
    process->workers = NULL;
}

bool dicom_worker_unpark(DicomWorkers *workers, uint64_t id, WorkerProcess *ret_process)
{
    size_t at = 0;
    (void)pthread_mutex_lock(&workers->lock);
    while (at < workers->parked_count && workers->parked[at].id != id) {
        at++;
    }
    const bool is_there = at < workers->parked_count;
    if (is_there) {
        *ret_process = take_parked(workers, at);
    }
    (void)pthread_mutex_unlock(&workers->lock);
    return is_there;
}

uint64_t dicom_workers_crashes(const DicomWorkers *workers)
{
    return atomic_load(&workers->shared->crashes);
}
