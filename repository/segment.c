#include "repository/segment.h"

#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/crc32c.h"
#include "lib/base/fail.h"
#include "lib/base/file_io.h"
#include "lib/base/heap.h"
#include "lib/base/random.h"
#include "lib/base/str.h"

/** Disks take several writes at once: while one sync waits for its bytes, others send theirs. */
#define SYNCS_AT_ONCE 4

/** First page of a segment: magic, number, nonce, CRC-32C of these; zeros to the end of the page.
 */
typedef struct SegmentPage {
    char magic[8];
    uint32_t number;
    uint8_t nonce[RECORD_NONCE_BYTES];
    uint32_t crc;
} SegmentPage;

static const char page_magic[8] = "MUSUBIS1";

typedef struct Segment {
    uint32_t number;
    /* One for each sync that may be under way: the kernel tells an error of writing back once to
     * each open file, so that two syncs with one descriptor could take it from each other. */
    int fds[SYNCS_AT_ONCE];
    uint64_t end; /* where the next record goes */
    uint8_t nonce[RECORD_NONCE_BYTES];
    unsigned users;         /* slots, the store if it is the current one, syncs under way */
    unsigned syncs;         /* bits: those under way that include it */
    uint64_t written_count; /* records */
    uint64_t durable_count; /* of these, from the first on */
    struct Segment *next;
} Segment;

struct SegmentSlot {
    Segment *segment;
    uint64_t offset;
    uint64_t size_bytes;
    bool is_settled;
    SegmentSlot *next; /* in order of reservation */
};

struct SegmentStore {
    int directory_fd; /* borrowed */
    uint64_t max_bytes;
    pthread_mutex_t lock;
    pthread_cond_t sync_ended;
    Segment *segments; /* open ones */
    Segment *current;  /* NULL until the first record: a start that stores nothing leaves no file */
    uint32_t next_number;
    SegmentSlot *first_slot;
    SegmentSlot *last_slot;
    uint64_t syncs_begun;
    uint64_t syncs_ended; /* the last begun of those that have ended */
    bool is_syncing[SYNCS_AT_ONCE];
    bool has_failed;
};

void segment_path(uint32_t number, char *ret_path, size_t size)
{
    snprintf(ret_path, size, "segments/%010u.seg", number);
}

static void segment_name(uint32_t number, char ret_name[32])
{
    snprintf(ret_name, 32, "%010u.seg", number);
}

static uint32_t page_crc(const SegmentPage *page)
{
    return crc32c(0, page, offsetof(SegmentPage, crc));
}

static void close_segment(Segment *segment)
{
    for (size_t i = 0; i < SYNCS_AT_ONCE; i++) {
        io_closep(&segment->fds[i]);
    }
    free(segment);
}

static void segment_release(SegmentStore *store, Segment *segment)
{
    if (--segment->users > 0) {
        return;
    }
    Segment **link = &store->segments;
    while (*link != segment) {
        link = &(*link)->next;
    }
    *link = segment->next;
    close_segment(segment);
}

static int write_first_page(SegmentStore *store, Segment *segment)
{
    uint8_t page[RECORD_ALIGN_BYTES] = {0};
    SegmentPage head = {.number = htole32(segment->number)};
    memcpy(head.magic, page_magic, sizeof(head.magic));
    memcpy(head.nonce, segment->nonce, sizeof(head.nonce));
    head.crc = htole32(page_crc(&head));
    memcpy(page, &head, sizeof(head));

    int rc = io_pwrite_all(segment->fds[0], page, sizeof(page), 0);
    if (rc == 0 && fdatasync(segment->fds[0]) != 0) {
        rc = -errno;
    }
    return rc < 0 ? rc : io_sync_directory(store->directory_fd);
}

/** Makes the file; only the first descriptor writes. */
static int create_file(const SegmentStore *store, Segment *segment, const char *name)
{
    for (size_t i = 0; i < SYNCS_AT_ONCE; i++) {
        segment->fds[i] = -1;
    }
    for (size_t i = 0; i < SYNCS_AT_ONCE; i++) {
        int flags = i == 0 ? O_RDWR | O_CREAT | O_EXCL : O_RDONLY;
        segment->fds[i] = openat(store->directory_fd, name, flags | O_CLOEXEC, 0600);
        if (segment->fds[i] < 0) {
            return -errno;
        }
    }
    return 0;
}

