#pragma once

#include <stdbool.h>

#include "lib/base/str.h"

/** The command line: musubi COMMAND [SUBCOMMAND] [ARGUMENTS] [--long-options]. */

/** Exit status of every command. */
typedef enum ExitStatus {
    EXIT_GOOD = 0,
    EXIT_FOUND = 1,  /* found something: a finding, a difference, nothing that matches */
    EXIT_USAGE = 2,  /* command line or configuration */
    EXIT_FAILED = 3, /* could not do it */
} ExitStatus;

#define OPTIONS_MAX_ARGUMENTS 16
#define DEFAULT_CONFIG "/etc/musubi/musubi.ini"

/** Option values are NULL, false or 0 when the option was not given. */
typedef struct Options {
    const char *command;                          /* "node" */
    const char *arguments[OPTIONS_MAX_ARGUMENTS]; /* what is no option, behind the command: "add",
                                                     "gateway-a" */
    int argument_count;
    const char *config; /* --config, otherwise DEFAULT_CONFIG */
    const char *lang;
    bool all;
    bool markdown;
    bool json;
    bool dry_run;
    bool is_operator;
    const char *facility;
    const char *certificate;
    const char *fingerprint;
    const char *transactions;
    const char *source;
    const char *source_id;
    const char *ae_title;
    const char *rate;    /* scrub */
    const char *node;    /* submission, authority */
    const char *threads; /* submission */
    const char *batch;   /* submission */
    const char *namespace_id;
    const char *kind;
    const char *valid_from;
    const char *valid_to;
    const char *derive;
    const char *authority;    /* authority test */
    const char *url;          /* subscriber */
    const char *retrieve_url; /* community */
    const char *imaging_url;
    const char *discovery_url;
    const char *timeout;
    bool is_disabled;
    const char *receiver;
    const char *authorities;
    const char *limit;    /* patient review, audit */
    const char *form;     /* patient enroll */
    const char *document; /* patient enroll, why */
    const char *study;    /* why */
    const char *patient;  /* disclosure, why, audit */
    const char *reader;   /* disclosure, consent-policy */
    const char *classes;
    const char *level;
    const char *from; /* disclosure, audit */
    const char *to;
    const char *reason;
    const char *acknowledge; /* disclosure notices */
    const char *user;        /* why, audit */
    const char *role;        /* why, node */
    const char *purpose;
    const char *also_for; /* node */
    const char *name;     /* consent-policy */
    const char *decision;
    bool submits_nothing; /* node */
    bool breaks_glass;    /* role */
    bool permits;         /* disclosure, consent-policy */
    bool denies;
    const char *issuers; /* ae */
    const char *institutions;
    const char *manifest;
    const char *address;
    bool is_plain;
    bool csv; /* audit, like all that follow */
    const char *object;
    const char *event;
    const char *action;
    const char *outcome;
    const char *sender;
    const char *head;       /* audit verify */
    const char *listener;   /* check-tls */
    const char *generation; /* backup, restore */
    const char *keep;       /* backup */
    bool full;              /* backup */
    bool without_keys;      /* backup */
    const char *years;      /* retention */
    const char *days;
    const char *at; /* document, like the next two */
    const char *status;
    const char *types;
} Options;

typedef int (*CommandFn)(const Options *options);

/** A row of commands.def. */
typedef struct Command {
    const char *name;
    CommandFn handler;
    const char *arguments; /* one line per form: "add NAME ...\nlist\n..." */
    const char *help;
} Command;

/**
 * Reads the command line; on a fault prints what is wrong and what to write instead.
 * @param ret_command  NULL when help was asked for and printed
 * @return EXIT_GOOD or EXIT_USAGE
 */
int options_parse(int argc, char **argv, Options *ret_options, const Command **ret_command);

/** Prints how a command is written, on stderr. @return EXIT_USAGE */
int options_usage(const char *command);

#define COMMAND(name, handler, arguments, help) int handler(const Options *options);
#include "server/command/commands.def"
#undef COMMAND
