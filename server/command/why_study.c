#include "server/command/why_study.h"

#include <stdio.h>

#include "server/command/json.h"
#include "server/command/study_row.h"
#include "server/command/why_decision.h"
#include "server/language.h"

static const WhyQuestion questions[] = {
    {"list", ACCESS_LIST, {"RAD-129", "RAD-14"}},
    {"view", ACCESS_VIEW, {"RAD-107", "RAD-55"}},
    {"download", ACCESS_DOWNLOAD, {"RAD-69", "RAD-107", "RAD-16", "RAD-55"}},
};

/** By what images are known to the rules. */
static int read_codes(const IdentityCommand *command, ImagingCodes *ret_codes)
{
    const CommandContext *context = command->context;
    DbResult *rows = NULL;
    int rc = imaging_codes_queue(context->conn, context->req,
                                 str_from(context->config->imaging.class_code),
                                 str_from(context->config->imaging.confidentiality_code));
    rc = rc < 0 ? rc : db_sync(context->conn, context->req, &rows);
    if (rc == 0) {
        *ret_codes = imaging_codes_read(rows);
    }
    return rc;
}

/** One copy. Of one that waits nothing is decided: nobody sees it. */
static int add_copy(const IdentityCommand *command, const ImagingCodes *codes,
                    const StudyCopy *copy, json_t *json, bool *ret_is_permitted)
{
    const struct Config *config = command->context->config;
    const WhyTarget target = {
        .object = study_copy_object(codes, copy),
        .patient = copy->patient,
        .patient_value = str_from(json_string_value(json_object_get(json, "xad_pid"))),
        .facility = str_from(json_string_value(json_object_get(json, "facility"))),
        .json = json,
    };
    json_object_set_new(json, "classes", json_pack("[s]", config->imaging.class_code));
    json_object_set_new(json, "confidentiality",
                        json_pack("[s]", config->imaging.confidentiality_code));
    json_object_set_new(json, "is_waiting", json_boolean(copy->patient == 0));
    *ret_is_permitted = false;
    return copy->patient == 0 ? 0
                              : why_decisions_add(command, &target, questions, ARRAY_LEN(questions),
                                                  ARRAY_LEN(questions), json, ret_is_permitted);
}

/** Copies of several persons of whom the reader may know: the server gives out none of them. */
static int add_conflict(const IdentityCommand *command, const ImagingCodes *codes,
                        StudyCopy *copies, size_t count, json_t *object, bool *ret_is_conflict)
{
    int rc = study_copies_decide(*codes, command->context->req, copies, count, ACCESS_LIST);

    *ret_is_conflict = rc == 0 && study_copies_conflict(copies, count);
    json_object_set_new(object, "is_conflict", json_boolean(*ret_is_conflict));
    return rc;
}

int why_study_add(const IdentityCommand *command, json_t *answer, bool *ret_is_permitted)
{
    Str study_uid = str_trim(str_from(command->options->study));
    json_t *list = json_array();
    json_t *object = json_pack("{s:o}", "study", json_text(study_uid));
    ImagingCodes codes = {0};
    DbResult *rows = NULL;
    bool is_conflict = false;
    bool is_permitted = false;

    json_object_set_new(answer, "object", object);
    json_object_set_new(answer, "copies", list);
    int rc = read_codes(command, &codes);
    rc = rc < 0 ? rc : study_rows_read(command, study_uid, &rows);
    const size_t count = rc < 0 ? 0 : (size_t)db_rows(rows);
    StudyCopy *copies = ARENA_ARRAY(command->arena, StudyCopy, count);
    json_object_set_new(object, "is_known", json_boolean(count > 0));
    for (size_t i = 0; rc == 0 && i < count; i++) {
        json_t *copy = study_row_json(command->arena, rows, (int)i);
        bool is_given = false;
        copies[i] = study_copy_read(rows, (int)i);
        json_array_append_new(list, copy);
        rc = add_copy(command, &codes, &copies[i], copy, &is_given);
        is_permitted = is_permitted || (is_given && db_i64(rows, (int)i, STUDY_INSTANCES) > 0);
    }
    rc = rc < 0 ? rc : add_conflict(command, &codes, copies, count, object, &is_conflict);
    *ret_is_permitted = is_permitted && !is_conflict;
    json_object_set_new(answer, "is_permitted", json_boolean(*ret_is_permitted));
    return rc < 0 ? rc : study_rows_record_shown(command, rows);
}

/* ---- telling ---- */

static void print_count(const json_t *copy, const char *name, const char *label)
{
    const json_int_t count = json_integer_value(json_object_get(copy, name));

    if (count > 0) {
        printf("%s %lld\n", label, (long long)count);
    }
}

static void print_copy(const IdentityCommand *command, const json_t *copy)
{
    (void)puts("");
    why_field_print(copy, "facility", tr("source    "));
    why_field_print(copy, "patient", tr("number    "));
    why_field_print(copy, "xad_pid", tr("patient   "));
    why_field_print(copy, "classes", tr("class     "));
    why_field_print(copy, "confidentiality", tr("confid.   "));
    print_count(copy, "instances", tr("instances "));
    print_count(copy, "rejected", tr("rejected  "));
    why_field_print(copy, "manifest_unique_id", tr("manifest  "));
    if (json_is_true(json_object_get(copy, "is_waiting"))) {
        (void)puts(tr(
            "the patient is unknown: it waits for the feed of this number (ITI-8, ITI-104, musubi "
            "patient import), and nobody sees it"));
    }
    if (json_integer_value(json_object_get(copy, "instances")) == 0) {
        (void)puts(tr("every instance was rejected by its source: none is given out"));
    }
    why_decisions_print(command, copy);
}

void why_study_print(const IdentityCommand *command, const json_t *answer)
{
    const json_t *object = json_object_get(answer, "object");
    size_t i;
    json_t *copy;

    why_field_print(object, "study", tr("study     "));
    if (json_is_false(json_object_get(object, "is_known"))) {
        (void)puts(tr("no study with this UID is kept here: everybody is told so"));
    }
    if (json_is_true(json_object_get(object, "is_conflict"))) {
        (void)puts(
            tr("copies of it are of several persons of whom the reader may know: none is given out "
               "(musubi study conflicts)"));
    }
    json_array_foreach(json_object_get(answer, "copies"), i, copy)
    {
        print_copy(command, copy);
    }
}