/** Begins a new segment; the lock is held. */
static int begin_segment(SegmentStore *store)
{
    char name[32];
    segment_name(store->next_number, name);
    Segment *segment = calloc(1, sizeof(*segment));
    if (!segment) {
        return -ENOMEM;
    }
    segment->number = store->next_number;
    segment->end = RECORD_ALIGN_BYTES;
    segment->users = 1;
    int rc = create_file(store, segment, name);
    random_bytes(segment->nonce, RECORD_NONCE_BYTES);
    if (rc == 0) {
        rc = write_first_page(store, segment);
    }
    if (rc < 0) {
        store->has_failed |= rc == -EIO;
        if (segment->fds[0] >= 0) {
            unlinkat(store->directory_fd, name, 0); /* the name is free for the next attempt */
        }
        close_segment(segment);
        return rc;
    }
    store->next_number++;
    segment->next = store->segments;
    store->segments = segment;
    if (store->current) {
        segment_release(store, store->current);
    }
    store->current = segment;
    return 0;
}

static int compare_numbers(const void *a, const void *b)
{
    uint32_t left = *(const uint32_t *)a;
    uint32_t right = *(const uint32_t *)b;
    return (left > right) - (left < right);
}

/** "0000000042.seg" */
static bool number_from_name(const char *name, uint32_t *ret_number)
{
    uint64_t number;
    Str text = str_from(name);
    if (text.len != strlen("0000000000.seg") || !str_ends_with(text, STR(".seg")) ||
        !str_to_u64(str_slice(text, 0, 10), &number) || number > UINT32_MAX) {
        return false;
    }
    *ret_number = (uint32_t)number;
    return true;
}

/** Numbers of the segments in the folder, ascending; the caller frees them. */
static int list_numbers(int directory_fd, uint32_t **ret_numbers, size_t *ret_count)
{
    DIR *directory;
    int rc = io_list_directory(directory_fd, &directory);
    if (rc < 0) {
        return rc;
    }
    uint32_t *numbers = NULL;
    size_t count = 0;
    for (struct dirent *entry; (entry = readdir(directory));) {
        uint32_t number;
        if (!number_from_name(entry->d_name, &number)) {
            continue;
        }
        numbers = heap_resized(numbers, count + 1, sizeof(*numbers));
        numbers[count++] = number;
    }
    closedir(directory);
    if (count > 0) {
        qsort(numbers, count, sizeof(*numbers), compare_numbers);
    }
    *ret_numbers = numbers;
    *ret_count = count;
    return 0;
}

int segment_store_open(int directory_fd, uint64_t max_bytes, SegmentStore **ret_store)
{
    uint32_t *numbers;
    size_t count;
    int rc = list_numbers(directory_fd, &numbers, &count);
    if (rc < 0) {
        return rc;
    }
    SegmentStore *store = HEAP_NEW(SegmentStore);
    store->directory_fd = directory_fd;
    store->max_bytes = max_bytes;
    store->next_number = count ? numbers[count - 1] + 1 : 1;
    pthread_mutex_init(&store->lock, NULL);
    pthread_cond_init(&store->sync_ended, NULL);
    free(numbers);
    *ret_store = store;
    return 0;
}

void segment_store_close(SegmentStore *store)
{
    if (!store) {
        return;
    }
    if (store->current) {
        segment_release(store, store->current);
    }
    pthread_cond_destroy(&store->sync_ended);
    pthread_mutex_destroy(&store->lock);
    free(store);
}

bool segment_store_is_trusted(SegmentStore *store)
{
    pthread_mutex_lock(&store->lock);
    bool has_failed = store->has_failed;
    pthread_mutex_unlock(&store->lock);
    return !has_failed;
}

