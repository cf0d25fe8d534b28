#include "tests/bench/parts.h"

#include <fcntl.h>
#include <libxml/parser.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* xmlsec.h comes before the others */
/* clang-format off */
#include <xmlsec/xmlsec.h>
#include <xmlsec/openssl/app.h>
#include <xmlsec/openssl/crypto.h>
#include <xmlsec/openssl/evp.h>
#include <xmlsec/xmldsig.h>
#include <xmlsec/xmltree.h>
/* clang-format on */

#include "lib/base/crc32c.h"

#include "tests/bench/measure.h"

#define CRC_BLOCK_BYTES (64 * 1024)
#define SHA_BLOCK_BYTES (64 * 1024)
#define NAME_SIZE 32

static void write_all(int fd, const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, bytes, len);
        if (n <= 0) {
            die("floor: cannot write");
        }
        bytes += n;
        len -= (size_t)n;
    }
}

void group_file_open(GroupFile *file, const char *path)
{
    *file =
        (GroupFile){.fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600)};
    if (file->fd < 0) {
        die("floor: cannot make the file");
    }
    pthread_mutex_init(&file->lock, NULL);
    pthread_cond_init(&file->synced, NULL);
}

/** Syncs what is written by now, with the lock free meanwhile. */
static void lead(GroupFile *file)
{
    uint64_t written_bytes = file->written_bytes;
    file->is_syncing = true;
    pthread_mutex_unlock(&file->lock);
    if (fdatasync(file->fd) != 0) {
        die("floor: cannot sync");
    }
    pthread_mutex_lock(&file->lock);
    file->is_syncing = false;
    file->synced_bytes = written_bytes;
    pthread_cond_broadcast(&file->synced);
}

uint64_t group_file_write(GroupFile *file, const void *bytes, size_t len)
{
    pthread_mutex_lock(&file->lock);
    write_all(file->fd, bytes, len);
    uint64_t mine = file->written_bytes += len;
    pthread_mutex_unlock(&file->lock);
    return mine;
}

void group_file_settle(GroupFile *file, uint64_t written_bytes)
{
    pthread_mutex_lock(&file->lock);
    while (file->synced_bytes < written_bytes) {
        if (file->is_syncing) {
            pthread_cond_wait(&file->synced, &file->lock);
        } else {
            lead(file);
        }
    }
    pthread_mutex_unlock(&file->lock);
}

void group_file_append(GroupFile *file, const void *bytes, size_t len)
{
    group_file_settle(file, group_file_write(file, bytes, len));
}

static void ignore_start(void *ctx, const xmlChar *name, const xmlChar *prefix, const xmlChar *uri,
                         int namespaces, const xmlChar **namespace_list, int attributes,
                         int defaulted, const xmlChar **attribute_list)
{
    (void)ctx;
    (void)name;
    (void)prefix;
    (void)uri;
    (void)namespaces;
    (void)namespace_list;
    (void)attributes;
    (void)defaulted;
    (void)attribute_list;
}

static void ignore_end(void *ctx, const xmlChar *name, const xmlChar *prefix, const xmlChar *uri)
{
    (void)ctx;
    (void)name;
    (void)prefix;
    (void)uri;
}

static void ignore_text(void *ctx, const xmlChar *text, int len)
{
    (void)ctx;
    (void)text;
    (void)len;
}

bool part_sax(const char *bytes, size_t len)
{
    xmlSAXHandler handler = {.initialized = XML_SAX2_MAGIC,
                             .startElementNs = ignore_start,
                             .endElementNs = ignore_end,
                             .characters = ignore_text};
    return xmlSAXUserParseMemory(&handler, NULL, bytes, (int)len) == 0;
}

static EVP_PKEY *xmlsec_key;

void part_xmlsec_init(const char *certificate)
{
    FILE *file = fopen(certificate, "re");
    X509 *x509 = file ? PEM_read_X509(file, NULL, NULL, NULL) : NULL;
    xmlInitParser();
    if (!x509 || xmlSecInit() < 0 || xmlSecOpenSSLAppInit(NULL) < 0 || xmlSecOpenSSLInit() < 0) {
        die("floor: cannot read the certificate, or start xmlsec");
    }
    (void)fclose(file);
    xmlsec_key = X509_get_pubkey(x509);
    X509_free(x509);
}

bool part_xmlsec(const char *bytes, size_t len)
{
    xmlDoc *document = xmlReadMemory(bytes, (int)len, NULL, NULL, XML_PARSE_NONET);
    xmlNode *root = xmlDocGetRootElement(document);
    xmlAttr *id = xmlHasProp(root, (const xmlChar *)"ID");
    xmlAddID(NULL, document, id->children->content, id);
    xmlSecDSigCtx *context = xmlSecDSigCtxCreate(NULL);
    EVP_PKEY_up_ref(xmlsec_key);
    context->signKey = xmlSecKeyCreate();
    xmlSecKeySetValue(context->signKey, xmlSecOpenSSLEvpKeyAdopt(xmlsec_key));
    xmlNode *signature = xmlSecFindNode(root, xmlSecNodeSignature, xmlSecDSigNs);
    bool is_good = xmlSecDSigCtxVerify(context, signature) == 0 &&
                   context->status == xmlSecDSigStatusSucceeded;
    xmlSecDSigCtxDestroy(context);
    xmlFreeDoc(document);
    return is_good;
}

void part_sha(const void *bytes, size_t len)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    EVP_MD_CTX *sha1 = EVP_MD_CTX_new();
    EVP_MD_CTX *sha256 = EVP_MD_CTX_new();
    EVP_DigestInit_ex(sha1, EVP_sha1(), NULL);
    EVP_DigestInit_ex(sha256, EVP_sha256(), NULL);
    for (size_t at = 0; at < len; at += SHA_BLOCK_BYTES) {
        size_t piece = len - at < SHA_BLOCK_BYTES ? len - at : SHA_BLOCK_BYTES;
        EVP_DigestUpdate(sha1, (const char *)bytes + at, piece);
        EVP_DigestUpdate(sha256, (const char *)bytes + at, piece);
    }
    EVP_DigestFinal_ex(sha1, digest, NULL);
    EVP_DigestFinal_ex(sha256, digest, NULL);
    EVP_MD_CTX_free(sha1);
    EVP_MD_CTX_free(sha256);
}

uint32_t part_crc(const void *bytes, size_t len)
{
    uint32_t sum = 0;
    for (size_t at = 0; at < len; at += CRC_BLOCK_BYTES) {
        size_t piece = len - at < CRC_BLOCK_BYTES ? len - at : CRC_BLOCK_BYTES;
        sum ^= crc32c(0, (const char *)bytes + at, piece);
    }
    return sum;
}

void part_file(int directory, uint64_t number, const void *bytes, size_t len)
{
    char name[NAME_SIZE];
    char temporary[NAME_SIZE];
    (void)snprintf(name, sizeof(name), "%llu", (unsigned long long)number);
    (void)snprintf(temporary, sizeof(temporary), "%llu.tmp", (unsigned long long)number);
    int fd = openat(directory, temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        die("floor: cannot make a file");
    }
    write_all(fd, bytes, len);
    if (fsync(fd) != 0 || renameat(directory, temporary, directory, name) != 0 ||
        fsync(directory) != 0) {
        die("floor: cannot sync a file");
    }
    close(fd);
}
