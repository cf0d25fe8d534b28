#pragma once

#include "atna/repository.h"

/** What a received audit message says. Texts are UTF-8, trimmed, and empty if absent. */

/** A coded element: csd-code or code, codeSystemName, originalText or displayName. */
typedef struct AuditCode {
    Str code;
    Str system;
    Str text;
} AuditCode;

typedef struct AuditParticipant {
    Str user_id;
    Str alternative_user_id;
    Str user_name;
    bool is_requestor;
    Str network_access_point_id;
    Str network_access_point_type; /* "1" host name, "2" address, ... */
    AuditCode *roles;
    size_t role_count;
} AuditParticipant;

/** ParticipantObjectDetail: type, value in base64; or a part of ParticipantObjectDescription: its
 * element (SOPClass, Accession, MPPS, ...), UID or number. */
typedef struct AuditDetail {
    Str name;
    Str value;
} AuditDetail;

typedef struct AuditParticipantObject {
    Str id;
    Str type; /* ParticipantObjectTypeCode: "1" person, "2" system object, ... */
    Str role; /* ParticipantObjectTypeCodeRole: "1" patient, "3" report, "24" query, ... */
    Str life_cycle;
    Str sensitivity;
    AuditCode id_type;
    Str name;
    Str query; /* base64, as sent */
    AuditDetail *details;
    size_t detail_count;
    AuditDetail *descriptions;
    size_t description_count;
} AuditParticipantObject;

typedef struct AuditMessage {
    AuditCode event_id;
    AuditCode *event_types;
    size_t event_type_count;
    AuditCode *purposes; /* PurposeOfUse */
    size_t purpose_count;
    Str action;
    Str time; /* EventDateTime as sent */
    Str outcome;
    Str outcome_text;
    AuditParticipant *participants;
    size_t participant_count;
    Str enterprise_site_id;
    Str source_id;
    AuditCode *source_types;
    size_t source_type_count;
    AuditParticipantObject *objects;
    size_t object_count;
} AuditMessage;

/** RFC 5424 6; fields that are "-" are empty. */
typedef struct SyslogHeader {
    unsigned priority; /* 0 to 191 */
    Str timestamp;
    Str host_name;
    Str application;
    Str process_id;
    Str message_id;
    Str structured_data;
} SyslogHeader;

typedef struct AuditContent {
    AuditKind kind;
    uint64_t defects;
    bool has_header;
    SyslogHeader header;
    Str text;             /* behind the header; borrowed from raw */
    AuditMessage message; /* of the first three kinds; else empty */
    bool has_time;
    int64_t event_us; /* UTC: EventDateTime, else TIMESTAMP; 0 without either */
    int outcome;      /* -1: none */
} AuditContent;

/**
 * Reads column raw. Whatever it is, the answer says what could be understood; nothing fails.
 *
 * @param is_syslog    false for own events, which are XML without a header
 * @param received_us  to judge the time
 * @param ret_content  its texts are in the arena, or borrowed from raw
 */
void record_read(Arena *arena, Str raw, bool is_syslog, int64_t received_us,
                 AuditContent *ret_content);

struct XmlReader;

/** What is kept from record to record: zero-initialise, free with record_reader_done(). */
typedef struct RecordReader {
    struct XmlReader *xml; /* NULL until the first XML */
} RecordReader;

void record_reader_done(RecordReader *reader);

/** record_read() of one record after the other, which costs less. */
void record_reader_read(RecordReader *reader, Arena *arena, Str raw, bool is_syslog,
                        int64_t received_us, AuditContent *ret_content);

/** Whether it is a patient: type 1 role 1, or the patient id type without a role. */
bool audit_object_is_patient(const AuditParticipantObject *object);
