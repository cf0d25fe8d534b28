#include "lib/dicom/worker_dimse.h"

#include <string.h>

#include "lib/dicom/dataset.h"

#define ELEMENT_HEADER 8U
#define NO_DATA_SET 0x0101U /* PS3.7 E.1 */
#define WITH_DATA_SET 0x0001U
#define MESSAGE_TIMEOUT_S 60   /* between the pieces of one message */
#define RESPONSE_TIMEOUT_S 600 /* a peer may store slowly */
#define COMMENT_MAX 64U        /* LO */

/* ---- command sets ---- */

static uint32_t little_endian(const char *bytes, size_t count)
{
    uint32_t value = 0;
    for (size_t i = count; i > 0; i--) {
        value = value << 8 | (unsigned char)bytes[i - 1];
    }
    return value;
}

/** Takes the next element off *rest. @return false: there is none, or it does not end */
static bool next_element(Str *rest, uint32_t *ret_element, Str *ret_value)
{
    if (rest->len < ELEMENT_HEADER || little_endian(rest->data, 2) != 0) {
        return false;
    }
    uint32_t len = little_endian(rest->data + 4, 4);
    if (len > rest->len - ELEMENT_HEADER) {
        return false;
    }
    *ret_element = little_endian(rest->data + 2, 2);
    *ret_value = (Str){rest->data + ELEMENT_HEADER, len};
    *rest = str_from_offset(*rest, ELEMENT_HEADER + len);
    return true;
}

bool dimse_is_command(Str command)
{
    int64_t before = -1;
    uint32_t element = 0;
    Str value;
    while (next_element(&command, &element, &value)) {
        if ((int64_t)element <= before) {
            return false;
        }
        before = element;
    }
    return command.len == 0 && before >= DIMSE_COMMAND_FIELD;
}

static Str find(Str command, DimseElement wanted)
{
    uint32_t element = 0;
    Str value;
    while (next_element(&command, &element, &value)) {
        if (element == (uint32_t)wanted) {
            return value;
        }
    }
    return STR_EMPTY;
}

uint32_t dimse_number(Str command, DimseElement element, uint32_t otherwise)
{
    Str value = find(command, element);
    return value.len == 2 || value.len == 4 ? little_endian(value.data, value.len) : otherwise;
}

Str dimse_text(Str command, DimseElement element)
{
    Str value = find(command, element);
    while (value.len > 0 &&
           (value.data[value.len - 1] == '\0' || value.data[value.len - 1] == ' ')) {
        value.len--;
    }
    while (value.len > 0 && value.data[0] == ' ') {
        value = str_from_offset(value, 1);
    }
    return value;
}

bool dimse_has_data_set(Str command)
{
    return dimse_number(command, DIMSE_DATA_SET_TYPE, NO_DATA_SET) != NO_DATA_SET;
}

static void put_little_endian(StrBuf *buf, uint32_t value, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        strbuf_append_char(buf, (char)(value >> (8 * i) & 0xff));
    }
}

static bool is_uid(DimseElement element)
{
    return element == DIMSE_AFFECTED_CLASS || element == DIMSE_REQUESTED_CLASS ||
           element == DIMSE_AFFECTED_INSTANCE || element == DIMSE_REQUESTED_INSTANCE;
}

/** Where an element of this number belongs: command sets are in the order of tags. */
static size_t place_of(Str command, DimseElement wanted)
{
    uint32_t element = 0;
    Str rest = command;
    Str value;
    size_t place = 0;
    while (next_element(&rest, &element, &value) && element < (uint32_t)wanted) {
        place = command.len - rest.len;
    }
    return place;
}

static void insert(StrBuf *command, DimseElement element, Str value)
{
    _cleanup_(strbuf_done) StrBuf after = {0};
    size_t place = place_of(strbuf_str(command), element);

    strbuf_append(&after, str_from_offset(strbuf_str(command), place));
    strbuf_truncate(command, place);
    put_little_endian(command, 0, 2);
    put_little_endian(command, (uint32_t)element, 2);
    put_little_endian(command, (uint32_t)value.len, 4);
    strbuf_append(command, value);
    strbuf_append(command, strbuf_str(&after));
}

void dimse_put_number(StrBuf *command, DimseElement element, uint32_t value)
{
    const char bytes[] = {(char)(value & 0xff), (char)(value >> 8 & 0xff)};
    insert(command, element, (Str){bytes, sizeof(bytes)});
}

