#include "atna/keys.h"

#include <stdlib.h>

#include "lib/base/crc32c.h"
#include "lib/base/heap.h"

#define CANONICAL_MAX 512
/** Login of User Authentication (DICOM PS3.15 A.5.3.12). */
#define LOGIN_TYPE "110122"

/** Texts whose keys are remembered: a power of two. */
#define KNOWN_KEYS 4096
#define KNOWN_TEXT_MAX 53

typedef struct KnownKey {
    int64_t key;
    uint8_t len; /* of the text, and 1 for the kind; 0: none */
    char text[KNOWN_TEXT_MAX + 1];
} KnownKey;

static const char *const prefixes[AUDIT_KEY_KIND_COUNT] = {
    [AUDIT_KEY_PATIENT] = "patient:", [AUDIT_KEY_USER] = "user:",   [AUDIT_KEY_NODE] = "node:",
    [AUDIT_KEY_OBJECT] = "object:",   [AUDIT_KEY_EVENT] = "event:", [AUDIT_KEY_SOURCE] = "source:",
    [AUDIT_KEY_LOGIN] = "login:",
};

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static int64_t key_of(ChainHasher *hasher, AuditKeyKind kind, Str text)
{
    ChainHash digest;
    char room[CANONICAL_MAX];
    Str prefix = str_from(prefixes[kind]);
    Str value = str_trim(text);
    size_t len = prefix.len + value.len;
    char *bytes = len <= sizeof(room) ? room : heap_room(len);
    uint64_t key = 0;
    memcpy(bytes, prefix.data, prefix.len);
    for (size_t i = 0; i < value.len; i++) {
        bytes[prefix.len + i] = kind == AUDIT_KEY_PATIENT ? value.data[i] : lower(value.data[i]);
    }
    chain_hasher_digest(hasher, (Str){bytes, len}, &digest);
    if (bytes != room) {
        free(bytes);
    }
    for (int i = 0; i < 8; i++) {
        key = key << 8 | digest.bytes[i];
    }
    return (int64_t)key;
}

int64_t audit_key(AuditKeyKind kind, Str text)
{
    ChainHasher *hasher = chain_hasher_new();
    int64_t key = key_of(hasher, kind, text);
    chain_hasher_free(hasher);
    return key;
}

/** CX-4 is namespace&OID&type. */
static Str authority_of(Str hd)
{
    Str namespace = STR_EMPTY;
    Str oid = STR_EMPTY;
    (void)str_split_next(&hd, '&', &namespace);
    (void)str_split_next(&hd, '&', &oid);
    return str_is_empty(str_trim(oid)) ? str_trim(namespace) : str_trim(oid);
}

static size_t patient_keys(ChainHasher *hasher, Str id, int64_t ret_keys[AUDIT_PATIENT_KEY_MAX])
{
    Str rest = str_trim(id);
    Str components[4] = {STR_EMPTY, STR_EMPTY, STR_EMPTY, STR_EMPTY};
    for (size_t i = 0; i < ARRAY_LEN(components) && str_split_next(&rest, '^', &components[i]);
         i++) {
    }
    Str number = str_trim(components[0]);
    Str authority = authority_of(components[3]);
    size_t count = 0;
    if (!str_is_empty(authority)) {
        StrBuf text = {0};
        strbuf_printf(&text, "%.*s^%.*s", STR_ARG(number), STR_ARG(authority));
        ret_keys[count++] = key_of(hasher, AUDIT_KEY_PATIENT, strbuf_str(&text));
        strbuf_done(&text);
    }
    ret_keys[count++] = key_of(hasher, AUDIT_KEY_PATIENT, number);
    return count;
}

size_t audit_patient_keys(Str id, int64_t ret_keys[AUDIT_PATIENT_KEY_MAX])
{
    ChainHasher *hasher = chain_hasher_new();
    size_t count = patient_keys(hasher, id, ret_keys);
    chain_hasher_free(hasher);
    return count;
}

/* ---- of a record ---- */

static void key_list_append(KeyList *keys, int64_t key)
{
    if (keys->count == keys->cap) {
        keys->values = heap_grow(keys->values, &keys->cap, 32, sizeof(*keys->values));
    }
    keys->values[keys->count++] = key;
}

/** key_of(), which costs more than to look whether the same text came lately. */
static int64_t known_key_of(KeyList *keys, AuditKeyKind kind, Str text)
{
    char bytes[KNOWN_TEXT_MAX + 1];
    size_t len = text.len + 1;
    if (len > sizeof(bytes)) {
        return key_of(keys->hasher, kind, text);
    }
    bytes[0] = (char)kind;
    memcpy(bytes + 1, text.data, text.len);
    KnownKey *known = &keys->known[crc32c(0, bytes, len) % KNOWN_KEYS];
    if (known->len != len || memcmp(known->text, bytes, len) != 0) {
        known->key = key_of(keys->hasher, kind, text);
        known->len = (uint8_t)len;
        memcpy(known->text, bytes, len);
    }
    return known->key;
}

