#include "lib/base/clock.h"
#include "lib/base/oid.h"
#include "lib/base/zone.h"
#include "lib/hl7/v3_person.h"
#include "lib/xml/write.h"
#include "repository/generator.h"

/* CDA R2: the header (4.2) says whose it is and who made it; the body has two tables (4.3.5). Order
 * of elements: POCD_MT000040.xsd. */

#define LOINC "2.16.840.1.113883.6.1"

static void append_id(StrBuf *buf, Str root, Str extension)
{
    strbuf_literal(buf, "<id root=\"");
    xml_append_escaped(buf, root);
    if (!str_is_empty(extension)) {
        strbuf_literal(buf, "\" extension=\"");
        xml_append_escaped(buf, extension);
    }
    strbuf_literal(buf, "\"/>");
}

static void append_element(StrBuf *buf, const char *name, Str text)
{
    strbuf_printf(buf, "<%s>", name);
    xml_append_escaped(buf, text);
    strbuf_printf(buf, "</%s>", name);
}

/* ---- header ---- */

static void append_patient(StrBuf *buf, Arena *arena, const PatientRecord *record)
{
    strbuf_literal(buf, "<recordTarget><patientRole>");
    append_id(buf, record->patient_domain, record->patient_number);
    v3_person_append_role(buf, arena, &record->demographics);
    strbuf_literal(buf, "<patient>");
    v3_person_append_patient(buf, arena, &record->demographics);
    strbuf_literal(buf, "</patient></patientRole></recordTarget>");
}

static void append_author(StrBuf *buf, const PatientRecord *record, Str time)
{
    strbuf_printf(buf, "<author><time value=\"%.*s\"/><assignedAuthor>", STR_ARG(time));
    append_id(buf, record->repository_id, STR_EMPTY);
    strbuf_literal(buf, "<assignedAuthoringDevice><softwareName>Musubi</softwareName>"
                        "</assignedAuthoringDevice></assignedAuthor></author>");
}

static void append_custodian(StrBuf *buf, const PatientRecord *record)
{
    strbuf_literal(buf, "<custodian><assignedCustodian><representedCustodianOrganization>");
    append_id(buf, record->custodian_id, STR_EMPTY);
    append_element(buf, "name", record->custodian_name);
    strbuf_literal(buf, "</representedCustodianOrganization></assignedCustodian></custodian>");
}

/** As the DocumentEntry has it. */
static void append_confidentiality(StrBuf *buf, const PatientRecord *record)
{
    strbuf_literal(buf, "<confidentialityCode code=\"");
    xml_append_escaped(buf, record->confidentiality);
    if (oid_is_valid(record->confidentiality_system)) {
        strbuf_literal(buf, "\" codeSystem=\"");
        xml_append_escaped(buf, record->confidentiality_system);
    }
    strbuf_literal(buf, "\"/>");
}

static void append_header(StrBuf *buf, Arena *arena, const PatientRecord *record)
{
    Str time = str_printf(arena, "%.*s+0000", STR_ARG(clock_dtm(arena, record->as_of_us)));
    strbuf_literal(buf, "<typeId root=\"2.16.840.1.113883.1.3\" extension=\"POCD_HD000040\"/>");
    append_id(buf, record->unique_id, STR_EMPTY);
    strbuf_literal(buf, "<code code=\"60591-5\" codeSystem=\"" LOINC
                        "\" codeSystemName=\"LOINC\" displayName=\"Patient summary Document\"/>"
                        "<title>患者サマリー</title>");
    strbuf_printf(buf, "<effectiveTime value=\"%.*s\"/>", STR_ARG(time));
    append_confidentiality(buf, record);
    strbuf_literal(buf, "<languageCode code=\"ja-JP\"/>");
    append_patient(buf, arena, record);
    append_author(buf, record, time);
    append_custodian(buf, record);
}

/* ---- body ---- */

/** "2026-04-01 09:30", local; empty if there is none. */
static Str shown_time(Arena *arena, const char *zone, int64_t time_us)
{
    struct tm local;
    if (time_us == INT64_MIN || !zone_to_local(zone, time_us, &local)) {
        return STR_EMPTY;
    }
    return str_printf(arena, "%04d-%02d-%02d %02d:%02d", local.tm_year + 1900, local.tm_mon + 1,
                      local.tm_mday, local.tm_hour, local.tm_min);
}