void dimse_put_text(StrBuf *command, DimseElement element, Str text)
{
    _cleanup_(strbuf_done) StrBuf padded = {0};
    strbuf_append(&padded, text);
    if (text.len % 2) {
        strbuf_append_char(&padded, is_uid(element) ? '\0' : ' ');
    }
    if (text.len > 0) {
        insert(command, element, strbuf_str(&padded));
    }
}

/* ---- messages ---- */

static DimseState state_of(AssociationEvent event)
{
    return event == ASSOCIATION_RELEASED  ? DIMSE_RELEASED
           : event == ASSOCIATION_ABORTED ? DIMSE_ABORTED
                                          : DIMSE_BROKEN;
}

/** One whole command set, into session->command. */
static DimseState receive_command(DimseSession *session, int timeout_s)
{
    AssociationData data = {0};

    strbuf_clear(&session->command);
    while (!data.is_last) {
        AssociationEvent event = association_read(session->association, timeout_s, &data);
        if (event != ASSOCIATION_DATA) {
            return state_of(event);
        }
        bool is_first = session->command.len == 0;
        if (!data.is_command || data.len > DIMSE_COMMAND_MAX - session->command.len ||
            (!is_first && data.context != session->command_context) ||
            (data.len == 0 && !data.is_last)) {
            return DIMSE_VIOLATED;
        }
        session->command_context = data.context;
        strbuf_append_bytes(&session->command, data.bytes, data.len);
        timeout_s = MESSAGE_TIMEOUT_S;
    }
    return dimse_is_command(strbuf_str(&session->command)) ? DIMSE_OPEN : DIMSE_VIOLATED;
}

DimseState dimse_receive(DimseSession *session, int timeout_s)
{
    DimseState state = receive_command(session, timeout_s);
    strbuf_clear(&session->request);
    strbuf_append(&session->request, strbuf_str(&session->command));
    session->context = session->command_context;
    return state;
}

DimseState dimse_receive_data_set(DimseSession *session, DimseDataFn take, void *ctx)
{
    AssociationData data = {0};
    bool is_wanted = take != NULL;

    while (!data.is_last) {
        AssociationEvent event = association_read(session->association, MESSAGE_TIMEOUT_S, &data);
        if (event != ASSOCIATION_DATA) {
            return state_of(event);
        }
        if (data.is_command || data.context != session->context) {
            return DIMSE_VIOLATED;
        }
        is_wanted = is_wanted && (data.len == 0 || take(ctx, data.bytes, data.len));
    }
    return DIMSE_OPEN;
}

bool dimse_send(DimseSession *session, uint8_t context, const StrBuf *command)
{
    _cleanup_(strbuf_done) StrBuf whole = {0};
    const char length[] = {(char)(command->len & 0xff), (char)(command->len >> 8 & 0xff), 0, 0};

    strbuf_append(&whole, strbuf_str(command));
    insert(&whole, DIMSE_GROUP_LENGTH, (Str){length, sizeof(length)});
    const AssociationData data = {.context = context,
                                  .is_command = true,
                                  .is_last = true,
                                  .bytes = whole.data,
                                  .len = whole.len};
    return association_write(session->association, &data);
}

bool dimse_send_data(DimseSession *session, uint8_t context, Str bytes, bool is_last)
{
    size_t size = association_write_size(session->association);
    do {
        Str piece = str_slice(bytes, 0, size);
        bytes = str_from_offset(bytes, piece.len);
        const AssociationData data = {.context = context,
                                      .is_last = is_last && bytes.len == 0,
                                      .bytes = piece.data,
                                      .len = piece.len};
        if (!association_write(session->association, &data)) {
            return false;
        }
    } while (bytes.len > 0);
    return true;
}

bool dimse_context(const DimseSession *session, uint8_t id, AssociationContext *ret_context)
{
    for (size_t i = 0; association_context_at(session->association, i, ret_context); i++) {
        if (ret_context->is_accepted && ret_context->id == id) {
            return true;
        }
    }
    return false;
}

/* ---- responses ---- */

/** Which fields of STATUS become which elements. */
static const struct {
    WorkerField field;
    DimseElement element;
} counters[] = {
    {WORKER_REMAINING, DIMSE_REMAINING},
    {WORKER_COMPLETED, DIMSE_COMPLETED},
    {WORKER_FAILED, DIMSE_FAILED},
    {WORKER_WARNING, DIMSE_WARNINGS},
};

