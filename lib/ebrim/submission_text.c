#include "lib/ebrim/submission_text.h"

#include "lib/ebrim/vocabulary.h"
#include "lib/xml/write.h"

void submission_text_begin(SubmissionText *text)
{
    strbuf_literal(text->buf, "<lcm:SubmitObjectsRequest xmlns:lcm=\"" NS_LCM
                              "\" xmlns:rim=\"" NS_RIM "\"><rim:RegistryObjectList>");
}

void submission_text_end(SubmissionText *text)
{
    strbuf_literal(text->buf, "</rim:RegistryObjectList></lcm:SubmitObjectsRequest>");
}

/* ---- parts ---- */

void submission_text_attribute(StrBuf *buf, const char *name, Str value)
{
    strbuf_printf(buf, " %s=\"", name);
    xml_append_escaped(buf, value);
    strbuf_append_char(buf, '"');
}

void submission_text_id(SubmissionText *text)
{
    strbuf_printf(text->buf, " id=\"m%u\"", text->next_id++);
}

void submission_text_slot(StrBuf *buf, const char *name, const Str *values, size_t count)
{
    strbuf_printf(buf, "<rim:Slot name=\"%s\"><rim:ValueList>", name);
    for (size_t i = 0; i < count; i++) {
        strbuf_literal(buf, "<rim:Value>");
        xml_append_escaped(buf, values[i]);
        strbuf_literal(buf, "</rim:Value>");
    }
    strbuf_literal(buf, "</rim:ValueList></rim:Slot>");
}

void submission_text_value(StrBuf *buf, const char *name, Str value)
{
    if (!str_is_empty(value)) {
        submission_text_slot(buf, name, &value, 1);
    }
}

void submission_text_name(StrBuf *buf, Str name)
{
    strbuf_literal(buf, "<rim:Name><rim:LocalizedString");
    submission_text_attribute(buf, "value", name);
    strbuf_literal(buf, "/></rim:Name>");
}

void submission_text_code(SubmissionText *text, Str object, const char *scheme, Code code)
{
    StrBuf *buf = text->buf;
    strbuf_literal(buf, "<rim:Classification");
    submission_text_id(text);
    submission_text_attribute(buf, "classificationScheme", str_from(scheme));
    submission_text_attribute(buf, "classifiedObject", object);
    submission_text_attribute(buf, "nodeRepresentation", code.code);
    strbuf_literal(buf, ">");
    submission_text_value(buf, SLOT_CODING_SCHEME, code.scheme);
    submission_text_name(buf, code.display);
    strbuf_literal(buf, "</rim:Classification>");
}

void submission_text_identifier(SubmissionText *text, Str object, const char *scheme,
                                const char *name, Str value)
{
    StrBuf *buf = text->buf;
    strbuf_literal(buf, "<rim:ExternalIdentifier");
    submission_text_id(text);
    submission_text_attribute(buf, "identificationScheme", str_from(scheme));
    submission_text_attribute(buf, "registryObject", object);
    submission_text_attribute(buf, "value", value);
    strbuf_literal(buf, ">");
    submission_text_name(buf, str_from(name));
    strbuf_literal(buf, "</rim:ExternalIdentifier>");
}

void submission_text_association(SubmissionText *text, AssociationType type, Str source, Str target,
                                 bool is_original)
{
    StrBuf *buf = text->buf;
    strbuf_literal(buf, "<rim:Association");
    submission_text_id(text);
    submission_text_attribute(buf, "associationType", str_from(association_type_urn(type)));
    submission_text_attribute(buf, "sourceObject", source);
    submission_text_attribute(buf, "targetObject", target);
    strbuf_literal(buf, ">");
    submission_text_value(buf, SLOT_SUBMISSION_SET_STATUS,
                          is_original ? STR("Original") : STR_EMPTY);
    strbuf_literal(buf, "</rim:Association>");
}

void submission_text_set(SubmissionText *text, const SubmissionSetText *set)
{
    StrBuf *buf = text->buf;
    strbuf_literal(buf, "<rim:RegistryPackage");
    submission_text_attribute(buf, "id", set->id);
    strbuf_literal(buf, ">");
    submission_text_value(buf, "submissionTime", set->submission_time);
    submission_text_code(text, set->id, UUID_CONTENT_TYPE_CODE, set->content_type);
    submission_text_identifier(text, set->id, UUID_SET_PATIENT_ID, "XDSSubmissionSet.patientId",
                               set->patient_id);
    submission_text_identifier(text, set->id, UUID_SET_SOURCE_ID, "XDSSubmissionSet.sourceId",
                               set->source_id);
    submission_text_identifier(text, set->id, UUID_SET_UNIQUE_ID, "XDSSubmissionSet.uniqueId",
                               set->unique_id);
    strbuf_literal(buf, "</rim:RegistryPackage><rim:Classification");
    submission_text_id(text);
    submission_text_attribute(buf, "classifiedObject", set->id);
    submission_text_attribute(buf, "classificationNode", STR(UUID_SUBMISSION_SET_NODE));
    strbuf_literal(buf, "/>");
}

/* ---- codes ---- */

Code submission_text_configured(const char *text, const char *display)
{
    Str value = str_from(text);
    size_t separator = str_find(value, STR("^^"));
    return (Code){.code = str_slice(value, 0, separator),
                  .scheme =
                      separator == SIZE_MAX ? STR_EMPTY : str_from_offset(value, separator + 2),
                  .display = str_from(display)};
}

bool submission_text_knows(const SubmissionText *text, const char *scheme, Code *code)
{
    Code found;
    if (!text->codes) {
        return !str_is_empty(code->code);
    }
    if (!code_sets_find(text->codes, str_from(scheme), code->code, code->scheme, &found)) {
        return false;
    }
    code->display = str_is_empty(found.display) ? code->display : found.display;
    return true;
}

Code submission_text_known_or_first(const SubmissionText *text, const char *scheme, Code wanted)
{
    if (!submission_text_knows(text, scheme, &wanted) && text->codes) {
        (void)code_sets_first(text->codes, str_from(scheme), &wanted);
    }
    return wanted;
}
