#pragma once

#include "lib/base/error.h"
#include "server/config.h"

/**
 * The private PostgreSQL cluster below data_dir/postgres: data (made by initdb with checksums),
 * log, and its UNIX socket, the only way in. Its postmaster outlives a kill -9 of this process; the
 * next start adopts it.
 */

/** Roles of the cluster. The first owns the tables, the second may not change the schema. */
#define POSTGRES_OWNER_ROLE "musubi_owner"
#define POSTGRES_SERVICE_ROLE "musubi"

typedef struct Postgres Postgres;

/**
 * Makes the cluster if there is none, starts or adopts its postmaster, makes roles and database if
 * they are missing, and returns when it takes connections. As root, its programs run as
 * config->server.user.
 * @param ret_postgres  in the arena
 * @return 0 or -ERR_DATABASE with the reason in errors
 */
int postgres_start(const Config *config, Arena *arena, ErrorList *errors,
                   Postgres **ret_postgres) MUST_CHECK;

/**
 * Starts the postmaster again if it has ended (killed, out of memory, crashed); connections of the
 * pool come back by themselves.
 * @param postgres  of postgres_start(); not for concurrent use
 * @param ret_was_dead  whether there was anything to do
 * @return 0 or -ERR_DATABASE with the reason in errors
 */
int postgres_revive(Postgres *postgres, ErrorList *errors, bool *ret_was_dead) MUST_CHECK;

/**
 * Finds the postmaster that a running server has started.
 * @return whether there is one; ret_postgres in the arena
 */
bool postgres_find(const Config *config, Arena *arena, Postgres **ret_postgres);

/**
 * Fast shutdown: connections are cut, a checkpoint is written; returns when the postmaster has
 * ended. It stays when another process has started or adopted it too.
 * @param postgres  of postgres_start(); unusable afterwards
 */
int postgres_stop(Postgres *postgres, ErrorList *errors);

/**
 * A program of PostgreSQL's: in [database] bin_dir, else where distributions put version 15.
 * @param bin_dir  empty: not configured
 * @return its path in the arena; NULL with the reason in errors
 */
const char *postgres_program(const char *bin_dir, const char *name, Arena *arena,
                             ErrorList *errors);

/** conninfo text for this role; in the arena of the Postgres. */
const char *postgres_conninfo(const Postgres *postgres, const char *role);

/** Whether the postmaster was already running. */
bool postgres_is_adopted(const Postgres *postgres);
