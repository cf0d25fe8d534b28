/* A submission of any shape: read, checked, rendered, put out again. What is put out is well-formed
 * and reads as the same kind of object; what is written for another registry reads as a submission.
 */

#include "lib/ebrim/rendered.h"
#include "lib/ebrim/vocabulary.h"
#include "lib/xml/read.h"

#include "tests/fuzz/fuzz.h"

#define LIST_BEGIN                                                                                 \
    "<lcm:SubmitObjectsRequest xmlns:lcm=\"" NS_LCM "\" xmlns:rim=\"" NS_RIM                       \
    "\"><rim:RegistryObjectList>"
#define LIST_END "</rim:RegistryObjectList></lcm:SubmitObjectsRequest>"

static Submission *read_again(Request *req, const StrBuf *text)
{
    XmlNode *root = NULL;
    Submission *submission = NULL;
    FUZZ_CHECK(xml_read(req, strbuf_str(text), &root) == 0);
    FUZZ_CHECK(submission_read(req, root, &submission) == 0);
    return submission;
}

static void render(Request *req, RenderDictionaries *dictionaries, ObjectKind kind,
                   const RimObject *object, Uuid entry_uuid)
{
    RenderValues values = {
        .entry_uuid = entry_uuid,
        .lid = entry_uuid,
        .version = 1,
        .patient_id = STR("1^^^&1.2.3&ISO"),
        .unique_id = STR("<&\"1.2.3"),
        .size_bytes = 1,
    };
    StrBuf text = {0};
    strbuf_literal(&text, LIST_BEGIN);
    Str blob = rendered_make(req->arena, dictionaries, kind, object, entry_uuid);
    if (kind == OBJECT_ASSOCIATION) {
        FUZZ_CHECK(rendered_append_association(dictionaries, ASSOCIATION_RPLC, entry_uuid,
                                               entry_uuid, blob, &values, &text) == 0);
    } else {
        FUZZ_CHECK(rendered_append(dictionaries, kind, blob, &values, &text) == 0);
    }
    strbuf_literal(&text, LIST_END);
    const Submission *again = read_again(req, &text);
    FUZZ_CHECK(again->objects && !again->objects->next);
    FUZZ_CHECK(again->objects->kind == object->kind);
    strbuf_done(&text);
}

static void render_all(Request *req, const Submission *submission)
{
    RenderDictionaries *dictionaries = render_dictionaries_new();
    for (const DocumentEntry *d = submission->documents; d; d = d->next) {
        render(req, dictionaries, OBJECT_DOCUMENT_ENTRY, d->object, d->entry_uuid);
    }
    if (submission->submission_set) {
        render(req, dictionaries, OBJECT_SUBMISSION_SET, submission->submission_set->object,
               submission->submission_set->entry_uuid);
    }
    for (const Folder *f = submission->folders; f; f = f->next) {
        render(req, dictionaries, OBJECT_FOLDER, f->object, f->entry_uuid);
    }
    for (const Association *a = submission->associations; a; a = a->next) {
        render(req, dictionaries, OBJECT_ASSOCIATION, a->object, a->entry_uuid);
    }
    render_dictionaries_free(dictionaries);
}

static void write_again(Request *req, const Submission *submission)
{
    StrBuf text = {0};
    submission_write(submission, &text);
    const Submission *again = read_again(req, &text);
    FUZZ_CHECK(again->document_count == submission->document_count);
    FUZZ_CHECK(again->folder_count == submission->folder_count);
    FUZZ_CHECK(again->association_count == submission->association_count);
    FUZZ_CHECK(again->submission_set_count == submission->submission_set_count);
    strbuf_done(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    xml_init();
    Request *req = request_new(1000);
    XmlNode *root = NULL;
    Submission *submission = NULL;
    if (xml_read(req, (Str){(const char *)bytes, len}, &root) == 0 &&
        submission_read(req, root, &submission) == 0) {
        unsigned errors = req->errors.error_count;
        int r = submission_check(req, submission, SUBMISSION_ITI42, NULL);
        FUZZ_CHECK((r < 0) == (req->errors.error_count > errors));
        render_all(req, submission);
        write_again(req, submission);
    }
    request_free(req);
    return 0;
}
