/* Runs every file of a corpus folder through a fuzz target, in builds without libFuzzer. */

#include <dirent.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/file_io.h"

#include "tests/fuzz/fuzz.h"

static int replay_file(const char *folder, const char *name)
{
    char path[4096];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    StrBuf input = {0};
    int rc = io_read_file(path, (size_t)1 << 30, &input);
    if (rc < 0) {
        fprintf(stderr, "%s: %s\n", path, strerror(-rc));
        return -1;
    }
    printf("%s\n", name);
    fflush(stdout); /* so that the last name is that of the input that ended the process */
    LLVMFuzzerTestOneInput((const uint8_t *)input.data, input.len);
    strbuf_done(&input);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
        return 2;
    }
    DIR *folder = opendir(argv[1]);
    if (!folder) {
        perror(argv[1]);
        return 2;
    }
    unsigned count = 0;
    int r = 0;
    for (struct dirent *entry = readdir(folder); entry; entry = readdir(folder)) {
        if (entry->d_type == DT_DIR) {
            continue;
        }
        r |= replay_file(argv[1], entry->d_name);
        count++;
    }
    closedir(folder);
    if (count == 0) {
        fprintf(stderr, "%s holds no input\n", argv[1]);
        return 1;
    }
    return r == 0 ? 0 : 1;
}
