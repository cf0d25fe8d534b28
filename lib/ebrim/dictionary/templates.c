/* Turns SubmitObjectsRequests into the templates that rendered blobs hold, one file each: what
 * train.py trains on.
 *
 *     metadata_templates DIRECTORY FILE...
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/file_io.h"
#include "lib/ebrim/object_writer.h"
#include "lib/ebrim/objects.h"
#include "lib/xml/read.h"

#define TIMEOUT_MS 60000

static Str read_all(Arena *arena, const char *path)
{
    StrBuf buf = {0};
    int rc = io_read_file(path, SIZE_MAX / 2, &buf);
    if (rc < 0) {
        (void)fprintf(stderr, "%s: %s\n", path, strerror(-rc));
        exit(1);
    }
    Str text = str_dup(arena, strbuf_str(&buf));
    strbuf_done(&buf);
    return text;
}

static void write_template(Arena *arena, const char *directory, unsigned number,
                           const RimObject *object)
{
    ObjectKind kind;
    if (!rim_object_kind(object, &kind) || kind == OBJECT_ASSOCIATION) {
        return;
    }
    StrBuf buf = {0};
    object_write_template(&buf, kind, object, uuid_new());
    Str path = str_printf(arena, "%s/%06u", directory, number);
    FILE *file = fopen(str_cstr(arena, path), "wbe");
    if (!file || fwrite(buf.data, 1, buf.len, file) != buf.len || fclose(file) != 0) {
        perror(directory);
        exit(1);
    }
    strbuf_done(&buf);
}

int main(int argc, char **argv)
{
    unsigned number = 0;
    if (argc < 3) {
        (void)fprintf(stderr, "usage: metadata_templates DIRECTORY FILE...\n");
        return 2;
    }
    xml_init();
    for (int i = 2; i < argc; i++) {
        Request *req = request_new(TIMEOUT_MS);
        XmlNode *root;
        Submission *submission;
        if (xml_read(req, read_all(req->arena, argv[i]), &root) < 0 ||
            submission_read(req, root, &submission) < 0) {
            (void)fprintf(stderr, "%s: %.*s\n", argv[i], STR_ARG(req->errors.first->context));
            return 1;
        }
        for (const RimObject *object = submission->objects; object; object = object->next) {
            write_template(req->arena, argv[1], number++, object);
        }
        request_free(req);
    }
    return 0;
}
