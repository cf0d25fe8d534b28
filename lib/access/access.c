#include "lib/access/access.h"

#include <assert.h>
#include <string.h>

static const char *const transactions[] = {
#define TRANSACTION(name) name,
#include "lib/access/transactions.def"
#undef TRANSACTION
};

static_assert(ARRAY_LEN(transactions) <= 64, "Principal.transactions has 64 bits");

/** Whose objects a purpose reaches. Disclosure by patient, class and confidentiality narrows this
 * further. */
typedef enum Reach {
    REACH_NOTHING, /* default deny */
    REACH_OWN_FACILITY,
    REACH_ALL,
} Reach;

struct AccessScope {
    Reach reach;
    int32_t facility_id;
};

static const Reach reach_of_registered_node[] = {
    [ACCESS_LIST] = REACH_ALL,
    [ACCESS_VIEW] = REACH_ALL,
    [ACCESS_DOWNLOAD] = REACH_ALL,
    [ACCESS_SUBMIT] = REACH_ALL,
    [ACCESS_CHANGE] = REACH_OWN_FACILITY,
};

uint64_t access_transaction_bit(const char *transaction)
{
    for (size_t i = 0; i < ARRAY_LEN(transactions); i++) {
        if (strcmp(transactions[i], transaction) == 0) {
            return UINT64_C(1) << i;
        }
    }
    return 0;
}

bool access_may_use(const Principal *principal, const char *transaction)
{
    if (!principal) {
        return false;
    }
    return principal->may_do_everything ||
           (principal->transactions & access_transaction_bit(transaction)) != 0;
}

const AccessScope *access_open(Request *req, int64_t patient_id, AccessPurpose purpose)
{
    AccessScope *scope = ARENA_NEW(req->arena, AccessScope);
    const Principal *principal = req->principal;

    (void)patient_id; /* no rule names a patient yet */
    if (!principal) {
        return scope;
    }
    if (principal->may_do_everything) {
        scope->reach = REACH_ALL;
    } else if (principal->node_id != 0) {
        scope->reach = reach_of_registered_node[purpose];
        scope->facility_id = principal->facility_id;
    }
    return scope;
}

bool access_decide(const AccessScope *scope, const AccessObject *object)
{
    switch (scope->reach) {
    case REACH_ALL:
        return true;
    case REACH_OWN_FACILITY:
        return object->source_facility != 0 && object->source_facility == scope->facility_id;
    case REACH_NOTHING:
        break;
    }
    return false;
}
