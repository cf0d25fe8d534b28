#include "server/database/postgres_keeper.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/heap.h"

#define PROBLEM_BYTES 1024
#define CONNINFO_BYTES 256

/** What serve asks: one byte each. */
typedef enum KeeperCommand {
    KEEPER_START = 's',
    KEEPER_REVIVE = 'r',
    KEEPER_STOP = 'e'
} KeeperCommand;

/** What the keeper answers: always all of it. */
typedef struct KeeperReply {
    bool is_good;
    bool was_dead;
    char problem[PROBLEM_BYTES];
    char owner_conninfo[CONNINFO_BYTES];
    char service_conninfo[CONNINFO_BYTES];
} KeeperReply;

struct PostgresKeeper {
    pid_t pid;
    int fd;
    char owner_conninfo[CONNINFO_BYTES];
    char service_conninfo[CONNINFO_BYTES];
};

/* ---- the keeper's side ---- */

/** What the keeper holds. */
typedef struct Keeping {
    const Config *config;
    Arena *arena;
    Postgres *postgres; /* NULL before KEEPER_START */
} Keeping;

static void take_problem(KeeperReply *reply, const ErrorList *errors, const char *otherwise)
{
    Str text = errors->first ? errors->first->context : str_from(otherwise);
    (void)snprintf(reply->problem, sizeof(reply->problem), "%.*s", STR_ARG(text));
}

static void start(Keeping *keeping, ErrorList *errors, KeeperReply *reply)
{
    reply->is_good =
        postgres_start(keeping->config, keeping->arena, errors, &keeping->postgres) == 0;
    if (!reply->is_good) {
        take_problem(reply, errors, "PostgreSQL does not start");
        return;
    }
    (void)snprintf(reply->owner_conninfo, CONNINFO_BYTES, "%s",
                   postgres_conninfo(keeping->postgres, POSTGRES_OWNER_ROLE));
    (void)snprintf(reply->service_conninfo, CONNINFO_BYTES, "%s",
                   postgres_conninfo(keeping->postgres, POSTGRES_SERVICE_ROLE));
}

static void revive(const Keeping *keeping, ErrorList *errors, KeeperReply *reply)
{
    reply->is_good = postgres_revive(keeping->postgres, errors, &reply->was_dead) == 0;
    if (!reply->is_good) {
        take_problem(reply, errors, "PostgreSQL does not start again");
    }
}

static void carry_out(Keeping *keeping, unsigned char command, KeeperReply *reply)
{
    _cleanup_(arena_freep) Arena *arena = arena_new();
    ErrorList errors;

    error_list_init(&errors, command == KEEPER_START ? keeping->arena : arena);
    if (command == KEEPER_START && !keeping->postgres) {
        start(keeping, &errors, reply);
    } else if (command == KEEPER_REVIVE && keeping->postgres) {
        revive(keeping, &errors, reply);
    } else if (command == KEEPER_STOP && keeping->postgres) {
        reply->is_good = postgres_stop(keeping->postgres, &errors) == 0;
    }
}

/** The keeper's whole life: one command after the other, until serve is gone. */
static _Noreturn void keep(const Config *config, int fd)
{
    Keeping keeping = {.config = config, .arena = arena_new()};
    unsigned char command = 0;

    (void)prctl(PR_SET_NAME, "musubi-keeper");
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* as if serve itself had started PostgreSQL */
    if (dup2(fd, STDERR_FILENO + 1) < 0) {
        _exit(EXIT_FAILURE);
    }
    fd = STDERR_FILENO + 1;
    close_range(STDERR_FILENO + 2, ~0U, 0); /* locks and keys are serve's */
    while (recv(fd, &command, 1, 0) == 1) {
        KeeperReply reply = {0};
        carry_out(&keeping, command, &reply);
        if (send(fd, &reply, sizeof(reply), MSG_NOSIGNAL) != (ssize_t)sizeof(reply) ||
            command == KEEPER_STOP) {
            break;
        }
    }
    _exit(EXIT_SUCCESS);
}

/* ---- serve's side ---- */

static bool ask(const PostgresKeeper *keeper, KeeperCommand command, KeeperReply *ret_reply)
{
    const unsigned char byte = (unsigned char)command;
    ssize_t len = -1;

    if (send(keeper->fd, &byte, 1, MSG_NOSIGNAL) == 1) {
        do {
            len = recv(keeper->fd, ret_reply, sizeof(*ret_reply), 0);
        } while (len < 0 && errno == EINTR);
    }
    if (len == (ssize_t)sizeof(*ret_reply)) {
        return true;
    }
    *ret_reply = (KeeperReply){.problem = "the process musubi-keeper has ended; restart serve"};
    return false;
}

static bool fork_keeper(const Config *config, PostgresKeeper *keeper)
{
    int ends[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0) {
        return false;
    }
    keeper->pid = fork();
    if (keeper->pid == 0) {
        close(ends[0]);
        keep(config, ends[1]);
    }
    close(ends[1]);
    keeper->fd = ends[0];
    if (keeper->pid < 0) {
        close(ends[0]);
        return false;
    }
    return true;
}

/** The end of our socket ends the keeper too. */
static void end_keeper(PostgresKeeper *keeper)
{
    close(keeper->fd);
    while (waitpid(keeper->pid, NULL, 0) < 0 && errno == EINTR) {
    }
    free(keeper);
}

PostgresKeeper *postgres_keeper_start(const Config *config, char *ret_problem, size_t problem_size)
{
    KeeperReply reply;
    PostgresKeeper *keeper = HEAP_NEW(PostgresKeeper);
    if (!fork_keeper(config, keeper)) {
        (void)snprintf(ret_problem, problem_size, "cannot make the process musubi-keeper: %s",
                       strerror(errno));
        free(keeper);
        return NULL;
    }
    if (!ask(keeper, KEEPER_START, &reply) || !reply.is_good) {
        (void)snprintf(ret_problem, problem_size, "%s", reply.problem);
        end_keeper(keeper);
        return NULL;
    }
    memcpy(keeper->owner_conninfo, reply.owner_conninfo, CONNINFO_BYTES);
    memcpy(keeper->service_conninfo, reply.service_conninfo, CONNINFO_BYTES);
    return keeper;
}

const char *postgres_keeper_conninfo(const PostgresKeeper *keeper, const char *role)
{
    return strcmp(role, POSTGRES_OWNER_ROLE) == 0 ? keeper->owner_conninfo
                                                  : keeper->service_conninfo;
}

bool postgres_keeper_revive(PostgresKeeper *keeper, bool *ret_was_dead, char *ret_problem,
                            size_t problem_size)
{
    KeeperReply reply;
    bool is_good = ask(keeper, KEEPER_REVIVE, &reply) && reply.is_good;

    *ret_was_dead = reply.was_dead;
    (void)snprintf(ret_problem, problem_size, "%s", reply.problem);
    return is_good;
}

void postgres_keeper_stop(PostgresKeeper *keeper)
{
    KeeperReply reply;

    if (keeper) {
        (void)ask(keeper, KEEPER_STOP, &reply);
        end_keeper(keeper);
    }
}
