/* C-MOVE (PS3.4 C.4.2; RAD TF-2 4.16): instances go to a registered AE, on an association that this
 * server asks for. */

#include <stdlib.h>

#include "lib/dicom/uid.h"
#include "repository/imaging/dimse_retrieval.h"
#include "repository/imaging/outgoing.h"

/** Of one node at a time: each has a process for the other association, however long the
 * destination takes. */
#define MOVES_MAX 32

/* ---- as many as may ---- */

static int take_turn(DicomConversation *conversation, Request *req)
{
    Imaging *imaging = conversation->imaging;
    unsigned count = 0;
    pthread_mutex_lock(&imaging->conversations_lock);
    for (const DicomConversation *other = imaging->conversations; other; other = other->next) {
        count += other->is_moving && other->node == conversation->node;
    }
    conversation->is_moving = count < MOVES_MAX;
    pthread_mutex_unlock(&imaging->conversations_lock);
    return conversation->is_moving
               ? 0
               : error_add(&req->errors, ERR_DICOM_BUSY, NULL,
                           "this node has %d moves under way: ask again later", MOVES_MAX);
}

static void leave_turn(DicomConversation *conversation)
{
    pthread_mutex_lock(&conversation->imaging->conversations_lock);
    conversation->is_moving = false;
    pthread_mutex_unlock(&conversation->imaging->conversations_lock);
}

/* ---- where to ---- */

static int find_destination(DimseRetrieval *retrieval)
{
    DicomConversation *conversation = retrieval->conversation;
    Request *req = retrieval->req;
    Str title = str_trim(worker_get(strbuf_str(&conversation->heard), WORKER_DESTINATION));
    retrieval->destination =
        ae_directory_destination(conversation->imaging->aes, req->arena, req->principal, title);
    if (retrieval->destination) {
        return 0;
    }
    return error_add(&req->errors, ERR_DICOM_DESTINATION, NULL,
                     "no AE %.*s with an address is registered: ask the operator for musubi ae add",
                     STR_ARG(str_shown(req->arena, title)));
}

/* ---- what its node may have ---- */

typedef struct Permitted {
    Arena *arena;
    int64_t *instances; /* rows */
    size_t count;
    size_t capacity;
} Permitted;

static int take_permitted(void *ctx, const ImagingInstance *instance)
{
    Permitted *permitted = ctx;
    if (permitted->count == permitted->capacity) {
        permitted->instances = arena_grow(permitted->arena, permitted->instances,
                                          &permitted->capacity, 64, sizeof(int64_t));
    }
    permitted->instances[permitted->count++] = instance->instance;
    return 0;
}

static int compare_rows(const void *one, const void *other)
{
    int64_t a = *(const int64_t *)one;
    int64_t b = *(const int64_t *)other;
    return (a > b) - (a < b);
}

/** The instances of the same studies, as the destination's node would find them. */
static int find_permitted(const DimseRetrieval *retrieval, Request *of_destination,
                          Permitted *permitted)
{
    int rc = 0;
    for (size_t i = 0; i < retrieval->count && rc == 0; i++) {
        const ImagingInstance *instance = &retrieval->instances[i];
        const ImagingTarget target = {instance->study_uid, STR_EMPTY, STR_EMPTY};
        if (i == 0 || !str_equal(instance->study_uid, instance[-1].study_uid)) {
            rc = index_find_instances(retrieval->conversation->imaging, of_destination, &target,
                                      ACCESS_DOWNLOAD, take_permitted, permitted);
        }
    }
    if (permitted->count > 1) {
        qsort(permitted->instances, permitted->count, sizeof(int64_t), compare_rows);
    }
    return rc;
}

/** An AE is only sent what its own node could fetch: else who may fetch could give it to anybody.
 */
static int withhold(DimseRetrieval *retrieval)
{
    Imaging *imaging = retrieval->conversation->imaging;
    Request *req = retrieval->req;
    Permitted permitted = {.arena = req->arena};
    Request of_destination = *req;
    if (retrieval->destination->node == req->principal->node_id) {
        return 0;
    }
    of_destination.principal =
        node_directory_find_id(imaging->config.nodes, req->arena, retrieval->destination->node);
    of_destination.user = NULL;
    of_destination.rules = NULL;
    if (!of_destination.principal) {
        return error_add(&req->errors, ERR_DICOM_DESTINATION, NULL,
                         "the node of the destination is not registered any more");
    }
    int rc = find_permitted(retrieval, &of_destination, &permitted);
    req->errors = of_destination.errors;
    for (size_t i = 0; i < retrieval->count && rc == 0; i++) {
        retrieval->is_withheld[i] =
            permitted.count == 0 || !bsearch(&retrieval->instances[i].instance, permitted.instances,
                                             permitted.count, sizeof(int64_t), compare_rows);
    }
    return rc;
}

