#include "lib/soap/community.h"

int community_check(Request *req, Str own, Str home, const char *name, const char *location)
{
    if (str_is_empty(home)) {
        return error_add(&req->errors, ERR_XDS_MISSING_HOME_COMMUNITY_ID, location,
                         "%s is missing; send the homeCommunityId of this community, %.*s, which "
                         "the answers of this gateway carry",
                         name, STR_ARG(own));
    }
    if (!str_equal(home, own)) {
        return error_add(&req->errors, ERR_XDS_UNKNOWN_COMMUNITY, location,
                         "%s is %.*s, but this gateway answers for %.*s alone; send the request to "
                         "the gateway of the community that it is for",
                         name, STR_ARG(str_slice(home, 0, 200)), STR_ARG(own));
    }
    return 0;
}

void community_take_locations(Request *req, const char *name)
{
    for (Error *error = req->errors.first; error; error = error->next) {
        if (!str_is_empty(error->location) &&
            str_find(error->context, error->location) == SIZE_MAX) {
            error->context = str_printf(req->arena, "%s %.*s: %.*s", name, STR_ARG(error->location),
                                        STR_ARG(error->context));
        }
        error->location = STR_EMPTY;
    }
}
