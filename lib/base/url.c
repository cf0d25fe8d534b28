#include "lib/base/url.h"

bool url_parse(Str text, Url *ret_url)
{
    Url url = {.port = STR_EMPTY};
    uint64_t port = 0;
    size_t scheme_end = str_find(text, STR("://"));
    if (scheme_end == SIZE_MAX) {
        return false;
    }
    Str rest = str_from_offset(text, scheme_end + 3);
    size_t slash = MIN(str_find_char(rest, '/'), rest.len);
    Str authority = str_slice(rest, 0, slash);
    bool is_ipv6 = str_starts_with(authority, STR("["));
    size_t host_end =
        is_ipv6 ? str_find_char(authority, ']') : MIN(str_find_char(authority, ':'), authority.len);
    if (host_end == SIZE_MAX) {
        return false;
    }
    Str after = str_from_offset(authority, host_end + is_ipv6);
    if (!str_is_empty(after)) {
        url.port = str_from_offset(after, 1);
        if (after.data[0] != ':' || !str_to_u64(url.port, &port) || port == 0 ||
            port > UINT16_MAX) {
            return false;
        }
    }
    url.scheme = str_slice(text, 0, scheme_end);
    url.host = str_slice(authority, is_ipv6, host_end - is_ipv6);
    url.path = str_from_offset(rest, slash);
    *ret_url = url;
    return !str_is_empty(url.host);
}