static void put_counters(Str fields, StrBuf *response)
{
    uint64_t count = 0;
    for (size_t i = 0; i < ARRAY_LEN(counters); i++) {
        if (worker_get_number(fields, counters[i].field, &count)) {
            dimse_put_number(response, counters[i].element, (uint32_t)MIN(count, 0xffffU));
        }
    }
}

/** (0000,0901): the elements, as pairs of numbers. */
static void put_offending(Str fields, StrBuf *response)
{
    _cleanup_(strbuf_done) StrBuf tags = {0};
    WorkerField field;
    Str value;
    uint64_t tag = 0;

    for (Str here = fields; worker_next(&fields, &field, &value); here = fields) {
        if (field == WORKER_TAG && worker_get_number(here, WORKER_TAG, &tag)) {
            put_little_endian(&tags, (uint32_t)(tag >> 16), 2);
            put_little_endian(&tags, (uint32_t)tag, 2);
        }
    }
    if (tags.len > 0) {
        insert(response, DIMSE_OFFENDING, strbuf_str(&tags));
    }
}

/** (0000,0902) is short, and of the default repertoire. */
static void put_comment(Str comment, StrBuf *response)
{
    char shown[COMMENT_MAX];
    size_t len = MIN(comment.len, sizeof(shown));
    for (size_t i = 0; i < len; i++) {
        char c = comment.data[i];
        shown[i] = c >= ' ' && c <= '~' && c != '\\' ? c : '?';
    }
    dimse_put_text(response, DIMSE_COMMENT, (Str){shown, len});
}

/** (0008,0058) in the transfer syntax of the context; empty without a failed instance. */
static void write_failed(const DimseSession *session, Str fields, StrBuf *ret_data_set)
{
    _cleanup_(strbuf_done) StrBuf uids = {0};
    AssociationContext context;
    WorkerField field;
    Str value;

    while (worker_next(&fields, &field, &value)) {
        if (field == WORKER_FAILED_INSTANCE) {
            strbuf_append(&uids, uids.len > 0 ? STR("\\") : STR_EMPTY);
            strbuf_append(&uids, value);
        }
    }
    const TransferSyntax *syntax = dimse_context(session, session->context, &context)
                                       ? transfer_syntax_find(str_from(context.syntaxes[0]))
                                       : NULL;
    if (uids.len > 0 && syntax) {
        _cleanup_(arena_freep) Arena *arena = arena_new();
        DicomDataset *data_set = dicom_dataset_new(arena);
        dicom_put(arena, data_set, DICOM_TAG(0x0008, 0x0058), DICOM_VR_UI, strbuf_str(&uids));
        dicom_write(data_set, syntax, ret_data_set);
    }
}

static void begin_response(const DimseSession *session, StrBuf *response)
{
    Str request = strbuf_str(&session->request);
    uint32_t command = dimse_number(request, DIMSE_COMMAND_FIELD, 0);
    bool is_action = command == DIMSE_N_ACTION;

    dimse_put_text(response, DIMSE_AFFECTED_CLASS,
                   dimse_text(request, is_action ? DIMSE_REQUESTED_CLASS : DIMSE_AFFECTED_CLASS));
    dimse_put_number(response, DIMSE_COMMAND_FIELD, command | DIMSE_RESPONSE);
    dimse_put_number(response, DIMSE_ANSWERED_ID, dimse_number(request, DIMSE_MESSAGE_ID, 0));
    dimse_put_text(
        response, DIMSE_AFFECTED_INSTANCE,
        dimse_text(request, is_action ? DIMSE_REQUESTED_INSTANCE : DIMSE_AFFECTED_INSTANCE));
}

DimseState dimse_respond(DimseSession *session, Str fields, Str data_set)
{
    _cleanup_(strbuf_done) StrBuf response = {0};
    _cleanup_(strbuf_done) StrBuf failed = {0};
    uint64_t status = DIMSE_CANNOT_UNDERSTAND;

    begin_response(session, &response);
    (void)worker_get_number(fields, WORKER_STATUS, &status);
    dimse_put_number(&response, DIMSE_STATUS, (uint32_t)status);
    put_offending(fields, &response);
    put_comment(worker_get(fields, WORKER_COMMENT), &response);
    put_counters(fields, &response);
    if (status != DIMSE_PENDING) {
        write_failed(session, fields, &failed);
    }
    Str with = data_set.len > 0 ? data_set : strbuf_str(&failed);
    dimse_put_number(&response, DIMSE_DATA_SET_TYPE, with.len > 0 ? WITH_DATA_SET : NO_DATA_SET);
    return dimse_send(session, session->context, &response) &&
                   (with.len == 0 || dimse_send_data(session, session->context, with, true))
               ? DIMSE_OPEN
               : DIMSE_BROKEN;
}