static void key_list_add(KeyList *keys, AuditKeyKind kind, Str text)
{
    if (!str_is_empty(str_trim(text))) {
        key_list_append(keys, known_key_of(keys, kind, text));
    }
}

void key_list_done(KeyList *keys)
{
    chain_hasher_free(keys->hasher);
    free(keys->known);
    free(keys->values);
    *keys = (KeyList){0};
}

/** AETITLES=title1;title2 (DICOM PS3.15 A.5.2.2); AETITLE= is sent too. */
static void add_ae_titles(KeyList *keys, Str alternative_user_id)
{
    Str rest = str_from_offset(alternative_user_id, str_find_char(alternative_user_id, '=') + 1);
    Str title = STR_EMPTY;
    if (!str_starts_with(alternative_user_id, STR("AETITLE")) ||
        !str_contains(alternative_user_id, STR("="))) {
        return;
    }
    while (str_split_next(&rest, ';', &title)) {
        key_list_add(keys, AUDIT_KEY_NODE, title);
    }
}

/** alias<user@issuer> (ITI TF-2 3.40.4.2). */
static void add_user_name(KeyList *keys, Str user_name)
{
    size_t begin = str_find_char(user_name, '<');
    key_list_add(keys, AUDIT_KEY_USER, user_name);
    if (begin != SIZE_MAX && str_ends_with(user_name, STR(">"))) {
        key_list_add(keys, AUDIT_KEY_USER,
                     str_slice(user_name, begin + 1, user_name.len - begin - 2));
    }
}

static void add_participant(KeyList *keys, const AuditParticipant *participant)
{
    key_list_add(keys, AUDIT_KEY_USER, participant->user_id);
    add_user_name(keys, participant->user_name);
    add_ae_titles(keys, participant->alternative_user_id);
    key_list_add(keys, AUDIT_KEY_NODE, participant->network_access_point_id);
    if (participant->role_count > 0) {
        key_list_add(keys, AUDIT_KEY_NODE, participant->user_id);
    }
}

static void add_object(KeyList *keys, const AuditParticipantObject *object)
{
    int64_t patient[AUDIT_PATIENT_KEY_MAX];
    if (!audit_object_is_patient(object)) {
        key_list_add(keys, AUDIT_KEY_OBJECT, object->id);
        return;
    }
    size_t count = str_is_empty(object->id) ? 0 : patient_keys(keys->hasher, object->id, patient);
    for (size_t i = 0; i < count; i++) {
        key_list_append(keys, patient[i]);
    }
}

static int compare_keys(const void *a, const void *b)
{
    int64_t first = *(const int64_t *)a;
    int64_t second = *(const int64_t *)b;
    return (first > second) - (first < second);
}

static void sort_unique(KeyList *keys)
{
    size_t kept = 0;
    if (keys->count > 0) {
        qsort(keys->values, keys->count, sizeof(*keys->values), compare_keys);
    }
    for (size_t i = 0; i < keys->count; i++) {
        if (kept == 0 || keys->values[kept - 1] != keys->values[i]) {
            keys->values[kept++] = keys->values[i];
        }
    }
    keys->count = kept;
}

static bool is_login(const AuditMessage *message)
{
    for (size_t i = 0; i < message->event_type_count; i++) {
        if (str_equal(message->event_types[i].code, STR(LOGIN_TYPE))) {
            return true;
        }
    }
    return false;
}

/** So that the logins of a user are found without all else that the user did. */
static void add_logins(KeyList *keys, const AuditMessage *message)
{
    if (!is_login(message)) {
        return;
    }
    for (size_t i = 0; i < message->participant_count; i++) {
        key_list_add(keys, AUDIT_KEY_LOGIN, message->participants[i].user_id);
        key_list_add(keys, AUDIT_KEY_LOGIN, message->participants[i].user_name);
    }
}

static void begin_list(KeyList *keys)
{
    keys->count = 0;
    if (keys->hasher) {
        return;
    }
    keys->hasher = chain_hasher_new();
    keys->known = heap_zeroed(KNOWN_KEYS, sizeof(*keys->known));
}

void keys_of_login(KeyList *keys, const AuditContent *content)
{
    begin_list(keys);
    add_logins(keys, &content->message);
    sort_unique(keys);
}

void keys_of_record(KeyList *keys, const AuditContent *content, const AuditSender *sender)
{
    const AuditMessage *message = &content->message;
    begin_list(keys);
    key_list_add(keys, AUDIT_KEY_NODE, sender->node);
    key_list_add(keys, AUDIT_KEY_NODE, sender->address);
    key_list_add(keys, AUDIT_KEY_EVENT, message->event_id.code);
    for (size_t i = 0; i < message->event_type_count; i++) {
        key_list_add(keys, AUDIT_KEY_EVENT, message->event_types[i].code);
    }
    add_logins(keys, message);
    for (size_t i = 0; i < message->participant_count; i++) {
        add_participant(keys, &message->participants[i]);
    }
    key_list_add(keys, AUDIT_KEY_SOURCE, message->source_id);
    for (size_t i = 0; i < message->object_count; i++) {
        add_object(keys, &message->objects[i]);
    }
    sort_unique(keys);
}
