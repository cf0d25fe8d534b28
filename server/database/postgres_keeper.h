#pragma once

#include "server/database/postgres_embedded.h"

/**
 * The private PostgreSQL for a process that may not run programs itself. serve parses foreign
 * bytes, so its sandbox denies execve() and fork(); the keeper is a child that it makes before,
 * which starts PostgreSQL, starts it again when it has ended, and stops it. The keeper reads one
 * byte per request and nothing else that comes from serve. It ends with serve, also with a killed
 * one; the postmaster then stays and the next start adopts it.
 */
typedef struct PostgresKeeper PostgresKeeper;

/**
 * Makes the keeper and starts or adopts the postmaster (postgres_start()). To be called before any
 * thread is started and with the rights that PostgreSQL shall have.
 * @param problem_size  of ret_problem, which gets the reason of a failure
 * @return NULL on failure; ended by postgres_keeper_stop()
 */
PostgresKeeper *postgres_keeper_start(const Config *config, char *ret_problem, size_t problem_size);

/** conninfo text for POSTGRES_OWNER_ROLE or POSTGRES_SERVICE_ROLE; borrowed from the keeper. */
const char *postgres_keeper_conninfo(const PostgresKeeper *keeper, const char *role);

/**
 * postgres_revive(), by the keeper. Not for concurrent use.
 * @return whether PostgreSQL runs; if not, ret_problem says why
 */
bool postgres_keeper_revive(PostgresKeeper *keeper, bool *ret_was_dead, char *ret_problem,
                            size_t problem_size) MUST_CHECK;

/** postgres_stop(), by the keeper, which then ends; frees. NULL is fine. */
void postgres_keeper_stop(PostgresKeeper *keeper);
