#include "server/command/presumed_user.h"

#include "server/language.h"

/** "CODE^^SYSTEM" */
static bool read_code(const char *text, AccessCode *ret_code)
{
    Str whole = str_from(text);
    const size_t at = str_find(whole, STR("^^"));

    *ret_code = (AccessCode){
        .code = str_slice(whole, 0, at),
        .system = at == SIZE_MAX ? STR_EMPTY : str_from_offset(whole, at + 2),
        .display = STR_EMPTY,
        .text = STR_EMPTY,
    };
    return at != SIZE_MAX && at > 0 && !str_is_empty(ret_code->system);
}

int presumed_user_read(const IdentityCommand *command, const char *location)
{
    const Options *options = command->options;
    AccessUser *user = ARENA_NEW(command->arena, AccessUser);
    AccessCode *role = ARENA_NEW(command->arena, AccessCode);
    AccessCode *purpose = ARENA_NEW(command->arena, AccessCode);

    if ((options->role && !read_code(options->role, role)) ||
        (options->purpose && !read_code(options->purpose, purpose))) {
        return error_add(&command->context->req->errors, ERR_CONFIGURATION, location, "%s: %s",
                         tr("write a code as CODE^^SYSTEM"),
                         options->role ? options->role : options->purpose);
    }
    purpose->text = str_from(options->reason);
    user->id = options->user ? str_from(options->user) : STR_EMPTY;
    user->issuer = STR_EMPTY;
    user->roles = role;
    user->role_count = options->role != NULL;
    user->purposes = purpose;
    user->purpose_count = options->purpose != NULL;
    if (options->user || options->role || options->purpose) {
        command->context->req->user = user;
    }
    return 0;
}
