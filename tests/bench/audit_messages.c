#include "tests/bench/audit_messages.h"

#include <stdio.h>

#include "lib/base/clock.h"

#define HOSPITALS 40
#define USERS_PER_HOSPITAL 200
#define NAME_PARTS 20
/** Share of what is done in another hospital than the patient's. */
#define ELSEWHERE 0.05

typedef struct Invented {
    Rng rng;
    size_t hospital;
    size_t user;
    uint64_t patient;
    uint64_t number;
} Invented;

typedef struct MessageKind {
    double share;
    const char *event; /* EventIdentification, without its time */
    void (*write)(const Invented *invented, StrBuf *buf);
} MessageKind;

static const char *const family_names[NAME_PARTS] = {
    "小林", "加藤", "吉田", "山口", "松本", "井上", "木村", "林",   "斎藤", "清水",
    "山崎", "池田", "橋本", "阿部", "石川", "前田", "藤田", "後藤", "岡田", "村上"};
static const char *const given_heads[NAME_PARTS] = {"健", "大", "陽", "由", "智", "真", "恵",
                                                    "幸", "浩", "茂", "豊", "清", "進", "昭",
                                                    "実", "正", "治", "美", "結", "悠"};
static const char *const given_tails[NAME_PARTS] = {"一", "太", "子", "美", "香", "人", "之",
                                                    "彦", "樹", "代", "介", "平", "郎", "奈",
                                                    "江", "里", "穂", "夫", "男", "也"};

/* Who takes part */

static void write_user(const Invented *invented, StrBuf *buf)
{
    size_t user = invented->user;
    strbuf_printf(buf,
                  "<ActiveParticipant UserID=\"u%05zu\" UserName=\"%s %s%s\" "
                  "UserIsRequestor=\"true\" NetworkAccessPointID=\"10.%zu.%zu.%zu\" "
                  "NetworkAccessPointTypeCode=\"2\"/>",
                  user, family_names[user % NAME_PARTS],
                  given_heads[user / NAME_PARTS % NAME_PARTS],
                  given_tails[user / NAME_PARTS / NAME_PARTS % NAME_PARTS], invented->hospital,
                  user / 250 % 250, user % 250 + 1);
}

static void write_gateway(const Invented *invented, const char *role, StrBuf *buf)
{
    strbuf_printf(buf,
                  "<ActiveParticipant UserID=\"https://gw%02zu.example/xds\" "
                  "UserIsRequestor=\"false\" NetworkAccessPointID=\"gw%02zu.example\" "
                  "NetworkAccessPointTypeCode=\"1\"><RoleIDCode csd-code=\"%s\" "
                  "codeSystemName=\"DCM\"/></ActiveParticipant>",
                  invented->hospital, invented->hospital, role);
}

static void write_source(const Invented *invented, StrBuf *buf)
{
    strbuf_printf(buf, "<AuditSourceIdentification AuditSourceID=\"emr-%02zu\"/>",
                  invented->hospital);
}

static void write_object(const char *type, const char *role, const char *id_code, StrBuf *buf)
{
    strbuf_printf(buf,
                  "<ParticipantObjectIdentification ParticipantObjectTypeCode=\"%s\" "
                  "ParticipantObjectTypeCodeRole=\"%s\" ParticipantObjectID=\"%s\">"
                  "<ParticipantObjectIDTypeCode csd-code=",
                  type, role, id_code);
}

static void write_patient(const Invented *invented, StrBuf *buf)
{
    char id[64];
    (void)snprintf(id, sizeof(id), "A%09llu^^^&amp;" AUDIT_DOMAIN "&amp;ISO",
                   (unsigned long long)invented->patient);
    write_object("1", "1", id, buf);
    strbuf_literal(buf, "\"2\" codeSystemName=\"RFC-3881\"/>"
                        "</ParticipantObjectIdentification>");
}

/** A document or study that no other message has. */
static void write_item(const Invented *invented, const char *arc, const char *code, StrBuf *buf)
{
    char id[64];
    (void)snprintf(id, sizeof(id), "1.2.392.99999.%s.%zu.%llu", arc, invented->hospital,
                   (unsigned long long)invented->number);
    write_object("2", "3", id, buf);
    strbuf_printf(buf, "%s/></ParticipantObjectIdentification>", code);
}

/* Kinds */

