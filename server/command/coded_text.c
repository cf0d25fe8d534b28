#include "server/command/coded_text.h"

#include "lib/ebrim/attributes.h"
#include "server/command/text_list.h"
#include "server/language.h"

#define SEPARATOR "^^"

static const DbStatement insert_codes = {
    "coded_text_insert",
    "INSERT INTO code (scheme, code) SELECT DISTINCT scheme, code"
    " FROM unnest($1::text[], $2::text[]) AS k (scheme, code) ORDER BY scheme, code"
    " ON CONFLICT DO NOTHING",
};

static const DbStatement select_codes = {
    "coded_text_select",
    "SELECT array_agg(c.id ORDER BY c.id) FROM code c WHERE (c.scheme, c.code) IN"
    " (SELECT * FROM unnest($1::text[], $2::text[]))",
};

/** What the list is made of; columns of the statements. */
typedef struct CodeColumns {
    Str *schemes;
    Str *codes;
    size_t count;
} CodeColumns;

static int check_code(const IdentityCommand *command, const char *location, const char *attribute,
                      Code code)
{
    const CodeSets *sets = command->services.codes;
    Str set = attribute_named(OBJECT_DOCUMENT_ENTRY, attribute)->id;

    if (!sets || code_sets_has(sets, set, code.code, code.scheme)) {
        return 0;
    }
    Str nearest = code_sets_nearest(sets, command->arena, set, code.code, code.scheme);
    return error_add(&command->context->req->errors, ERR_CONFIGURATION, location,
                     tr("the affinity domain has no %s %.*s^^%.*s; nearest are %.*s"), attribute,
                     STR_ARG(code.code), STR_ARG(code.scheme), STR_ARG(nearest));
}

static int read_code(const IdentityCommand *command, const char *location, const char *attribute,
                     Str text, Code *ret_code)
{
    const size_t at = str_find(text, STR(SEPARATOR));
    const Code code = {
        .code = str_slice(text, 0, at),
        .scheme = at == SIZE_MAX ? STR_EMPTY : str_from_offset(text, at + sizeof(SEPARATOR) - 1),
    };

    if (str_is_empty(code.code) || str_is_empty(code.scheme) || !str_is_utf8(text)) {
        return error_add(&command->context->req->errors, ERR_CONFIGURATION, location,
                         tr("write a code as CODE^^SCHEME, e.g. 34133-9^^2.16.840.1.113883.6.1, "
                            "instead of %.*s"),
                         STR_ARG(text));
    }
    *ret_code = code;
    return check_code(command, location, attribute, code);
}

/** Splits and checks; adds every fault. */
static int read_list(const IdentityCommand *command, const char *location, const char *attribute,
                     Str list, CodeColumns *ret_columns)
{
    CodeColumns columns = {
        .schemes = ARENA_ARRAY(command->arena, Str, list.len / 2 + 1),
        .codes = ARENA_ARRAY(command->arena, Str, list.len / 2 + 1),
    };
    Str *items = NULL;
    const size_t count = text_list_split(command->arena, list, ",;", &items);
    int rc = 0;

    for (size_t i = 0; i < count; i++) {
        Code code = {.code = STR_EMPTY, .scheme = STR_EMPTY};
        int read = read_code(command, location, attribute, items[i], &code);
        rc = read < 0 ? read : rc;
        columns.schemes[columns.count] = code.scheme;
        columns.codes[columns.count++] = code.code;
    }
    *ret_columns = columns;
    return rc;
}

static void bind(DbParams *params, Arena *arena, const CodeColumns *columns)
{
    db_params_init(params, arena);
    db_param_text_array(params, columns->schemes, columns->count);
    db_param_text_array(params, columns->codes, columns->count);
}

int coded_text_intern(const IdentityCommand *command, const char *location, const char *attribute,
                      Str list, int32_t **ret_ids, size_t *ret_count)
{
    const CommandContext *context = command->context;
    CodeColumns columns;
    DbParams params;
    DbResult *rows = NULL;
    int rc = read_list(command, location, attribute, list, &columns);

    if (rc < 0) {
        return rc;
    }
    bind(&params, command->arena, &columns);
    rc = db_exec(context->conn, context->req, &insert_codes, &params, NULL);
    rc = rc < 0 ? rc : db_exec(context->conn, context->req, &select_codes, &params, &rows);
    if (rc == 0) {
        *ret_count = db_i32_array(rows, 0, 0, command->arena, ret_ids);
    }
    return rc;
}
