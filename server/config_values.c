/** From the text of one key to its field: what each type of config.def takes. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/oid.h"
#include "lib/base/zone.h"
#include "lib/tls/tls.h"
#include "server/config_rows.h"
#include "server/language.h"
#include "server/socket.h"

/** One value on its way from text to its field. */
typedef struct Loader {
    Config *config;
    Arena *arena;
    ErrorList *errors;
    const KeyRow *row;
    const char *location;
    Str text;
} Loader;

static void *field_of(const Loader *loader)
{
    return (char *)loader->config + loader->row->offset;
}

static int fault(const Loader *loader, const char *expected)
{
    return error_add(loader->errors, ERR_CONFIGURATION, loader->location, "%s = %.*s: %s",
                     loader->row->key, STR_ARG(loader->text), tr(expected));
}

static int set_text(const Loader *loader)
{
    *(const char **)field_of(loader) = str_cstr(loader->arena, loader->text);
    return 0;
}

/** The folder of the file, with a slash behind it; absolute if the working directory is known. */
static Str folder_of(Arena *arena, const char *file)
{
    char working[PATH_MAX];
    const char *slash = strrchr(file, '/');
    Str folder = {file, slash ? (size_t)(slash + 1 - file) : 0};

    if (file[0] == '/' || !getcwd(working, sizeof(working))) {
        return folder;
    }
    return str_printf(arena, "%s/%.*s", working, STR_ARG(folder));
}

static int set_path(const Loader *loader)
{
    if (str_is_empty(loader->text) || loader->text.data[0] == '/') {
        return set_text(loader);
    }
    Str folder = folder_of(loader->arena, loader->config->file);
    const char *path =
        str_printf(loader->arena, "%.*s%.*s", STR_ARG(folder), STR_ARG(loader->text)).data;
    *(const char **)field_of(loader) = path;
    loader->config->sources[loader->row - config_rows].text =
        path; /* means the same in any folder */
    return 0;
}

static int set_flag(const Loader *loader)
{
    bool is_yes = str_equal(loader->text, STR("yes"));
    if (!is_yes && !str_equal(loader->text, STR("no"))) {
        return fault(loader, "write yes or no");
    }
    *(bool *)field_of(loader) = is_yes;
    return 0;
}

/** Position of the choice in "a|b|c", or -1. */
static int find_choice(const char *choices, Str wanted)
{
    Str rest = str_from(choices);
    Str choice;

    for (int i = 0; str_split_next(&rest, '|', &choice); i++) {
        if (str_equal(choice, wanted)) {
            return i;
        }
    }
    return -1;
}

static int fault_choice(const Loader *loader)
{
    return fault(loader, str_printf(loader->arena, tr("write one of %s"), loader->row->range).data);
}

static int set_choice(const Loader *loader)
{
    int position = find_choice(loader->row->range, loader->text);
    if (position < 0) {
        return fault_choice(loader);
    }
    *(unsigned *)field_of(loader) = (unsigned)position;
    return 0;
}

static int set_set(const Loader *loader)
{
    Str rest = loader->text;
    Str item;
    unsigned bits = 0;

    while (str_split_next(&rest, ',', &item)) {
        int position = find_choice(loader->row->range, str_trim(item));
        if (position < 0) {
            return fault_choice(loader);
        }
        bits |= 1U << position;
    }
    *(unsigned *)field_of(loader) = bits;
    return 0;
}

typedef struct Unit {
    const char *name;
    uint64_t factor;
} Unit;

static const Unit no_units[] = {{"", 1}, {NULL, 0}};
static const Unit duration_units[] = {{"ms", 1},      {"s", 1000},     {"min", 60000},
                                      {"h", 3600000}, {"d", 86400000}, {NULL, 0}};
static const Unit size_units[] = {
    {"", 1}, {"KiB", 1024}, {"MiB", 1024UL * 1024}, {"GiB", 1024UL * 1024 * 1024}, {NULL, 0}};

