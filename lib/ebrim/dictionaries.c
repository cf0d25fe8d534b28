#include "lib/ebrim/dictionaries.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <zstd.h>

#include "lib/base/heap.h"
#include "lib/ebrim/object_writer.h"

/* metadata_1.dict, made a C array by dictionary/embed.py */
extern const unsigned char metadata_dictionary[];
extern const size_t metadata_dictionary_size;

/* Some microseconds for a DocumentEntry; level 9 gains a tenth in size and takes three times as
 * long. */
#define LEVEL 3
/* What a blob may decompress to. */
#define TEXT_MAX (16u * 1024 * 1024)
/* Idle contexts kept, and the text buffer kept with each. */
#define CONTEXTS_KEPT 16
#define TEXT_KEPT (256u * 1024)

typedef struct Dictionary {
    uint32_t id;
    ZSTD_DDict *decompress;
    struct Dictionary *next;
} Dictionary;

/** Working memory of one call. A pool, not one per thread: most threads are idle connections. */
typedef struct Context {
    ZSTD_CCtx *compress;
    ZSTD_DCtx *decompress;
    StrBuf text;
    struct Context *next;
} Context;

struct RenderDictionaries {
    _Atomic(Dictionary *) first;
    ZSTD_CDict *compress;
    StrBuf plain_association;
    pthread_mutex_t lock; /* of the pool */
    Context *idle;
    unsigned idle_count;
};

static void *or_abort(void *memory)
{
    if (!memory) {
        abort();
    }
    return memory;
}

/* ---- pool ---- */

static Context *context_take(RenderDictionaries *dictionaries)
{
    pthread_mutex_lock(&dictionaries->lock);
    Context *context = dictionaries->idle;
    if (context) {
        dictionaries->idle = context->next;
        dictionaries->idle_count--;
    }
    pthread_mutex_unlock(&dictionaries->lock);
    if (!context) {
        context = or_abort(calloc(1, sizeof(*context)));
        context->compress = or_abort(ZSTD_createCCtx());
        context->decompress = or_abort(ZSTD_createDCtx());
    }
    return context;
}

static void context_free(Context *context)
{
    ZSTD_freeCCtx(context->compress);
    ZSTD_freeDCtx(context->decompress);
    strbuf_done(&context->text);
    free(context);
}

static void context_give(RenderDictionaries *dictionaries, Context *context)
{
    if (context->text.cap > TEXT_KEPT) {
        strbuf_done(&context->text);
    }
    pthread_mutex_lock(&dictionaries->lock);
    bool is_kept = dictionaries->idle_count < CONTEXTS_KEPT;
    if (is_kept) {
        context->next = dictionaries->idle;
        dictionaries->idle = context;
        dictionaries->idle_count++;
    }
    pthread_mutex_unlock(&dictionaries->lock);
    if (!is_kept) {
        context_free(context);
    }
}

/* ---- dictionaries ---- */

static const Dictionary *dictionary_find(const RenderDictionaries *dictionaries, uint32_t id)
{
    const Dictionary *dictionary = atomic_load(&dictionaries->first);
    while (dictionary && dictionary->id != id) {
        dictionary = dictionary->next;
    }
    return dictionary;
}

Str render_dictionary_builtin(uint32_t *ret_id)
{
    *ret_id = ZSTD_getDictID_fromDict(metadata_dictionary, metadata_dictionary_size);
    return (Str){(const char *)metadata_dictionary, metadata_dictionary_size};
}

bool render_dictionary_add(RenderDictionaries *dictionaries, uint32_t id, Str bytes)
{
    if (id == 0 || ZSTD_getDictID_fromDict(bytes.data, bytes.len) != id) {
        return false;
    }
    if (dictionary_find(dictionaries, id)) {
        return true;
    }
    ZSTD_DDict *decompress = ZSTD_createDDict(bytes.data, bytes.len);
    if (!decompress) {
        return false;
    }
    Dictionary *dictionary = or_abort(calloc(1, sizeof(*dictionary)));
    dictionary->id = id;
    dictionary->decompress = decompress;
    dictionary->next = atomic_load(&dictionaries->first);
    while (!atomic_compare_exchange_weak(&dictionaries->first, &dictionary->next, dictionary)) {
    }
    return true;
}

