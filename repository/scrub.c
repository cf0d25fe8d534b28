#include <openssl/evp.h>
#include <string.h>
#include <time.h>

#include "lib/base/clock.h"
#include "repository/inspection.h"

typedef struct Scrub {
    Inspection inspection;
    uint64_t bytes_per_second; /* 0: no limit */
    uint64_t read_bytes;
    int64_t started_ns;
    StrBuf block;
    EVP_MD_CTX *digest;
} Scrub;

/** Sleeps until the bytes read so far are due. */
static void keep_rate(const Scrub *scrub)
{
    if (scrub->bytes_per_second == 0) {
        return;
    }
    double due_s = (double)scrub->read_bytes / (double)scrub->bytes_per_second;
    int64_t wait_ns = scrub->started_ns + (int64_t)(due_s * 1e9) - clock_now_ns();
    if (wait_ns <= 0) {
        return;
    }
    struct timespec wait = {.tv_sec = wait_ns / 1000000000, .tv_nsec = wait_ns % 1000000000};
    nanosleep(&wait, NULL);
}

/** Reads every block. @return 0, or what is wrong as a negative ErrorCode */
static int read_all(Scrub *scrub, BlobReader *reader, uint8_t ret_sha256[32])
{
    if (!EVP_DigestInit_ex(scrub->digest, EVP_sha256(), NULL)) {
        return -ERR_IO;
    }
    int rc;
    do {
        strbuf_clear(&scrub->block);
        rc = blob_reader_next(reader, &scrub->block);
        if (rc >= 0 &&
            !EVP_DigestUpdate(scrub->digest, strbuf_str(&scrub->block).data, scrub->block.len)) {
            rc = -ERR_IO;
        }
        scrub->read_bytes += scrub->block.len;
        keep_rate(scrub);
    } while (rc > 0);
    if (rc == 0 && !EVP_DigestFinal_ex(scrub->digest, ret_sha256, NULL)) {
        rc = -ERR_IO;
    }
    return rc;
}

static int report_damage(Scrub *scrub, const BlobInfo *info, const char *fault)
{
    Str owners;
    int rc = inspection_owners(&scrub->inspection, info->sha256, &owners);
    if (rc == 0) {
        inspection_report(&scrub->inspection, "%s, offset %llu, %.*s: %s", info->file,
                          (unsigned long long)info->offset, STR_ARG(owners), fault);
    }
    return rc;
}

static int scrub_blob(void *ctx, const BlobInfo *info)
{
    Scrub *scrub = ctx;
    BlobReader *reader;
    BlobInfo now;
    uint8_t sha256[32];
    if (blob_reader_open(scrub->inspection.blobs, info->sha256, &reader) < 0) {
        /* The sweep of a running server may have freed it since it was listed. */
        return blob_store_stat(scrub->inspection.blobs, info->sha256, &now)
                   ? report_damage(scrub, info, "the record is damaged or cannot be read")
                   : 0;
    }
    int rc = read_all(scrub, reader, sha256);
    blob_reader_free(reader);
    if (rc < 0) {
        return report_damage(scrub, info, "a block is damaged (CRC-32C) or cannot be read");
    }
    if (memcmp(sha256, info->sha256, sizeof(sha256)) != 0) {
        return report_damage(scrub, info, "the bytes are not those that were stored (SHA-256)");
    }
    return 0;
}

int64_t repository_scrub(const RepositoryConfig *config, Request *req, uint64_t bytes_per_second,
                         RepositoryFindingFn finding, void *ctx)
{
    Scrub scrub = {.bytes_per_second = bytes_per_second, .started_ns = clock_now_ns()};
    int rc = inspection_open(&scrub.inspection, config, req, finding, ctx);
    if (rc < 0) {
        return rc;
    }
    scrub.digest = EVP_MD_CTX_new();
    rc = scrub.digest ? blob_store_iterate(scrub.inspection.blobs, scrub_blob, &scrub) : -ERR_IO;
    EVP_MD_CTX_free(scrub.digest);
    strbuf_done(&scrub.block);
    inspection_close(&scrub.inspection);
    return rc < 0 ? rc : scrub.inspection.finding_count;
}