/** A number with one of the units directly behind it. */
static bool parse_amount(Str text, const Unit *units, uint64_t *ret_value)
{
    size_t digits = 0;
    uint64_t number = 0;

    while (digits < text.len && text.data[digits] >= '0' && text.data[digits] <= '9') {
        digits++;
    }
    if (!str_to_u64(str_slice(text, 0, digits), &number)) {
        return false;
    }
    for (Str suffix = str_trim(str_from_offset(text, digits)); units->name; units++) {
        if (str_equal(suffix, str_from(units->name))) {
            return !__builtin_mul_overflow(number, units->factor, ret_value);
        }
    }
    return false;
}

bool config_parse_size(Str text, uint64_t *ret_bytes)
{
    return parse_amount(text, size_units, ret_bytes);
}

bool config_parse_duration(Str text, uint64_t *ret_ms)
{
    return parse_amount(text, duration_units, ret_ms);
}

static int fault_range(const Loader *loader, const char *expected)
{
    return fault(
        loader,
        str_printf(loader->arena, tr("write %s within %s"), tr(expected), loader->row->range).data);
}

/** Reads an amount within the row's "least..most". */
static int parse_in_range(const Loader *loader, const Unit *units, const char *expected,
                          uint64_t *ret_value)
{
    Str range = str_from(loader->row->range);
    size_t dots = str_find(range, STR(".."));
    uint64_t least = 0;
    uint64_t most = 0;
    uint64_t value = 0;

    if (!parse_amount(str_slice(range, 0, dots), units, &least) ||
        !parse_amount(str_from_offset(range, dots + 2), units, &most)) {
        return fault(loader, "this key has no valid range");
    }
    if (!parse_amount(loader->text, units, &value) || value < least || value > most) {
        return fault_range(loader, expected);
    }
    *ret_value = value;
    return 0;
}

static int set_unsigned(const Loader *loader, const Unit *units, const char *expected)
{
    uint64_t value = 0;
    int rc = parse_in_range(loader, units, expected, &value);
    if (rc == 0) {
        *(unsigned *)field_of(loader) = (unsigned)MIN(value, UINT_MAX);
    }
    return rc;
}

static int set_number(const Loader *loader)
{
    return set_unsigned(loader, no_units, "a number");
}

static int set_duration(const Loader *loader)
{
    return set_unsigned(loader, duration_units, "a number with ms, s, min, h or d");
}

static int set_size(const Loader *loader)
{
    return parse_in_range(loader, size_units, "a number of bytes, or one with KiB, MiB or GiB",
                          field_of(loader));
}

/** Digits, and at most three behind a point. */
static bool parse_decimal(Str text, double *ret_value)
{
    size_t point = str_find_char(text, '.');
    Str decimals = point == SIZE_MAX ? STR_EMPTY : str_from_offset(text, point + 1);
    double scale = 1;
    uint64_t whole = 0;
    uint64_t rest = 0;

    if (!str_to_u64(str_slice(text, 0, point), &whole) || decimals.len > 3 ||
        (point != SIZE_MAX && !str_to_u64(decimals, &rest))) {
        return false;
    }
    for (size_t i = 0; i < decimals.len; i++) {
        scale *= 10;
    }
    *ret_value = (double)whole + (double)rest / scale;
    return true;
}

static int set_decimal(const Loader *loader)
{
    Str range = str_from(loader->row->range);
    size_t dots = str_find(range, STR(".."));
    double least = 0;
    double most = 0;
    double value = 0;

    if (!str_is_empty(loader->text) && (!parse_decimal(loader->text, &value) ||
                                        !parse_decimal(str_slice(range, 0, dots), &least) ||
                                        !parse_decimal(str_from_offset(range, dots + 2), &most) ||
                                        value < least || value > most)) {
        return fault_range(loader, "a number with up to three decimals");
    }
    *(double *)field_of(loader) = value;
    return 0;
}

static int set_zone(const Loader *loader)
{
    if (!zone_is_valid(str_cstr(loader->arena, loader->text))) {
        return fault(loader, "write the IANA name of a time zone, e.g. Asia/Tokyo");
    }
    return set_text(loader);
}