DimseState dimse_respond_status(DimseSession *session, uint32_t status, const char *comment)
{
    _cleanup_(strbuf_done) StrBuf fields = {0};
    worker_put_number(&fields, WORKER_STATUS, status);
    worker_put(&fields, WORKER_COMMENT, str_from(comment));
    return dimse_respond(session, strbuf_str(&fields), STR_EMPTY);
}

/* ---- requests of our own ---- */

static bool is_cancel(const DimseSession *session)
{
    return dimse_number(strbuf_str(&session->command), DIMSE_COMMAND_FIELD, 0) == DIMSE_C_CANCEL;
}

DimseState dimse_receive_cancel(DimseSession *session)
{
    DimseState state = receive_command(session, MESSAGE_TIMEOUT_S);
    return state != DIMSE_OPEN ? state : is_cancel(session) ? DIMSE_OPEN : DIMSE_VIOLATED;
}

uint16_t dimse_begin_request(DimseSession *session, DimseCommand command, bool has_data_set,
                             StrBuf *ret_command)
{
    session->last_id++;
    dimse_put_number(ret_command, DIMSE_COMMAND_FIELD, command);
    dimse_put_number(ret_command, DIMSE_MESSAGE_ID, session->last_id);
    dimse_put_number(ret_command, DIMSE_DATA_SET_TYPE, has_data_set ? WITH_DATA_SET : NO_DATA_SET);
    return session->last_id;
}

DimseState dimse_receive_response(DimseSession *session, uint16_t id,
                                  const DimseInterruption *interruption)
{
    for (;;) {
        DimseState state = receive_command(session, RESPONSE_TIMEOUT_S);
        Str command = strbuf_str(&session->command);
        bool is_response =
            state == DIMSE_OPEN && (dimse_number(command, DIMSE_COMMAND_FIELD, 0) & DIMSE_RESPONSE);
        if (state != DIMSE_OPEN) {
            return state;
        }
        if (is_response) {
            return dimse_number(command, DIMSE_ANSWERED_ID, 0) == id && !dimse_has_data_set(command)
                       ? DIMSE_OPEN
                       : DIMSE_VIOLATED;
        }
        if (!interruption || !is_cancel(session)) {
            return DIMSE_VIOLATED;
        }
        interruption->cancelled(interruption->ctx);
    }
}

/* ---- the server ---- */

bool dimse_hear(DimseSession *session, WorkerMessageKind *ret_kind)
{
    return worker_hear(session->control, INT64_MAX, ret_kind, &session->content) == 1;
}

bool dimse_say(DimseSession *session, WorkerMessageKind kind)
{
    bool is_said = worker_say(session->control, kind, strbuf_str(&session->said));
    strbuf_clear(&session->said);
    return is_said;
}

DimseState dimse_tell_outcome(DimseSession *session)
{
    Str response = strbuf_str(&session->command);
    worker_put_number(&session->said, WORKER_STATUS,
                      dimse_number(response, DIMSE_STATUS, DIMSE_CANNOT_UNDERSTAND));
    worker_put(&session->said, WORKER_COMMENT, dimse_text(response, DIMSE_COMMENT));
    return dimse_say(session, WORKER_SAYS_OUTCOME) ? DIMSE_OPEN : DIMSE_SERVER_GONE;
}

/** The context that was agreed for exactly this. @return 0: none */
static uint8_t find_context(const DimseSession *session, Str sop_class, Str syntax,
                            AssociationRole role)
{
    AssociationContext context;
    for (size_t i = 0; association_context_at(session->association, i, &context); i++) {
        if (context.is_accepted &&
            (context.role == role || context.role == ASSOCIATION_ROLE_BOTH) &&
            str_equal(str_from(context.abstract_syntax), sop_class) &&
            str_equal(str_from(context.syntaxes[0]), syntax)) {
            return context.id;
        }
    }
    return 0;
}

/**
 * Passes the data set on; without a context it only comes to its end. One piece is held back until
 * the next is there: the last one has to say that it is the last.
 */
