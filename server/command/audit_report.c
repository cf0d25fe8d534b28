#include "server/command/audit_report.h"

#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/zone.h"
#include "server/command/json.h"
#include "server/language.h"

static const struct {
    const char *name;
    const char *heading;
} columns[AUDIT_COLUMN_COUNT] = {
#define COLUMN(name, heading) {#name, heading},
#include "server/command/audit_columns.def"
#undef COLUMN
};

/* ---- reading a record ---- */

static bool has_role(const AuditParticipant *participant, const char *code)
{
    for (size_t i = 0; i < participant->role_count; i++) {
        if (str_equal(participant->roles[i].code, str_from(code))) {
            return true;
        }
    }
    return false;
}

/** Whether its role is that of a machine (DICOM PS3.16 CID 402). */
static bool is_system(const AuditParticipant *participant)
{
    return has_role(participant, "110150") || has_role(participant, "110152") ||
           has_role(participant, "110153");
}

static const AuditParticipant *find_requestor(const AuditMessage *message, bool is_person)
{
    for (size_t i = 0; i < message->participant_count; i++) {
        const AuditParticipant *participant = &message->participants[i];
        if (participant->is_requestor && !(is_person && is_system(participant))) {
            return participant;
        }
    }
    return NULL;
}

const AuditParticipant *audit_person(const AuditMessage *message)
{
    const AuditParticipant *person = find_requestor(message, true);
    person = person ? person : find_requestor(message, false);
    return person || message->participant_count == 0 ? person : &message->participants[0];
}

/** The machine that the request came from: its name, and its address. */
static Str node_of(Arena *arena, const AuditMessage *message)
{
    const AuditParticipant *node = NULL;
    for (size_t i = 0; i < message->participant_count; i++) {
        const AuditParticipant *participant = &message->participants[i];
        bool has_address = !str_is_empty(participant->network_access_point_id);
        if (participant->is_requestor && has_address && (!node || is_system(participant))) {
            node = participant;
        }
    }
    if (!node) {
        return STR_EMPTY;
    }
    Str name = is_system(node) ? (str_is_empty(node->user_name) ? node->user_id : node->user_name)
                               : STR_EMPTY;
    return str_is_empty(name) ? node->network_access_point_id
                              : str_printf(arena, "%.*s (%.*s)", STR_ARG(name),
                                           STR_ARG(node->network_access_point_id));
}

static void append_listed(StrBuf *buf, Str text)
{
    strbuf_append(buf, buf->len > 0 ? STR("; ") : STR_EMPTY);
    strbuf_append(buf, text);
}

static Str patients_of(Arena *arena, const AuditMessage *message)
{
    _cleanup_(strbuf_done) StrBuf buf = {0};
    for (size_t i = 0; i < message->object_count; i++) {
        if (audit_object_is_patient(&message->objects[i])) {
            append_listed(&buf, message->objects[i].id);
        }
    }
    return str_dup(arena, strbuf_str(&buf));
}

/** "Report Number 1.2.3": what the identifier is, and the identifier. */
static Str objects_of(Arena *arena, const AuditMessage *message)
{
    _cleanup_(strbuf_done) StrBuf buf = {0};
    for (size_t i = 0; i < message->object_count; i++) {
        const AuditParticipantObject *object = &message->objects[i];
        if (!audit_object_is_patient(object)) {
            Str kind = object->id_type.text;
            append_listed(&buf, str_printf(arena, "%.*s%s%.*s", STR_ARG(kind),
                                           str_is_empty(kind) ? "" : " ", STR_ARG(object->id)));
        }
    }
    return str_dup(arena, strbuf_str(&buf));
}

static Str purposes_of(Arena *arena, const AuditMessage *message)
{
    _cleanup_(strbuf_done) StrBuf buf = {0};
    for (size_t i = 0; i < message->purpose_count; i++) {
        const AuditCode *purpose = &message->purposes[i];
        append_listed(&buf, str_is_empty(purpose->text) ? purpose->code : purpose->text);
    }
    return str_dup(arena, strbuf_str(&buf));
}