/** The same of a DA and a TM, which are local already (PS3.5 6.2). */
static Str shown_study_time(Arena *arena, const ListedStudy *study)
{
    Str d = study->date;
    Str t = study->time;
    if (d.len != 8) {
        return d;
    }
    Str date = str_printf(arena, "%.4s-%.2s-%.2s", d.data, d.data + 4, d.data + 6);
    return t.len < 4 ? date
                     : str_printf(arena, "%.*s %.2s:%.2s", STR_ARG(date), t.data, t.data + 2);
}

static void append_cells(StrBuf *buf, const char *cell, const Str *texts, size_t count)
{
    strbuf_literal(buf, "<tr>");
    for (size_t i = 0; i < count; i++) {
        append_element(buf, cell, texts[i]);
    }
    strbuf_literal(buf, "</tr>");
}

static void begin_section(StrBuf *buf, const char *title)
{
    strbuf_literal(buf, "<component><section>");
    append_element(buf, "title", str_from(title));
    strbuf_literal(buf, "<text>");
}

static void end_section(StrBuf *buf)
{
    strbuf_literal(buf, "</text></section></component>");
}

static void begin_table(StrBuf *buf, const Str *heads, size_t count)
{
    strbuf_literal(buf, "<table border=\"1\"><thead>");
    append_cells(buf, "th", heads, count);
    strbuf_literal(buf, "</thead><tbody>");
}

static void append_documents(StrBuf *buf, Arena *arena, const PatientRecord *record)
{
    static const Str heads[] = {STR_INIT("日時"), STR_INIT("文書"), STR_INIT("種別"),
                                STR_INIT("提供施設"), STR_INIT("uniqueId")};
    begin_section(buf, "文書 Documents");
    if (record->document_count == 0) {
        append_element(buf, "paragraph", STR("閲覧できる文書はありません。"));
        end_section(buf);
        return;
    }
    begin_table(buf, heads, ARRAY_LEN(heads));
    for (size_t i = 0; i < record->document_count; i++) {
        const RecordedDocument *document = &record->documents[i];
        const Str cells[] = {
            shown_time(arena, record->timezone, document->listed.time_us),
            document->listed.title,
            document->listed.type_name,
            document->facility,
            document->listed.unique_id,
        };
        append_cells(buf, "td", cells, ARRAY_LEN(cells));
    }
    strbuf_literal(buf, "</tbody></table>");
    end_section(buf);
}

static void append_studies(StrBuf *buf, Arena *arena, const PatientRecord *record)
{
    static const Str heads[] = {STR_INIT("日時"), STR_INIT("検査"), STR_INIT("モダリティ"),
                                STR_INIT("提供施設"), STR_INIT("Study Instance UID")};
    begin_section(buf, "画像検査 Imaging studies");
    if (record->study_count == 0) {
        append_element(buf, "paragraph", STR("閲覧できる画像検査はありません。"));
        end_section(buf);
        return;
    }
    begin_table(buf, heads, ARRAY_LEN(heads));
    for (size_t i = 0; i < record->study_count; i++) {
        const ListedStudy *study = &record->studies[i];
        const Str cells[] = {
            shown_study_time(arena, study),
            study->description,
            study->modalities,
            study->institution,
            study->study_uid,
        };
        append_cells(buf, "td", cells, ARRAY_LEN(cells));
    }
    strbuf_literal(buf, "</tbody></table>");
    end_section(buf);
}

void patient_summary_write(Arena *arena, const PatientRecord *record, StrBuf *buf)
{
    strbuf_literal(buf, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
                        "<ClinicalDocument xmlns=\"urn:hl7-org:v3\">");
    append_header(buf, arena, record);
    strbuf_literal(buf, "<component><structuredBody>");
    append_documents(buf, arena, record);
    if (record->has_studies) {
        append_studies(buf, arena, record);
    }
    strbuf_literal(buf, "</structuredBody></component></ClinicalDocument>\n");
}
