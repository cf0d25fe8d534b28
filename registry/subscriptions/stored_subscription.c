#include "registry/subscriptions/stored_subscription.h"

#include <stddef.h>

/** The texts of an AccessUser in the order in which user_texts holds them: a row is added at the
 * end. */
static const size_t user_texts[] = {
    offsetof(AccessUser, id),
    offsetof(AccessUser, issuer),
    offsetof(AccessUser, alias),
    offsetof(AccessUser, name),
    offsetof(AccessUser, organization),
    offsetof(AccessUser, organization_id),
    offsetof(AccessUser, consent_document),
    offsetof(AccessUser, consent_policy),
    offsetof(AccessUser, patient),
};

/** code, system, display, text */
#define CODE_TEXTS 4

static Str text_or_empty(Str text)
{
    return text.data ? text : STR_EMPTY;
}

static void bind_codes(DbParams *params, const AccessCode *codes, size_t count)
{
    Str *texts = ARENA_ARRAY(params->arena, Str, count * CODE_TEXTS);
    for (size_t i = 0; i < count; i++) {
        texts[i * CODE_TEXTS] = text_or_empty(codes[i].code);
        texts[i * CODE_TEXTS + 1] = text_or_empty(codes[i].system);
        texts[i * CODE_TEXTS + 2] = text_or_empty(codes[i].display);
        texts[i * CODE_TEXTS + 3] = text_or_empty(codes[i].text);
    }
    db_param_text_array(params, texts, count * CODE_TEXTS);
}

void stored_subscription_bind_user(DbParams *params, const AccessUser *user)
{
    static const AccessUser nobody;
    Str *texts = ARENA_ARRAY(params->arena, Str, ARRAY_LEN(user_texts));
    for (size_t i = 0; user != NULL && i < ARRAY_LEN(user_texts); i++) {
        texts[i] = text_or_empty(*(const Str *)((const char *)user + user_texts[i]));
    }
    db_param_text_array(params, texts, user != NULL ? ARRAY_LEN(user_texts) : 0);
    const AccessUser *of_codes = user != NULL ? user : &nobody;
    bind_codes(params, of_codes->roles, of_codes->role_count);
    bind_codes(params, of_codes->purposes, of_codes->purpose_count);
}

static size_t read_codes(Arena *arena, const DbResult *rows, int row, int column,
                         const AccessCode **ret_codes)
{
    Str *texts = NULL;
    size_t count = db_text_array(rows, row, column, arena, &texts) / CODE_TEXTS;
    AccessCode *codes = ARENA_ARRAY(arena, AccessCode, count);
    for (size_t i = 0; i < count; i++) {
        const Str *of_code = texts + i * CODE_TEXTS;
        codes[i] = (AccessCode){of_code[0], of_code[1], of_code[2], of_code[3]};
    }
    *ret_codes = codes;
    return count;
}

static const AccessUser *read_user(Arena *arena, const DbResult *rows, int row, int column)
{
    Str *texts = NULL;
    size_t count = db_text_array(rows, row, column, arena, &texts);
    if (count == 0) {
        return NULL;
    }
    AccessUser *user = ARENA_NEW(arena, AccessUser);
    for (size_t i = 0; i < MIN(count, ARRAY_LEN(user_texts)); i++) {
        *(Str *)((char *)user + user_texts[i]) = texts[i];
    }
    user->role_count = read_codes(arena, rows, row, column + 1, &user->roles);
    user->purpose_count = read_codes(arena, rows, row, column + 2, &user->purposes);
    return user;
}

StoredSubscription stored_subscription_read(Arena *arena, const DbResult *rows, int row)
{
    return (StoredSubscription){
        .id = db_i64(rows, row, 0),
        .reference = db_uuid(rows, row, 1),
        .address = db_text(rows, row, 2),
        .node_id = db_i32(rows, row, 3),
        .consumer = db_text(rows, row, 4),
        .topic = topic_find(db_text(rows, row, 5)),
        .filter = db_text(rows, row, 6),
        .user = read_user(arena, rows, row, 7),
    };
}

Str stored_subscription_address(Arena *arena, Str address, Uuid reference)
{
    Str urn = uuid_urn(arena, reference);
    return str_printf(arena, "%.*s?subscription=%.*s", STR_ARG(address),
                      STR_ARG(str_from_offset(urn, sizeof("urn:uuid:") - 1)));
}

const Principal *stored_subscription_principal(const Registry *registry, Arena *arena,
                                               int32_t node_id)
{
    NodeDirectory *nodes = registry->config.nodes;
    return node_id != 0 ? node_directory_find_id(nodes, arena, node_id)
                        : node_directory_find(nodes, arena, STR_EMPTY, STR_EMPTY);
}