/* ---- presentation contexts ---- */

typedef struct Proposal {
    Arena *arena;
    Str contexts[OUTGOING_CONTEXTS_MAX];
    size_t count;
} Proposal;

/** Each context has one transfer syntax, so that each is accepted or refused by itself. */
static void propose(Proposal *proposal, Str sop_class, Str syntax)
{
    Str context = str_printf(proposal->arena, "%.*s %.*s", STR_ARG(sop_class), STR_ARG(syntax));
    bool is_known = proposal->count == OUTGOING_CONTEXTS_MAX;
    for (size_t i = 0; i < proposal->count && !is_known; i++) {
        is_known = str_equal(proposal->contexts[i], context);
    }
    if (!is_known) {
        proposal->contexts[proposal->count++] = context;
    }
}

/** What is stored goes first: the rest is proposed as far as there is room. */
static void propose_all(const DimseRetrieval *retrieval, Proposal *proposal)
{
    static const Str uncompressed[] = {STR_INIT(UID_EXPLICIT_LITTLE_ENDIAN),
                                       STR_INIT(UID_IMPLICIT_LITTLE_ENDIAN)};
    for (size_t i = 0; i < retrieval->count; i++) {
        const ImagingInstance *instance = &retrieval->instances[i];
        bool is_like_last = i > 0 && str_equal(instance->sop_class, instance[-1].sop_class) &&
                            str_equal(instance->transfer_syntax, instance[-1].transfer_syntax);
        if (!is_like_last) {
            propose(proposal, instance->sop_class, instance->transfer_syntax);
        }
    }
    for (size_t i = 0; i < retrieval->count; i++) {
        const ImagingInstance *instance = &retrieval->instances[i];
        bool is_like_last = i > 0 && str_equal(instance->sop_class, instance[-1].sop_class);
        for (size_t k = 0; k < ARRAY_LEN(uncompressed) && !is_like_last; k++) {
            propose(proposal, instance->sop_class, uncompressed[k]);
        }
    }
}

/* ---- the move ---- */

static bool has_any_to_send(const DimseRetrieval *retrieval)
{
    bool has_any = false;
    for (size_t i = 0; i < retrieval->count && !has_any; i++) {
        has_any = !retrieval->is_withheld[i];
    }
    return has_any;
}

/** Without an association every sub-operation fails. @return NULL: there is none */
static Outgoing *associate(DimseRetrieval *retrieval)
{
    const Imaging *imaging = retrieval->conversation->imaging;
    const OutgoingSide side = {imaging->config.workers, imaging->config.tls,
                               imaging->config.ae_title};
    Request *req = retrieval->req;
    Outgoing *outgoing = NULL;
    Proposal *proposal = ARENA_NEW(req->arena, Proposal);
    proposal->arena = req->arena;
    propose_all(retrieval, proposal);
    if (outgoing_open(&side, req, retrieval->destination, proposal->contexts, proposal->count,
                      &outgoing) < 0) {
        retrieval->operations.is_gone = true;
        retrieval->problem = STR("the destination cannot be reached");
        return NULL;
    }
    retrieval->operations.control = outgoing_control(outgoing);
    retrieval->operations.contexts = outgoing_contexts(outgoing);
    return outgoing;
}

static ConversationState move(DimseRetrieval *retrieval)
{
    SubOperations *operations = &retrieval->operations;
    Outgoing *outgoing = has_any_to_send(retrieval) ? associate(retrieval) : NULL;
    ConversationState state = dimse_retrieval_send(retrieval);
    if (outgoing && !operations->is_gone && !operations->is_asker_gone) {
        outgoing_release(outgoing);
    } else {
        outgoing_abort(outgoing);
    }
    return dimse_retrieval_end(retrieval, state);
}

ConversationState conversation_move(DicomConversation *conversation, Request *req)
{
    DimseRetrieval retrieval = {.conversation = conversation, .req = req};
    Str heard = strbuf_str(&conversation->heard);
    req->received_bytes = heard.len;
    retrieval.operations.originator_ae = conversation->ae->title;
    (void)worker_get_number(heard, WORKER_ORIGINATOR_ID, &retrieval.operations.originator_id);
    int rc = conversation_check_right(req, "RAD-16"); /* before it is told who is registered */
    rc = rc < 0 ? rc : find_destination(&retrieval);
    rc = rc < 0 ? rc : dimse_retrieval_find(&retrieval);
    rc = rc < 0 ? rc : withhold(&retrieval);
    rc = rc < 0 ? rc : take_turn(conversation, req);
    rc = rc < 0 ? rc : dimse_retrieval_begin(&retrieval);
    ConversationState state = rc < 0 ? dimse_retrieval_refuse(&retrieval) : move(&retrieval);
    leave_turn(conversation);
    return state;
}