/** Takes the next place for a record; the lock is held. */
static int reserve(SegmentStore *store, uint64_t size_bytes, SegmentSlot *slot)
{
    uint64_t total_bytes = record_total_bytes(size_bytes);
    if (store->has_failed) {
        return -EROFS;
    }
    if (!store->current || store->current->end + total_bytes > store->max_bytes) {
        int rc = begin_segment(store);
        if (rc < 0) {
            return rc;
        }
    }
    slot->segment = store->current;
    slot->offset = store->current->end;
    slot->size_bytes = size_bytes;
    store->current->end += total_bytes;
    store->current->users++;
    if (store->last_slot) {
        store->last_slot->next = slot;
    } else {
        store->first_slot = slot;
    }
    store->last_slot = slot;
    return 0;
}

static int write_record(const SegmentSlot *slot, const RecordHeader *header, const BlockCrcs *crcs,
                        const void *body)
{
    static const uint8_t zeros[RECORD_ALIGN_BYTES];
    uint8_t fixed[RECORD_FIXED_BYTES];
    record_encode(header, crcs->items, fixed);
    size_t used_bytes = (size_t)(record_header_bytes(header->size_bytes) + header->size_bytes);
    struct iovec parts[] = {
        {fixed, sizeof(fixed)},
        {crcs->items, crcs->count * sizeof(*crcs->items)},
        {WITHOUT_CONST(body), (size_t)header->size_bytes},
        {WITHOUT_CONST(zeros), (size_t)record_total_bytes(header->size_bytes) - used_bytes},
    };
    return io_pwritev_all(slot->segment->fds[0], parts, (int)ARRAY_LEN(parts), slot->offset);
}

int segment_append(SegmentStore *store, RecordHeader *header, const BlockCrcs *crcs,
                   const void *body, SegmentSlot **ret_slot)
{
    SegmentSlot *slot = HEAP_NEW(SegmentSlot);
    pthread_mutex_lock(&store->lock);
    int rc = reserve(store, header->size_bytes, slot);
    pthread_mutex_unlock(&store->lock);
    if (rc < 0) {
        free(slot);
        return rc;
    }

    memcpy(header->nonce, slot->segment->nonce, sizeof(header->nonce));
    rc = write_record(slot, header, crcs, body);

    pthread_mutex_lock(&store->lock);
    slot->segment->written_count++;
    store->has_failed |= rc == -EIO;
    pthread_mutex_unlock(&store->lock);
    if (rc < 0) {
        segment_slot_undo(store, slot);
        return rc;
    }
    fail_point("blob.segment_written");
    *ret_slot = slot;
    return 0;
}

uint32_t segment_slot_number(const SegmentSlot *slot)
{
    return slot->segment->number;
}

uint64_t segment_slot_offset(const SegmentSlot *slot)
{
    return slot->offset;
}

/** One segment of a sync; the lock is held, but not meanwhile. */
static void sync_segment(SegmentStore *store, Segment *segment, unsigned lane)
{
    uint64_t count = segment->written_count;
    pthread_mutex_unlock(&store->lock);
    bool is_durable = fdatasync(segment->fds[lane]) == 0;
    pthread_mutex_lock(&store->lock);
    store->has_failed |= !is_durable;
    segment->durable_count = MAX(segment->durable_count, is_durable ? count : 0);
    segment->syncs &= ~(1U << lane);
}

/** Syncs what was written when it began, also what another sync is about to make durable; the lock
 * is held, but not during the syncs themselves. */
static void lead_sync(SegmentStore *store, unsigned lane)
{
    uint64_t number = ++store->syncs_begun;
    store->is_syncing[lane] = true;
    for (Segment *segment = store->segments; segment; segment = segment->next) {
        bool is_dirty = segment->written_count > segment->durable_count;
        segment->syncs |= is_dirty ? 1U << lane : 0;
        segment->users += is_dirty;
    }
    Segment *next;
    for (Segment *segment = store->segments; segment; segment = next) {
        bool is_in_sync = segment->syncs & 1U << lane;
        if (is_in_sync) {
            sync_segment(store, segment, lane);
        }
        next = segment->next;
        if (is_in_sync) {
            segment_release(store, segment);
        }
    }
    store->syncs_ended = MAX(store->syncs_ended, number);
    store->is_syncing[lane] = false;
    pthread_cond_broadcast(&store->sync_ended);
}

/** @return SYNCS_AT_ONCE: none */
static unsigned free_lane(const SegmentStore *store)
{
    unsigned lane = 0;
    while (lane < SYNCS_AT_ONCE && store->is_syncing[lane]) {
        lane++;
    }
    return lane;
}

