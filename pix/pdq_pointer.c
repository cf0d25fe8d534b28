#include <inttypes.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "lib/hl7/response.h"
#include "pix/pdq_query.h"

#define SEAL_BYTES 8
#define POSITION_DIGITS 16

/* The same for every process of a database, and known to nobody outside. */
static const DbStatement select_key = {
    "pdq_select_key",
    "SELECT system_identifier::text || ' ' || current_database() FROM pg_control_system()",
};

static int read_key(const Hl7Call *call, Str *ret_key)
{
    _cleanup_(db_releasep) DbConn *conn = NULL;
    DbParams params;
    DbResult *result = NULL;
    db_params_init(&params, call->req->arena);
    int rc = db_acquire(call->pix->config.pool, call->req, &conn);
    rc = rc < 0 ? rc : db_exec(conn, call->req, &select_key, &params, &result);
    if (rc == 0) {
        *ret_key = str_dup(call->req->arena, db_text(result, 0, 0));
    }
    return rc;
}

/** Binds a position to QPD, query tag included (TF-2 3.21.4.2.3: the same query again). */
static int seal(const Hl7Call *call, Str position, Str *ret_seal)
{
    Str key = STR_EMPTY;
    int rc = read_key(call, &key);
    if (rc < 0) {
        return rc;
    }
    const Er7Segment *qpd = er7_segment(call->message, STR("QPD"), 1);
    Str query = qpd ? hl7_response_segment(call->message, qpd) : STR_EMPTY;
    Str text = str_printf(call->req->arena, "%.*s %.*s", STR_ARG(position), STR_ARG(query));
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int len = 0;
    if (!HMAC(EVP_sha256(), key.data, (int)key.len, (const unsigned char *)text.data, text.len,
              digest, &len) ||
        len < SEAL_BYTES) {
        return error_add(&call->req->errors, ERR_HL7_INTERNAL, NULL,
                         "the continuation pointer could not be made");
    }
    *ret_seal = str_hex(call->req->arena, digest, SEAL_BYTES);
    return 0;
}

int pdq_pointer_make(const Hl7Call *call, int64_t person, Str *ret_pointer)
{
    Str position = str_printf(call->req->arena, "%016" PRIx64, (uint64_t)person);
    Str sealed = STR_EMPTY;
    int rc = seal(call, position, &sealed);
    if (rc == 0) {
        *ret_pointer = str_printf(call->req->arena, "%.*s%.*s", STR_ARG(position), STR_ARG(sealed));
    }
    return rc;
}

int pdq_pointer_read(const Hl7Call *call, Str pointer, int64_t *ret_person)
{
    Str position = str_slice(pointer, 0, POSITION_DIGITS);
    Str sealed = STR_EMPTY;
    unsigned char bytes[POSITION_DIGITS / 2];
    int rc = seal(call, position, &sealed);
    if (rc < 0) {
        return rc;
    }
    if (!str_unhex(position, bytes, sizeof(bytes)) ||
        !str_equal(str_from_offset(pointer, POSITION_DIGITS), sealed)) {
        return error_add(&call->req->errors, ERR_HL7_UNKNOWN_KEY_IDENTIFIER, "DSC^1^1",
                         "the continuation pointer was not given out for this query; send DSC-1 "
                         "of the last answer with the same QPD, or the query without DSC");
    }
    uint64_t person = 0;
    for (size_t i = 0; i < sizeof(bytes); i++) {
        person = person << 8 | bytes[i];
    }
    *ret_person = (int64_t)person;
    return 0;
}
