/* The DocumentEntry of an On-Demand document (ITI TF-2 3.61.4.1.2), and of its snapshots
 * (3.43.4.2.3). */

#include <stdatomic.h>

#include "lib/base/clock.h"
#include "lib/base/oid.h"
#include "lib/ebrim/submission_text.h"
#include "lib/ebrim/vocabulary.h"
#include "lib/xml/read.h"
#include "repository/on_demand.h"

#define FORMAT_CODE "urn:ihe:iti:xds:2017:mimeTypeSufficient^^1.3.6.1.4.1.19376.1.2.3"

static void append_codes(SubmissionText *text, const OnDemandConfig *config,
                         const OnDemandEntry *entry, Str id)
{
    const Generator *generator = entry->generator;
    const struct {
        const char *scheme;
        Code code;
        bool is_as_configured; /* what access rules name is never another */
    } codes[] = {
        {UUID_CLASS_CODE, submission_text_configured(config->class_code, "Summary"), true},
        {UUID_CONFIDENTIALITY_CODE,
         submission_text_configured(config->confidentiality_code, "Confidentiality"), true},
        {UUID_FORMAT_CODE, submission_text_configured(FORMAT_CODE, "mimeType Sufficient"), false},
        {UUID_TYPE_CODE, submission_text_configured(generator->type_code, generator->type_name),
         false},
        {UUID_FACILITY_TYPE_CODE,
         submission_text_configured("22232009^^2.16.840.1.113883.6.96", "Hospital"), false},
        {UUID_PRACTICE_SETTING_CODE,
         submission_text_configured("394802001^^2.16.840.1.113883.6.96", "General medicine"),
         false},
    };
    for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
        Code code = codes[i].code;
        if (codes[i].is_as_configured) {
            (void)submission_text_knows(text, codes[i].scheme, &code);
        } else {
            code = submission_text_known_or_first(text, codes[i].scheme, code);
        }
        submission_text_code(text, id, codes[i].scheme, code);
    }
}

/** sourcePatientId is the XAD-PID: the document is of no hospital, and follows none of its numbers.
 */
static void append_entry(SubmissionText *text, const RepositoryConfig *config,
                         const OnDemandEntry *entry, Str id)
{
    StrBuf *buf = text->buf;
    strbuf_literal(buf, "<rim:ExtrinsicObject");
    submission_text_attribute(buf, "id", id);
    submission_text_attribute(buf, "mimeType", str_from(entry->generator->mime_type));
    submission_text_attribute(buf, "objectType",
                              entry->is_snapshot ? STR(UUID_STABLE_DOCUMENT)
                                                 : STR(UUID_ON_DEMAND_DOCUMENT));
    strbuf_literal(buf, ">");
    if (entry->is_snapshot) {
        submission_text_value(buf, "creationTime", clock_dtm(text->arena, entry->created_us));
    }
    submission_text_value(buf, "languageCode", STR("ja-JP"));
    submission_text_value(buf, "repositoryUniqueId", str_from(config->unique_id));
    submission_text_value(buf, "sourcePatientId", entry->patient_id);
    submission_text_name(buf, str_from(entry->generator->title));
    append_codes(text, &config->on_demand, entry, id);
    submission_text_identifier(text, id, UUID_DOCUMENT_PATIENT_ID, "XDSDocumentEntry.patientId",
                               entry->patient_id);
    submission_text_identifier(text, id, UUID_DOCUMENT_UNIQUE_ID, "XDSDocumentEntry.uniqueId",
                               entry->unique_id);
    strbuf_literal(buf, "</rim:ExtrinsicObject>");
}

static void append_set(SubmissionText *text, const RepositoryConfig *config,
                       const OnDemandEntry *entry, Str id)
{
    const Generator *generator = entry->generator;
    const SubmissionSetText set = {
        .id = id,
        .unique_id = oid_of_uuid(text->arena, entry->set),
        .patient_id = entry->patient_id,
        .source_id = str_from(config->unique_id),
        .submission_time = clock_dtm(text->arena, clock_utc_us()),
        .content_type = submission_text_known_or_first(
            text, UUID_CONTENT_TYPE_CODE,
            submission_text_configured(generator->type_code, generator->type_name)),
    };
    submission_text_set(text, &set);
}

int on_demand_submission(const Repository *repository, Request *req, const OnDemandEntry *entry,
                         Submission **ret_submission)
{
    const RepositoryConfig *config = &repository->config;
    CodeSets *_Atomic *codes = config->on_demand.codes;
    _cleanup_(strbuf_done) StrBuf buf = {0};
    SubmissionText text = {
        .arena = req->arena, .buf = &buf, .codes = codes ? atomic_load(codes) : NULL};
    Str id = uuid_urn(req->arena, entry->entry);
    Str set = uuid_urn(req->arena, entry->set);
    XmlNode *root;
    submission_text_begin(&text);
    append_entry(&text, config, entry, id);
    append_set(&text, config, entry, set);
    submission_text_association(&text, ASSOCIATION_HAS_MEMBER, set, id, true);
    if (entry->is_snapshot) {
        submission_text_association(&text, ASSOCIATION_IS_SNAPSHOT_OF, id,
                                    uuid_urn(req->arena, entry->of), false);
    }
    if (entry->is_replacement) {
        submission_text_association(&text, ASSOCIATION_RPLC, id,
                                    uuid_urn(req->arena, entry->replaced), false);
    }
    submission_text_end(&text);
    int rc = xml_read(req, str_dup(req->arena, strbuf_str(&buf)), &root);
    return rc < 0 ? rc : submission_read(req, root, ret_submission);
}