static void write_query(const Invented *invented, StrBuf *buf)
{
    char query[96];
    int len = snprintf(query, sizeof(query), "$XDSDocumentEntryPatientId='A%09llu' (%llu)",
                       (unsigned long long)invented->patient, (unsigned long long)invented->number);
    write_gateway(invented, "110153", buf);
    write_user(invented, buf);
    write_source(invented, buf);
    write_patient(invented, buf);
    write_object("2", "24", "urn:uuid:14d4debf-8f97-4251-9a74-a90016b0af0d", buf);
    strbuf_literal(buf, "\"ITI-18\" originalText=\"Registry Stored Query\" "
                        "codeSystemName=\"IHE Transactions\"/><ParticipantObjectQuery>");
    strbuf_append_base64(buf, query, (size_t)len);
    strbuf_literal(buf, "</ParticipantObjectQuery></ParticipantObjectIdentification>");
}

static void write_retrieve(const Invented *invented, StrBuf *buf)
{
    write_gateway(invented, "110152", buf);
    write_user(invented, buf);
    write_source(invented, buf);
    write_patient(invented, buf);
    write_item(invented, "80", "\"9\" codeSystemName=\"RFC-3881\"", buf);
}

static void write_study(const Invented *invented, StrBuf *buf)
{
    write_user(invented, buf);
    write_source(invented, buf);
    write_patient(invented, buf);
    write_item(invented, "81",
               "\"110180\" originalText=\"Study Instance UID\" codeSystemName=\"DCM\"", buf);
}

static void write_chart(const Invented *invented, StrBuf *buf)
{
    write_user(invented, buf);
    write_source(invented, buf);
    write_patient(invented, buf);
}

static void write_login(const Invented *invented, StrBuf *buf)
{
    write_user(invented, buf);
    write_source(invented, buf);
}

#define EVENT(action, code, text)                                                                  \
    "EventActionCode=\"" action "\" EventOutcomeIndicator=\"0\"><EventID csd-code=\"" code         \
    "\" codeSystemName=\"DCM\" originalText=\"" text "\"/>"
#define TYPE(code, system, text)                                                                   \
    "<EventTypeCode csd-code=\"" code "\" codeSystemName=\"" system "\" originalText=\"" text "\"" \
    "/>"

static const MessageKind kinds[] = {
    {0.30,
     EVENT("E", "110112", "Query") TYPE("ITI-18", "IHE Transactions", "Registry Stored Query"),
     write_query},
    {0.20,
     EVENT("C", "110107", "Import") TYPE("ITI-43", "IHE Transactions", "Retrieve Document Set"),
     write_retrieve},
    {0.20, EVENT("R", "110103", "DICOM Instances Accessed"), write_study},
    {0.20, EVENT("R", "110110", "Patient Record"), write_chart},
    {1.00, EVENT("E", "110114", "User Authentication") TYPE("110122", "DCM", "Login"), write_login},
};

static const MessageKind *pick_kind(Rng *rng)
{
    const MessageKind *kind = kinds;
    for (double at = rng_fraction(rng); at >= kind->share; kind++) {
        at -= kind->share;
    }
    return kind;
}

void audit_message_invent(const AuditInvention *invention, uint64_t number, int64_t event_us,
                          StrBuf *buf)
{
    Invented invented = {.rng = {.state = number * 64}, .number = number};
    Str time = clock_iso8601(invention->arena, event_us);
    double rank = rng_fraction(&invented.rng);
    invented.patient = (uint64_t)((double)invention->patients * rank * rank);
    invented.hospital = rng_happens(&invented.rng, ELSEWHERE) ? rng_below(&invented.rng, HOSPITALS)
                                                              : invented.patient % HOSPITALS;
    invented.user =
        invented.hospital * USERS_PER_HOSPITAL + rng_below(&invented.rng, USERS_PER_HOSPITAL);
    const MessageKind *kind = pick_kind(&invented.rng);
    strbuf_printf(buf,
                  "<85>1 %.*s gw%02zu.example emr 4711 IHE+RFC-3881 - "
                  "<AuditMessage><EventIdentification "
                  "EventDateTime=\"%.*s\" %s</EventIdentification>",
                  STR_ARG(time), invented.hospital, STR_ARG(time), kind->event);
    kind->write(&invented, buf);
    strbuf_literal(buf, "</AuditMessage>");
    arena_clear(invention->arena);
}