/** "read, Retrieve Document Set": EventActionCode, and the most exact name of the event. */
static Str operation_of(Arena *arena, const AuditContent *content)
{
    static const struct {
        Str code;
        const char *text;
    } actions[] = {{STR_INIT("C"), "create"},
                   {STR_INIT("R"), "read"},
                   {STR_INIT("U"), "update"},
                   {STR_INIT("D"), "delete"},
                   {STR_INIT("E"), "execute"}};
    const AuditMessage *message = &content->message;
    const AuditCode *event =
        message->event_type_count > 0 ? &message->event_types[0] : &message->event_id;
    Str name = str_is_empty(event->text) ? event->code : event->text;
    for (size_t i = 0; i < ARRAY_LEN(actions); i++) {
        if (str_equal(message->action, actions[i].code)) {
            return str_printf(arena, "%s, %.*s", tr(actions[i].text), STR_ARG(name));
        }
    }
    return name;
}

static Str event_of(Arena *arena, const AuditMessage *message)
{
    _cleanup_(strbuf_done) StrBuf buf = {0};
    strbuf_append(&buf, message->event_id.code);
    for (size_t i = 0; i < message->event_type_count; i++) {
        append_listed(&buf, message->event_types[i].code);
    }
    return str_dup(arena, strbuf_str(&buf));
}

static const char *outcome_of(const AuditContent *content)
{
    switch (content->outcome) {
    case 0:
        return tr("success");
    case 4:
        return tr("minor failure");
    case 8:
        return tr("serious failure");
    case 12:
        return tr("major failure");
    default:
        return "";
    }
}

/** A message that cannot be read is shown as what it is. */
static void read_unreadable(Arena *arena, const FoundRecord *record, AuditRow *row)
{
    row->texts[AUDIT_COLUMN_operation] = str_from(audit_kind_name((int)record->content.kind));
    row->texts[AUDIT_COLUMN_objects] =
        str_shown(arena, str_slice(str_trim(record->content.text), 0, 200));
}

void audit_row_read(Arena *arena, const FoundRecord *record, AuditRow *ret_row)
{
    const AuditContent *content = &record->content;
    const AuditMessage *message = &content->message;
    const AuditParticipant *person = audit_person(message);
    AuditRow row = {.time_us = record->event_us,
                    .received_us = record->received_us,
                    .login_us = INT64_MIN,
                    .texts = {
                        [AUDIT_COLUMN_node] = node_of(arena, message),
                        [AUDIT_COLUMN_patients] = patients_of(arena, message),
                        [AUDIT_COLUMN_operation] = operation_of(arena, content),
                        [AUDIT_COLUMN_event] = event_of(arena, message),
                        [AUDIT_COLUMN_objects] = objects_of(arena, message),
                        [AUDIT_COLUMN_purpose] = purposes_of(arena, message),
                        [AUDIT_COLUMN_outcome] = str_from(outcome_of(content)),
                        [AUDIT_COLUMN_outcome_text] = message->outcome_text,
                        [AUDIT_COLUMN_source] = message->source_id,
                        [AUDIT_COLUMN_sender] = record->sender,
                        [AUDIT_COLUMN_record] = str_printf(arena, "%d-%lld", record->chain,
                                                           (long long)record->sequence),
                    }};
    if (person) {
        row.texts[AUDIT_COLUMN_user] = person->user_id;
        row.texts[AUDIT_COLUMN_user_name] = person->user_name;
    }
    if (str_is_empty(message->event_id.code) && message->participant_count == 0) {
        read_unreadable(arena, record, &row);
    }
    *ret_row = row;
}

/* ---- writing it ---- */

Str audit_local_time(Arena *arena, const char *zone, int64_t utc_us)
{
    struct tm local;
    if (utc_us == INT64_MIN || !zone_to_local(zone, utc_us, &local)) {
        return STR_EMPTY;
    }
    return str_printf(arena, "%04d-%02d-%02d %02d:%02d:%02d", local.tm_year + 1900,
                      local.tm_mon + 1, local.tm_mday, local.tm_hour, local.tm_min, local.tm_sec);
}

/** The instant of a column of times. */
static bool time_of(const AuditRow *row, AuditColumn column, int64_t *ret_us)
{
    bool is_time = column == AUDIT_COLUMN_time || column == AUDIT_COLUMN_received_time ||
                   column == AUDIT_COLUMN_login_time;
    if (is_time) {
        *ret_us = column == AUDIT_COLUMN_time            ? row->time_us
                  : column == AUDIT_COLUMN_received_time ? row->received_us
                                                         : row->login_us;
    }
    return is_time;
}