int segment_sync(SegmentStore *store)
{
    pthread_mutex_lock(&store->lock);
    uint64_t wanted = store->syncs_begun + 1; /* those under way may have missed our bytes */
    while (store->syncs_ended < wanted && !store->has_failed) {
        unsigned lane = free_lane(store);
        if (lane < SYNCS_AT_ONCE && store->syncs_begun < wanted) {
            lead_sync(store, lane);
        } else {
            pthread_cond_wait(&store->sync_ended, &store->lock);
        }
    }
    int rc = store->has_failed ? -EIO : 0;
    pthread_mutex_unlock(&store->lock);
    if (rc == 0) {
        fail_point("blob.segment_synced");
    }
    return rc;
}

void segment_slot_settle(SegmentStore *store, SegmentSlot *slot)
{
    pthread_mutex_lock(&store->lock);
    slot->is_settled = true;
    while (store->first_slot && store->first_slot->is_settled) {
        SegmentSlot *settled = store->first_slot;
        store->first_slot = settled->next;
        if (!store->first_slot) {
            store->last_slot = NULL;
        }
        segment_release(store, settled->segment);
        free(settled);
    }
    pthread_mutex_unlock(&store->lock);
}

/** For file systems without holes: the header says that the record is dead, and the bytes stay. */
static int write_tombstone(int fd, uint64_t offset)
{
    uint32_t state = htole32(RECORD_DEAD);
    return io_pwrite_all(fd, &state, sizeof(state), offset + RECORD_STATE_OFFSET);
}

/** Gives all pages of a record back, the header's as well: a replay passes over the hole. A crash
 * in the midst of it leaves a torn record or, as if nothing had been done, a whole one. */
static int bury(int fd, uint64_t offset, uint64_t total_bytes)
{
    if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
                  (off_t)total_bytes) == 0) {
        return 0;
    }
    return errno == EOPNOTSUPP ? write_tombstone(fd, offset) : -errno;
}

void segment_slot_undo(SegmentStore *store, SegmentSlot *slot)
{
    /* Nobody was told of this record: if it comes back in a crash, a replay finds it and the sweep
     * frees it. */
    (void)!bury(slot->segment->fds[0], slot->offset, record_total_bytes(slot->size_bytes));
    segment_slot_settle(store, slot);
}

void segment_settled_place(SegmentStore *store, uint32_t *ret_number, uint64_t *ret_offset)
{
    pthread_mutex_lock(&store->lock);
    if (store->first_slot) {
        *ret_number = store->first_slot->segment->number;
        *ret_offset = store->first_slot->offset;
    } else {
        *ret_number = store->current ? store->current->number : store->next_number;
        *ret_offset = store->current ? store->current->end : RECORD_ALIGN_BYTES;
    }
    pthread_mutex_unlock(&store->lock);
}

