#include "lib/access/endpoints.h"

#include <arpa/inet.h>
#include <string.h>

#include "lib/base/url.h"

const DbStatement endpoint_select = {
    "access_endpoints",
    "SELECT e.node, e.url, e.fingerprint FROM node_endpoint e JOIN node n ON n.id = e.node "
    "WHERE n.revoked_at IS NULL ORDER BY e.node, e.url",
};

size_t endpoints_read(const DbResult *rows, Arena *arena, Endpoint **ret_endpoints)
{
    size_t count = (size_t)db_rows(rows);
    Endpoint *endpoints = ARENA_ARRAY(arena, Endpoint, count);
    for (size_t i = 0; i < count; i++) {
        endpoints[i] = (Endpoint){
            .node_id = db_i32(rows, (int)i, 0),
            .prefix = str_dup(arena, db_text(rows, (int)i, 1)),
            .fingerprint = str_dup(arena, db_text(rows, (int)i, 2)),
        };
    }
    *ret_endpoints = endpoints;
    return count;
}

/* ---- form ---- */

/** RFC 3986 2: unreserved, reserved and '%', but for '#', '@' of user information and brackets. */
static bool has_only(Str text, const char *signs)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];
        bool is_alphanumeric =
            (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!is_alphanumeric && (c == '\0' || !strchr(signs, c))) {
            return false;
        }
    }
    return true;
}

/** "." and "..", also as %2e or before a ';': the server there may step out of the prefix by them.
 */
static bool is_dot_segment(Str segment)
{
    size_t dots = 0;
    segment.len = MIN(str_find_char(segment, ';'), segment.len);
    while (!str_is_empty(segment)) {
        size_t len = segment.data[0] == '.' ? 1 : 3;
        if (len == 3 && !str_equal_ci(str_slice(segment, 0, 3), STR("%2e"))) {
            return false;
        }
        segment = str_from_offset(segment, len);
        dots++;
    }
    return dots == 1 || dots == 2;
}

static bool has_dot_segment(Str path)
{
    Str rest = str_slice(path, 0, MIN(str_find_char(path, '?'), path.len));
    Str segment;
    while (str_split_next(&rest, '/', &segment)) {
        if (is_dot_segment(segment)) {
            return true;
        }
    }
    return false;
}

/** "%2F", "%5C": some servers take them for a slash, and step out of the prefix by "..%2F". */
static bool has_encoded_slash(Str path)
{
    Str rest = str_slice(path, 0, MIN(str_find_char(path, '?'), path.len));
    for (size_t at; (at = str_find_char(rest, '%')) != SIZE_MAX;) {
        rest = str_from_offset(rest, at + 1);
        Str code = str_slice(rest, 0, 2);
        if (str_equal_ci(code, STR("2f")) || str_equal_ci(code, STR("5c"))) {
            return true;
        }
    }
    return false;
}

static bool is_loopback(Str host)
{
    char text[INET6_ADDRSTRLEN] = "";
    struct in_addr in;
    struct in6_addr in6;
    if (host.len < sizeof(text)) {
        memcpy(text, host.data, host.len);
    }
    return str_equal_ci(host, STR("localhost")) ||
           (inet_pton(AF_INET, text, &in) == 1 && ntohl(in.s_addr) >> 24 == IN_LOOPBACKNET) ||
           (inet_pton(AF_INET6, text, &in6) == 1 && IN6_IS_ADDR_LOOPBACK(&in6));
}

bool endpoint_url_is_loopback(Str url)
{
    Url parts;
    return url_parse(url, &parts) && is_loopback(parts.host);
}

bool endpoint_url_is_good(Str url, const char **ret_problem)
{
    Url parts;
    bool is_parsed = url.len <= ENDPOINT_URL_MAX_BYTES && url_parse(url, &parts);
    bool is_plain = is_parsed && str_equal(parts.scheme, STR("http"));
    *ret_problem = NULL;
    if (!is_parsed || !has_only(parts.host, "-._~:") ||
        !has_only(parts.path, "-._~!$&'()*+,;=:@/?%")) {
        *ret_problem = "it is not of the form https://HOST:PORT/PATH, without user name and #";
    } else if (!is_plain && !str_equal(parts.scheme, STR("https"))) {
        *ret_problem = "only https addresses are called";
    } else if (is_plain && !is_loopback(parts.host)) {
        *ret_problem = "http without TLS reaches loopback addresses only: it has to be https";
    } else if (has_dot_segment(parts.path)) {
        *ret_problem = "its path has \".\" or \"..\" segments";
    } else if (has_encoded_slash(parts.path)) {
        *ret_problem = "its path has an encoded slash (%2F or %5C)";
    }
    return *ret_problem == NULL;
}

/* ---- which are permitted ---- */

static Str port_of(const Url *url)
{
    Str otherwise = str_equal(url->scheme, STR("http")) ? STR("80") : STR("443");
    return str_is_empty(url->port) ? otherwise : url->port;
}

static bool is_same_server(const Url *a, const Url *b)
{
    return str_equal(a->scheme, b->scheme) && str_equal_ci(a->host, b->host) &&
           str_equal(port_of(a), port_of(b));
}

bool endpoint_covers(Str prefix, Str url)
{
    Url wanted;
    Url given;
    const char *problem;
    if (!endpoint_url_is_good(url, &problem) || !url_parse(prefix, &wanted) ||
        !url_parse(url, &given) || !is_same_server(&wanted, &given) ||
        !str_starts_with(given.path, wanted.path)) {
        return false;
    }
    Str more = str_from_offset(given.path, wanted.path.len);
    return str_is_empty(more) || str_ends_with(wanted.path, STR("/")) || more.data[0] == '/' ||
           more.data[0] == '?';
}

const Endpoint *endpoint_find(const Endpoint *endpoints, size_t count, int32_t node_id, Str url)
{
    const Endpoint *found = NULL;
    for (size_t i = 0; i < count; i++) {
        const Endpoint *endpoint = &endpoints[i];
        if (endpoint->node_id == node_id && endpoint_covers(endpoint->prefix, url) &&
            (!found || endpoint->prefix.len > found->prefix.len)) {
            found = endpoint;
        }
    }
    return found;
}