RenderDictionaries *render_dictionaries_new(void)
{
    RenderDictionaries *dictionaries = HEAP_NEW(RenderDictionaries);
    if (pthread_mutex_init(&dictionaries->lock, NULL) != 0) {
        abort();
    }
    uint32_t id;
    Str builtin = render_dictionary_builtin(&id);
    if (!render_dictionary_add(dictionaries, id, builtin)) {
        abort();
    }
    dictionaries->compress = or_abort(ZSTD_createCDict(builtin.data, builtin.len, LEVEL));
    static const RimObject association = {.kind = RIM_ASSOCIATION};
    object_write_template(&dictionaries->plain_association, OBJECT_ASSOCIATION, &association,
                          (Uuid){0});
    return dictionaries;
}

void render_dictionaries_free(RenderDictionaries *dictionaries)
{
    if (!dictionaries) {
        return;
    }
    Dictionary *dictionary = atomic_load(&dictionaries->first);
    while (dictionary) {
        Dictionary *next = dictionary->next;
        ZSTD_freeDDict(dictionary->decompress);
        free(dictionary);
        dictionary = next;
    }
    while (dictionaries->idle) {
        Context *next = dictionaries->idle->next;
        context_free(dictionaries->idle);
        dictionaries->idle = next;
    }
    ZSTD_freeCDict(dictionaries->compress);
    strbuf_done(&dictionaries->plain_association);
    pthread_mutex_destroy(&dictionaries->lock);
    free(dictionaries);
}

Str dictionaries_plain_association(const RenderDictionaries *dictionaries)
{
    return strbuf_str(&dictionaries->plain_association);
}

/* ---- blobs ---- */

Str dictionaries_compress(RenderDictionaries *dictionaries, Arena *arena, Str text)
{
    Context *context = context_take(dictionaries);
    size_t bound = ZSTD_compressBound(text.len);
    strbuf_clear(&context->text);
    char *place = strbuf_reserve(&context->text, bound);
    (void)ZSTD_CCtx_reset(context->compress, ZSTD_reset_session_and_parameters);
    (void)ZSTD_CCtx_setParameter(context->compress, ZSTD_c_checksumFlag, 1);
    (void)ZSTD_CCtx_refCDict(context->compress, dictionaries->compress);
    size_t len = ZSTD_compress2(context->compress, place, bound, text.data, text.len);
    if (ZSTD_isError(len)) {
        abort(); /* the buffer is large enough, so memory is exhausted */
    }
    Str blob = str_dup(arena, (Str){place, len});
    context_give(dictionaries, context);
    return blob;
}

static int decompress(const RenderDictionaries *dictionaries, Context *context, Str blob,
                      Str *ret_text)
{
    uint32_t id = ZSTD_getDictID_fromFrame(blob.data, blob.len);
    const Dictionary *dictionary = dictionary_find(dictionaries, id);
    unsigned long long size = ZSTD_getFrameContentSize(blob.data, blob.len);
    if (!dictionary || size == ZSTD_CONTENTSIZE_UNKNOWN || size == ZSTD_CONTENTSIZE_ERROR ||
        size > TEXT_MAX) {
        return -(int)ERR_CORRUPT;
    }
    strbuf_clear(&context->text);
    char *place = strbuf_reserve(&context->text, (size_t)size);
    size_t len = ZSTD_decompress_usingDDict(context->decompress, place, (size_t)size, blob.data,
                                            blob.len, dictionary->decompress);
    if (len != size) {
        return -(int)ERR_CORRUPT;
    }
    *ret_text = (Str){place, len};
    return 0;
}

int dictionaries_decompress(RenderDictionaries *dictionaries, Str blob,
                            int (*use)(void *ctx, Str text), void *ctx)
{
    Context *context = context_take(dictionaries);
    Str text;
    int r = decompress(dictionaries, context, blob, &text);
    if (r == 0) {
        r = use(ctx, text);
    }
    context_give(dictionaries, context);
    return r;
}