int segment_delete(SegmentStore *store, uint32_t number, uint64_t offset)
{
    char name[32];
    segment_name(number, name);
    _cleanup_(io_closep) int fd = openat(store->directory_fd, name, O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    uint8_t fixed[RECORD_FIXED_BYTES];
    RecordHeader header;
    int rc = io_pread_all(fd, fixed, sizeof(fixed), offset);
    if (rc < 0) {
        return rc;
    }
    if (!record_decode(fixed, &header)) {
        return -EBADMSG;
    }
    rc = bury(fd, offset, record_total_bytes(header.size_bytes));
    if (rc == 0 && fdatasync(fd) != 0) {
        rc = -errno;
    }
    if (rc == -EIO) {
        pthread_mutex_lock(&store->lock);
        store->has_failed = true;
        pthread_mutex_unlock(&store->lock);
    }
    return rc;
}

/** Reads first page and size. @return 0, -EBADMSG if the page is damaged (its records cannot be
 * told), or -errno */
static int open_for_replay(int directory_fd, uint32_t number, SegmentPage *ret_page,
                           uint64_t *ret_end, int *ret_fd)
{
    char name[32];
    segment_name(number, name);
    int fd = openat(directory_fd, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    struct stat info = {0};
    int rc = fdatasync(fd) == 0 && fstat(fd, &info) == 0 ? 0 : -errno;
    if (rc == 0) {
        rc = io_pread_all(fd, ret_page, sizeof(*ret_page), 0);
    }
    if (rc == -ENODATA || (rc == 0 && (memcmp(ret_page->magic, page_magic, 8) != 0 ||
                                       le32toh(ret_page->crc) != page_crc(ret_page)))) {
        rc = -EBADMSG;
    }
    if (rc != 0) {
        close(fd);
        return rc;
    }
    *ret_end = (uint64_t)info.st_size;
    *ret_fd = fd;
    return 0;
}

/** Whether a record is at offset, whole: header and, if it is live, every block. What cannot be
 * read is not whole. */
static bool read_record(int fd, uint64_t offset, uint64_t end, const SegmentPage *page,
                        RecordHeader *ret_header)
{
    uint8_t fixed[RECORD_FIXED_BYTES];
    if (io_pread_all(fd, fixed, sizeof(fixed), offset) < 0 || !record_decode(fixed, ret_header) ||
        memcmp(ret_header->nonce, page->nonce, RECORD_NONCE_BYTES) != 0 ||
        ret_header->size_bytes > end - offset ||
        record_header_bytes(ret_header->size_bytes) + ret_header->size_bytes > end - offset) {
        return false;
    }

    size_t count = ret_header->block_count;
    uint32_t *crcs = HEAP_ARRAY(uint32_t, count + 1);
    uint8_t *block = heap_room(RECORD_BLOCK_BYTES);
    bool is_intact =
        io_pread_all(fd, crcs, count * sizeof(*crcs), offset + RECORD_FIXED_BYTES) == 0 &&
        record_is_intact(fixed, crcs, count);
    if (ret_header->state == RECORD_DEAD) {
        count = 0;
    }
    uint64_t body = offset + record_header_bytes(ret_header->size_bytes);
    for (size_t i = 0; i < count && is_intact; i++) {
        size_t len = record_block_bytes(ret_header->size_bytes, i);
        is_intact = io_pread_all(fd, block, len, body + i * RECORD_BLOCK_BYTES) == 0 &&
                    record_block_is_intact(crcs, i, block, len);
    }
    free(crcs);
    free(block);
    return is_intact;
}

/** Where the next page with bytes begins, or end; offset itself where holes cannot be told. */
static uint64_t skip_hole(int fd, uint64_t offset, uint64_t end)
{
    off_t data = lseek(fd, (off_t)offset, SEEK_DATA);
    if (data < 0) {
        return errno == ENXIO ? end : offset;
    }
    return (uint64_t)data / RECORD_ALIGN_BYTES * RECORD_ALIGN_BYTES;
}

static int replay_one(int directory_fd, uint32_t number, uint64_t from, SegmentRecordFn fn,
                      void *ctx)
{
    SegmentPage page;
    uint64_t end = 0;
    _cleanup_(io_closep) int fd = -1;
    int rc = open_for_replay(directory_fd, number, &page, &end, &fd);
    if (rc < 0) {
        return rc == -EBADMSG ? 0 : rc;
    }
    uint64_t offset = record_align(MAX(from, RECORD_ALIGN_BYTES));
    while ((offset = skip_hole(fd, offset, end)) < end) {
        RecordHeader header;
        if (!read_record(fd, offset, end, &page, &header)) {
            offset += RECORD_ALIGN_BYTES;
            continue;
        }
        if (header.state == RECORD_LIVE && (rc = fn(ctx, &header, number, offset)) < 0) {
            return rc;
        }
        offset += record_total_bytes(header.size_bytes);
    }
    return 0;
}

int segment_replay(int directory_fd, uint32_t from_number, uint64_t from_offset, SegmentRecordFn fn,
                   void *ctx)
{
    uint32_t *numbers;
    size_t count;
    int rc = list_numbers(directory_fd, &numbers, &count);
    if (rc < 0) {
        return rc;
    }
    for (size_t i = 0; i < count && rc == 0; i++) {
        if (numbers[i] >= from_number) {
            rc = replay_one(directory_fd, numbers[i], numbers[i] == from_number ? from_offset : 0,
                            fn, ctx);
        }
    }
    free(numbers);
    return rc;
}