static DimseState pass_data_set(DimseSession *session, uint8_t context)
{
    _cleanup_(strbuf_done) StrBuf held = {0};
    WorkerMessageKind kind = WORKER_SAYS_DATA_OUT;

    while (kind != WORKER_SAYS_SENT) {
        if (!dimse_hear(session, &kind) ||
            (kind != WORKER_SAYS_SENT && kind != WORKER_SAYS_DATA_OUT)) {
            return DIMSE_SERVER_GONE;
        }
        bool is_last = kind == WORKER_SAYS_SENT;
        if (context != 0 && (is_last || held.len > 0) &&
            !dimse_send_data(session, context, strbuf_str(&held), is_last)) {
            return DIMSE_BROKEN;
        }
        StrBuf next = session->content;
        session->content = held;
        held = next;
    }
    return DIMSE_OPEN;
}

static uint16_t begin_store(DimseSession *session, Str fields, StrBuf *command)
{
    uint16_t id = dimse_begin_request(session, DIMSE_C_STORE, true, command);
    uint64_t originator = 0;

    dimse_put_text(command, DIMSE_AFFECTED_CLASS, worker_get(fields, WORKER_SOP_CLASS));
    dimse_put_text(command, DIMSE_AFFECTED_INSTANCE, worker_get(fields, WORKER_SOP_INSTANCE));
    dimse_put_number(command, DIMSE_PRIORITY, 0);
    dimse_put_text(command, DIMSE_ORIGINATOR_AE, worker_get(fields, WORKER_ORIGINATOR_AE));
    if (worker_get_number(fields, WORKER_ORIGINATOR_ID, &originator)) {
        dimse_put_number(command, DIMSE_ORIGINATOR_ID, (uint32_t)originator);
    }
    return id;
}

static DimseState refuse_store(DimseSession *session)
{
    DimseState state = pass_data_set(session, 0);
    if (state != DIMSE_OPEN) {
        return state;
    }
    worker_put_number(&session->said, WORKER_STATUS, DIMSE_NO_SUCH_CLASS);
    worker_put(&session->said, WORKER_COMMENT, STR("no presentation context was agreed"));
    return dimse_say(session, WORKER_SAYS_OUTCOME) ? DIMSE_OPEN : DIMSE_SERVER_GONE;
}

DimseState dimse_store(DimseSession *session, AssociationRole role,
                       const DimseInterruption *interruption)
{
    _cleanup_(strbuf_done) StrBuf command = {0};
    Str fields = strbuf_str(&session->content);
    uint8_t context = find_context(session, worker_get(fields, WORKER_SOP_CLASS),
                                   worker_get(fields, WORKER_TRANSFER_SYNTAX), role);
    if (context == 0) {
        return refuse_store(session);
    }
    uint16_t id = begin_store(session, fields, &command);
    if (!dimse_send(session, context, &command)) {
        return DIMSE_BROKEN;
    }
    DimseState state = pass_data_set(session, context);
    state = state == DIMSE_OPEN ? dimse_receive_response(session, id, interruption) : state;
    return state == DIMSE_OPEN ? dimse_tell_outcome(session) : state;
}

/* ---- the end ---- */

void dimse_end(DimseSession *session, DimseState state)
{
    static const char *const texts[] = {
        [DIMSE_OPEN] = "released",
        [DIMSE_RELEASED] = "released",
        [DIMSE_ABORTED] = "aborted",
        [DIMSE_REFUSED] = "refused",
        [DIMSE_BROKEN] = "the connection ended, was silent for too long, or carried no PDU",
        [DIMSE_VIOLATED] = "what came is no message of DIMSE",
        [DIMSE_SERVER_GONE] = "ended by the server",
    };
    bool is_to_be_aborted =
        state == DIMSE_BROKEN || state == DIMSE_VIOLATED || state == DIMSE_SERVER_GONE;
    if (session->association && is_to_be_aborted) {
        association_abort(session->association);
    }
    association_free(session->association);
    strbuf_clear(&session->said);
    worker_put(&session->said, WORKER_TEXT, str_from(texts[state]));
    (void)worker_say(session->control, WORKER_SAYS_RELEASED, strbuf_str(&session->said));
    strbuf_done(&session->request);
    strbuf_done(&session->command);
    strbuf_done(&session->content);
    strbuf_done(&session->said);
}
