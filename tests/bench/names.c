#include "tests/bench/names.h"

#include <iconv.h>
#include <stdio.h>
#include <stdlib.h>

#define NAMES_MAX_BYTES (16U << 20)

/* Weight of rank n is 1/(n + offset): of family names this gives 1.2 % to the first and a hundredth
 * of it to the thousandth, near what is known of Japan; given names are flatter. */
#define FAMILY_OFFSET 10.0
#define GIVEN_OFFSET 40.0

/** Columns of Noun.name.csv. */
enum { COLUMN_SURFACE = 0, COLUMN_COST = 3, COLUMN_KIND = 7, COLUMN_READING = 11, COLUMNS };

static Str read_whole(Arena *arena, const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file) {
        return STR_EMPTY;
    }
    char *bytes = arena_alloc(arena, NAMES_MAX_BYTES);
    size_t len = fread(bytes, 1, NAMES_MAX_BYTES, file);
    fclose(file);
    return (Str){bytes, len};
}

static Str as_utf8(Arena *arena, Str text)
{
    if (str_is_utf8(text)) {
        return text;
    }
    iconv_t converter = iconv_open("UTF-8", "EUC-JP");
    if (converter == (iconv_t)-1) {
        return STR_EMPTY;
    }
    size_t room = text.len * 2;
    char *to = arena_alloc(arena, room);
    char *out = to;
    char *in = str_cstr(arena, text);
    size_t left = text.len;
    size_t r = iconv(converter, &in, &left, &out, &room);
    iconv_close(converter);
    return r == (size_t)-1 ? STR_EMPTY : (Str){to, (size_t)(out - to)};
}

/** By the last character, as most names of women show it. */
static char sex_of(Str given)
{
    static const char *const female[] = {"子", "美", "江", "枝", "代", "恵", "香", "奈",
                                         "菜", "花", "世", "乃", "佳", "穂", "里", "絵",
                                         "織", "音", "緒", "み", "か", "な"};
    for (size_t i = 0; i < ARRAY_LEN(female); i++) {
        if (str_ends_with(given, str_from(female[i]))) {
            return 'F';
        }
    }
    return 'M';
}

static int compare_cost(const void *a, const void *b)
{
    const Name *one = *(const Name *const *)a;
    const Name *other = *(const Name *const *)b;
    int order = (one->cost > other->cost) - (one->cost < other->cost);
    return order ? order : str_compare(one->kanji, other->kanji);
}

static int compare_kana(const void *a, const void *b)
{
    const Name *one = *(const Name *const *)a;
    const Name *other = *(const Name *const *)b;
    int order = str_compare(one->kana, other->kana);
    return order ? order : str_compare(one->kanji, other->kanji);
}

static void sort_list(Arena *arena, NameList *list, double offset)
{
    list->by_kana = ARENA_ARRAY(arena, const Name *, list->count);
    list->sums = ARENA_ARRAY(arena, double, list->count);
    qsort(list->by_cost, list->count, sizeof(const Name *), compare_cost);
    double sum = 0;
    for (size_t i = 0; i < list->count; i++) {
        list->by_kana[i] = list->by_cost[i];
        sum += 1.0 / ((double)i + offset);
        list->sums[i] = sum;
    }
    qsort(list->by_kana, list->count, sizeof(const Name *), compare_kana);
}

/** Names in kana alone are those of foreigners, or rare. */
static bool is_katakana(Str text)
{
    return str_compare(text, STR("ァ")) >= 0 && str_compare(text, STR("ヿ")) <= 0;
}

static void add_line(Arena *arena, Names *names, Str line)
{
    Str columns[COLUMNS];
    for (size_t i = 0; i < COLUMNS; i++) {
        if (!str_split_next(&line, ',', &columns[i])) {
            return;
        }
    }
    Str reading = columns[COLUMN_READING];
    bool is_family = str_equal(columns[COLUMN_KIND], STR("姓"));
    bool is_given = str_equal(columns[COLUMN_KIND], STR("名"));
    uint64_t cost = 0;
    if ((!is_family && !is_given) || is_katakana(columns[COLUMN_SURFACE]) ||
        !str_to_u64(columns[COLUMN_COST], &cost)) {
        return;
    }
    Name *name = ARENA_NEW(arena, Name);
    *name = (Name){columns[COLUMN_SURFACE], reading, (long)cost, sex_of(columns[COLUMN_SURFACE])};
    NameList *list = is_family ? &names->families : &names->givens;
    list->by_cost[list->count++] = name;
}

const Names *names_read(Arena *arena, const char *path)
{
    Str text = as_utf8(arena, read_whole(arena, path));
    size_t lines = 1;
    for (size_t i = 0; i < text.len; i++) {
        lines += text.data[i] == '\n';
    }
    Names *names = ARENA_NEW(arena, Names);
    names->families.by_cost = ARENA_ARRAY(arena, const Name *, lines);
    names->givens.by_cost = ARENA_ARRAY(arena, const Name *, lines);
    Str line;
    while (str_split_next(&text, '\n', &line)) {
        add_line(arena, names, line);
    }
    if (names->families.count == 0 || names->givens.count == 0) {
        return NULL;
    }
    sort_list(arena, &names->families, FAMILY_OFFSET);
    sort_list(arena, &names->givens, GIVEN_OFFSET);
    return names;
}

const Name *names_draw(const NameList *list, Rng *rng)
{
    double at = rng_fraction(rng) * list->sums[list->count - 1];
    size_t low = 0;
    size_t high = list->count - 1;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (list->sums[middle] > at) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return list->by_cost[low];
}

const Name *names_draw_given(const NameList *list, Rng *rng, char sex)
{
    const Name *name = names_draw(list, rng);
    while (name->sex != sex) {
        name = names_draw(list, rng);
    }
    return name;
}

const Name *names_homophone(const NameList *list, Rng *rng, const Name *name)
{
    const Name **found =
        bsearch(&name, list->by_kana, list->count, sizeof(const Name *), compare_kana);
    size_t first = found ? (size_t)(found - list->by_kana) : 0;
    size_t end = first;
    while (first > 0 && str_equal(list->by_kana[first - 1]->kana, name->kana)) {
        first--;
    }
    while (end < list->count && str_equal(list->by_kana[end]->kana, name->kana)) {
        end++;
    }
    if (!found || end - first < 2) {
        return NULL;
    }
    const Name *other = list->by_kana[first + rng_below(rng, end - first)];
    return other == name ? NULL : other;
}
