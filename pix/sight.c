#include "pix/sight.h"

bool sight_is_limited(const Request *req)
{
    return !req->principal || !req->principal->may_do_everything;
}

bool sight_has(const Sight *sight, const AssigningAuthority *authority)
{
    if (!sight->scope) {
        return true;
    }
    if (authority->is_affinity_domain) {
        return sight->sees_xad_pid;
    }
    return authority->facility_id != 0
               ? access_decide_facility(sight->scope, authority->facility_id)
               : sight->sees_unclaimed;
}

bool sight_has_id(const Sight *sight, int32_t authority)
{
    const AssigningAuthority *found = authorities_by_id(sight->authorities, authority);
    return !sight->scope || (found && sight_has(sight, found));
}

/** What no facility numbered: by what is seen of those that did. */
static void settle_shared(Sight *sight, const int32_t *authority_ids, size_t count)
{
    size_t claimed = 0;
    size_t seen = 0;
    for (size_t i = 0; i < count; i++) {
        const AssigningAuthority *authority =
            authorities_by_id(sight->authorities, authority_ids[i]);
        if (authority && authority->facility_id != 0) {
            claimed++;
            seen += sight_has(sight, authority);
        }
    }
    sight->sees_unclaimed = claimed > 0 && seen == claimed;
    if (!sight->sees_unclaimed) {
        sight->sees_unclaimed = access_decide_facility(sight->scope, 0);
    }
    sight->sees_xad_pid = seen > 0 || sight->sees_unclaimed;
}

int sight_open(Request *req, const Authorities *authorities, int64_t xad_pid,
               const int32_t *authority_ids, size_t count, Sight *ret_sight)
{
    *ret_sight = (Sight){.authorities = authorities};
    if (!sight_is_limited(req)) {
        return 0;
    }
    int rc = access_open(req, xad_pid, ACCESS_LIST, &ret_sight->scope);
    if (rc == 0) {
        settle_shared(ret_sight, authority_ids, count);
    }
    return rc;
}