static Str shown_text(Arena *arena, const char *zone, const AuditRow *row, AuditColumn column)
{
    int64_t utc_us;
    return time_of(row, column, &utc_us) ? audit_local_time(arena, zone, utc_us)
                                         : row->texts[column];
}

/** Also in full width, which spreadsheets take for the same where Japanese is written. */
static bool is_formula(Str text)
{
    static const Str begins[] = {STR_INIT("="),  STR_INIT("+"),  STR_INIT("-"),  STR_INIT("@"),
                                 STR_INIT("\t"), STR_INIT("\r"), STR_INIT("\n"), STR_INIT("＝"),
                                 STR_INIT("＋"), STR_INIT("－"), STR_INIT("＠")};
    for (size_t i = 0; i < ARRAY_LEN(begins); i++) {
        if (str_starts_with(text, begins[i])) {
            return true;
        }
    }
    return false;
}

/** RFC 4180. What a spreadsheet would take for a formula gets an apostrophe: the text may come from
 * a stranger. */
static void append_csv_field(StrBuf *buf, Str text)
{
    strbuf_append_char(buf, '"');
    strbuf_append(buf, is_formula(text) ? STR("'") : STR_EMPTY);
    for (size_t i = 0; i < text.len; i++) {
        strbuf_append(buf, text.data[i] == '"' ? STR("\"") : STR_EMPTY);
        strbuf_append_char(buf, text.data[i]);
    }
    strbuf_append_char(buf, '"');
}

static void write_csv(StrBuf *buf, Arena *arena, const char *zone, const AuditRow *row)
{
    for (int i = 0; i < AUDIT_COLUMN_COUNT; i++) {
        strbuf_append(buf, i > 0 ? STR(",") : STR_EMPTY);
        append_csv_field(buf, str_shown(arena, shown_text(arena, zone, row, (AuditColumn)i)));
    }
    strbuf_literal(buf, "\r\n");
}

static void write_json(StrBuf *buf, Arena *arena, const AuditRow *row)
{
    json_t *object = json_object();
    for (int i = 0; i < AUDIT_COLUMN_COUNT; i++) {
        int64_t utc_us = INT64_MIN;
        bool is_time = time_of(row, (AuditColumn)i, &utc_us);
        Str text = is_time && utc_us != INT64_MIN ? clock_iso8601(arena, utc_us) : row->texts[i];
        json_object_set_new(object, columns[i].name,
                            is_time && utc_us == INT64_MIN ? json_null() : json_text(text));
    }
    char *line = json_dumps(object, JSON_COMPACT);
    strbuf_append(buf, str_from(line));
    strbuf_append_char(buf, '\n');
    free(line);
    json_decref(object);
}

static void append_line(StrBuf *buf, const char *label, Str text)
{
    if (!str_is_empty(text)) {
        strbuf_printf(buf, "    %-*s %.*s\n", language_pad(label, 14), label, STR_ARG(text));
    }
}

static void write_text(StrBuf *buf, Arena *arena, const char *zone, const AuditRow *row)
{
    Str time = audit_local_time(arena, zone, row->time_us);
    strbuf_printf(buf, "%.*s\n", STR_ARG(time));
    for (int i = AUDIT_COLUMN_time + 1; i < AUDIT_COLUMN_COUNT; i++) {
        append_line(buf, tr(columns[i].heading),
                    str_printable(arena, shown_text(arena, zone, row, (AuditColumn)i)));
    }
}

void audit_row_write(StrBuf *buf, Arena *arena, AuditFormat format, const char *zone,
                     const AuditRow *row)
{
    switch (format) {
    case AUDIT_FORMAT_CSV:
        write_csv(buf, arena, zone, row);
        break;
    case AUDIT_FORMAT_JSON:
        write_json(buf, arena, row);
        break;
    case AUDIT_FORMAT_TEXT:
    default:
        write_text(buf, arena, zone, row);
        break;
    }
}

void audit_report_begin(StrBuf *buf, AuditFormat format)
{
    if (format != AUDIT_FORMAT_CSV) {
        return;
    }
    strbuf_literal(buf, "\xef\xbb\xbf");
    for (int i = 0; i < AUDIT_COLUMN_COUNT; i++) {
        strbuf_append(buf, i > 0 ? STR(",") : STR_EMPTY);
        append_csv_field(buf, str_from(tr(columns[i].heading)));
    }
    strbuf_literal(buf, "\r\n");
}