static int set_oid(const Loader *loader)
{
    if (!str_is_empty(loader->text) && !oid_is_valid(loader->text)) {
        return fault(loader, "write an OID of digits and dots, e.g. 1.3.6.1.4.1.21367.2011.2.3.7, "
                             "at most 64 characters");
    }
    return set_text(loader);
}

static int set_home(const Loader *loader)
{
    if (!str_is_empty(loader->text) && !oid_is_valid_urn(loader->text)) {
        return fault(loader,
                     "write urn:oid: and an OID, e.g. urn:oid:1.3.6.1.4.1.21367.2009.1.2.300");
    }
    return set_text(loader);
}

static int set_fingerprint(const Loader *loader)
{
    Str fingerprint = STR_EMPTY;

    if (!str_is_empty(loader->text) &&
        !tls_fingerprint_parse(loader->arena, loader->text, &fingerprint)) {
        return fault(loader, "write the SHA-256 of the certificate, 64 hexadecimal digits: openssl "
                             "x509 -noout -fingerprint -sha256 -in FILE");
    }
    *(const char **)field_of(loader) = str_cstr(loader->arena, fingerprint);
    return 0;
}

static int set_listen(const Loader *loader)
{
    SocketAddress address;

    if (str_is_empty(loader->text)) {
        return set_text(loader);
    }
    if (!socket_parse(str_cstr(loader->arena, loader->text), &address)) {
        return fault(loader, "write ADDRESS:PORT with a numeric address, e.g. 0.0.0.0:8443 or "
                             "[::]:8443, or nothing for off");
    }
    if (loader->row->type == TYPE_LOOPBACK && !address.is_loopback) {
        return fault(loader, "a listener without TLS is allowed on loopback only, e.g. "
                             "127.0.0.1:8080 or [::1]:8080");
    }
    return set_text(loader);
}

static int set_networks(const Loader *loader)
{
    SocketNetwork *networks = NULL;
    size_t count = 0;

    if (!socket_networks_parse(str_cstr(loader->arena, loader->text), &networks, &count)) {
        return fault(loader, "write addresses and networks with commas, e.g. 192.0.2.7, "
                             "10.1.0.0/16, 2001:db8::/32");
    }
    free(networks);
    return set_text(loader);
}

static const Unit retention_units[] = {{"", 1}, {"d", 1}, {"y", 365}, {NULL, 0}};

static int set_retention(const Loader *loader)
{
    if (str_equal(loader->text, STR("forever"))) {
        *(uint64_t *)field_of(loader) = 0;
        return 0;
    }
    return parse_in_range(loader, retention_units,
                          "forever, or a number with d (days) or y (years of 365 days)",
                          field_of(loader));
}

typedef int (*SetFn)(const Loader *loader);

static const SetFn setters[] = {
    [TYPE_STRING] = set_text,
    [TYPE_PATH] = set_path,
    [TYPE_FLAG] = set_flag,
    [TYPE_CHOICE] = set_choice,
    [TYPE_SET] = set_set,
    [TYPE_NUMBER] = set_number,
    [TYPE_DURATION] = set_duration,
    [TYPE_SIZE] = set_size,
    [TYPE_OID] = set_oid,
    [TYPE_HOME] = set_home,
    [TYPE_LISTEN] = set_listen,
    [TYPE_LOOPBACK] = set_listen,
    [TYPE_FINGERPRINT] = set_fingerprint,
    [TYPE_DECIMAL] = set_decimal,
    [TYPE_ZONE] = set_zone,
    [TYPE_DATAGRAM] = set_listen,
    [TYPE_NETWORKS] = set_networks,
    [TYPE_RETENTION] = set_retention,
};

void config_set_field(Config *config, Arena *arena, ErrorList *errors, ConfigKeyId key)
{
    const Loader loader = {
        .config = config,
        .arena = arena,
        .errors = errors,
        .row = &config_rows[key],
        .location = config_location(config, key, arena),
        .text = str_from(config->sources[key].text),
    };
    (void)setters[config_rows[key].type](&loader);
}
