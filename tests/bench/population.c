#include "tests/bench/population.h"

#include <stdio.h>

#include "tests/bench/names.h"

#define TOWNS 800
#define LAST_YEAR 2025
#define RECORDS_MAX 4
#define HOUSEHOLD_MAX 5
#define TWIN_PAIRS_SHARE 0.004     /* of persons: 0.8 % of them are twins */
#define NAMESAKE_PAIRS_SHARE 0.012 /* 2.4 % share name and birth date with another */

const char *const error_words[ERROR_KINDS] = {
#define ERROR(kind, share, words) [ERROR_##kind] = (words),
#include "tests/bench/population_errors.def"
#undef ERROR
};

static const double error_shares[ERROR_KINDS] = {
#define ERROR(kind, share, words) [ERROR_##kind] = (share),
#include "tests/bench/population_errors.def"
#undef ERROR
};

/** Where somebody lives or lived. */
typedef struct Home {
    uint32_t town;
    uint32_t numbers[3];
    uint32_t room;   /* 0: a house */
    uint32_t phone;  /* of the family: eight digits */
    bool has_mobile; /* the family's phone is one, and stays when they move */
} Home;

typedef struct Person {
    const Name *family;
    const Name *other_family; /* before or after a marriage */
    const Name *given;
    uint32_t year;
    uint32_t month;
    uint32_t day;
    char sex;
    Home home;
    Home other_home;
    uint32_t mobile; /* 0: none */
    uint32_t other_mobile;
} Person;

typedef struct Generator {
    Arena *arena;
    const Names *names;
    Rng rng;
    Person *persons;
    Population *population;
    double one_error; /* of records */
    double two_errors;
    double share_sums[ERROR_KINDS];
} Generator;

static uint32_t below(Generator *generator, uint32_t limit)
{
    return (uint32_t)rng_below(&generator->rng, limit);
}

/* ---- persons ---- */

static Home new_home(Generator *generator)
{
    Home home = {
        .town = below(generator, TOWNS),
        .numbers = {1 + below(generator, 9), 1 + below(generator, 40), 1 + below(generator, 30)},
        .phone = 20000000 + below(generator, 70000000)};
    home.has_mobile = rng_happens(&generator->rng, 0.6);
    home.room = rng_happens(&generator->rng, 0.4) ? 101 + below(generator, 900) : 0;
    return home;
}

/** Adults of a family have a mobile phone, most children and some of the old have none. */
static uint32_t new_mobile(Generator *generator, uint32_t age)
{
    double share = age < 15 ? 0.1 : age > 75 ? 0.5 : 0.85;
    return rng_happens(&generator->rng, share) ? 10000000 + below(generator, 90000000) : 0;
}

static void complete_person(Generator *generator, Person *person)
{
    person->other_family = names_draw(&generator->names->families, &generator->rng);
    person->other_home = new_home(generator);
    person->mobile = new_mobile(generator, LAST_YEAR - person->year);
    person->other_mobile = person->mobile ? 10000000 + below(generator, 90000000) : 0;
}

static Person new_member(Generator *generator, const Name *family, const Home *home, uint32_t age)
{
    Person person = {.family = family,
                     .year = LAST_YEAR - age,
                     .month = 1 + below(generator, 12),
                     .day = 1 + below(generator, 28),
                     .sex = rng_happens(&generator->rng, 0.5) ? 'F' : 'M',
                     .home = *home};
    person.given = names_draw_given(&generator->names->givens, &generator->rng, person.sex);
    complete_person(generator, &person);
    return person;
}

/** Nobody in a family is called as another. */
static bool has_namesake(const Person *members, size_t count, const Name *given)
{
    for (size_t i = 0; i < count; i++) {
        if (str_equal(members[i].given->kana, given->kana)) {
            return true;
        }
    }
    return false;
}

/** Two adults and their children, as many as there is room for. */
static size_t add_household(Generator *generator, Person *persons, size_t room)
{
    static const size_t sizes[] = {1, 1, 1, 2, 2, 2, 3, 3, 4, HOUSEHOLD_MAX};
    size_t size = sizes[rng_below(&generator->rng, ARRAY_LEN(sizes))];
    const Name *family = names_draw(&generator->names->families, &generator->rng);
    Home home = new_home(generator);
    uint32_t age = 25 + below(generator, 65);
    size = MIN(size, room);
    for (size_t i = 0; i < size; i++) {
        uint32_t child_age = below(generator, 20);
        uint32_t member_age = i < 2 ? age - below(generator, 5) : child_age;
        do {
            persons[i] = new_member(generator, family, &home, member_age);
        } while (has_namesake(persons, i, persons[i].given));
    }
    return size;
}

/** The given name of a twin: another one, in part with the same first character. */
static const Name *twin_name(Generator *generator, const Person *person, char sex)
{
    const Name *name = person->given;
    bool is_alike = rng_happens(&generator->rng, 0.5);
    for (int i = 0; i < 200 && (name == person->given || (is_alike && i < 199)); i++) {
        const Name *drawn = names_draw_given(&generator->names->givens, &generator->rng, sex);
        bool is_other = !str_equal(drawn->kana, person->given->kana) &&
                        !str_equal(drawn->kanji, person->given->kanji);
        bool has_first = memcmp(drawn->kanji.data, person->given->kanji.data, 3) == 0;
        if (is_other) {
            name = drawn;
            is_alike = is_alike && !has_first;
        }
    }
    return name;
}

static Person new_twin(Generator *generator, const Person *person)
{
    Person twin = *person;
    twin.sex = rng_happens(&generator->rng, 0.75) ? person->sex : person->sex == 'F' ? 'M' : 'F';
    twin.given = twin_name(generator, person, twin.sex);
    complete_person(generator, &twin);
    twin.other_home = person->other_home; /* they moved together */
    return twin;
}

static Person new_namesake(Generator *generator, const Person *person)
{
    Person namesake = *person;
    namesake.home = new_home(generator);
    complete_person(generator, &namesake);
    return namesake;
}

static void add_persons(Generator *generator)
{
    Population *population = generator->population;
    size_t count = population->person_count;
    size_t twins = (size_t)((double)count * TWIN_PAIRS_SHARE);
    size_t namesakes = (size_t)((double)count * NAMESAKE_PAIRS_SHARE);
    size_t plain = count - twins - namesakes;
    population->twins = ARENA_ARRAY(generator->arena, Lookalikes, twins);
    population->namesakes = ARENA_ARRAY(generator->arena, Lookalikes, namesakes);
    for (size_t i = 0; i < plain;) {
        i += add_household(generator, &generator->persons[i], plain - i);
    }
    for (size_t i = plain; i < count; i++) {
        uint32_t of = below(generator, (uint32_t)plain);
        const Person *person = &generator->persons[of];
        Lookalikes pair = {of, (uint32_t)i};
        if (i < plain + twins) {
            generator->persons[i] = new_twin(generator, person);
            population->twins[population->twin_count++] = pair;
        } else {
            generator->persons[i] = new_namesake(generator, person);
            population->namesakes[population->namesake_count++] = pair;
        }
    }
}

/* ---- records ---- */

/** The habits of a hospital's system. */
typedef struct Habits {
    bool has_small_kana;
    bool has_half_width_kana;
    bool has_romaji;
    bool writes_chome;
    bool has_prefecture;
    bool has_building;
    bool has_hyphens; /* in phone numbers */
} Habits;

static Habits habits_of(uint32_t hospital)
{
    return (Habits){.has_small_kana = hospital % 5 != 0,
                    .has_half_width_kana = hospital % 3 == 0,
                    .has_romaji = hospital % 7 == 0,
                    .writes_chome = hospital % 4 == 1,
                    .has_prefecture = hospital % 6 != 2,
                    .has_building = hospital % 2 == 0,
                    .has_hyphens = hospital % 3 != 1};
}

/** What one record says, before it is written down. */
typedef struct Draft {
    Str family_kanji;
    Str given_kanji;
    Str family_kana;
    Str given_kana;
    uint32_t year;
    uint32_t month;
    uint32_t day;
    char sex;
    Home home;
    uint32_t postal_code;
    bool has_address;
    bool has_home_phone;
    uint32_t mobile; /* 0: not given */
    Habits habits;
    uint32_t errors;
} Draft;

static bool has_error(const Draft *draft, ErrorKind kind)
{
    return draft->errors >> kind & 1;
}

static size_t count_chars(Str text)
{
    return text.len / 3; /* kana and all kanji that are drawn */
}

/** A character that is easily typed instead, is doubled, left out, or exchanged with the next. */
static Str mistyped(Generator *generator, Str kana)
{
    size_t at = 3 * rng_below(&generator->rng, count_chars(kana));
    Str before = str_slice(kana, 0, at);
    Str here = str_slice(kana, at, 3);
    Str after = str_from_offset(kana, at + 3);
    switch (below(generator, 4)) {
    case 0:
        return str_printf(generator->arena, "%.*s%.*s%.*s%.*s", STR_ARG(before), STR_ARG(here),
                          STR_ARG(here), STR_ARG(after));
    case 1:
        if (kana.len > 3) {
            return str_printf(generator->arena, "%.*s%.*s", STR_ARG(before), STR_ARG(after));
        }
        break;
    case 2:
        if (after.len >= 3) {
            return str_printf(generator->arena, "%.*s%.*s%.*s%.*s", STR_ARG(before),
                              STR_ARG(str_slice(after, 0, 3)), STR_ARG(here),
                              STR_ARG(str_from_offset(after, 3)));
        }
        break;
    default:
        break;
    }
    static const char *const others[] = {"カ", "サ", "タ", "ナ", "マ",
                                         "リ", "シ", "ウ", "コ", "ミ"};
    return str_printf(generator->arena, "%.*s%s%.*s", STR_ARG(before),
                      others[rng_below(&generator->rng, ARRAY_LEN(others))], STR_ARG(after));
}

/** With one character of the list in its old or variant form; empty if it has none. */
static Str in_old_form(Arena *arena, Str kanji)
{
    static const char *const forms[][2] = {
        {"高", "髙"}, {"崎", "﨑"}, {"斎", "齋"}, {"斉", "齊"}, {"辺", "邊"}, {"沢", "澤"},
        {"浜", "濱"}, {"広", "廣"}, {"国", "國"}, {"島", "嶋"}, {"桜", "櫻"}, {"真", "眞"},
        {"恵", "惠"}, {"徳", "德"}, {"瀬", "瀨"}, {"槙", "槇"}, {"吉", "𠮷"}, {"富", "冨"},
        {"渕", "淵"}, {"竜", "龍"}, {"栄", "榮"}, {"実", "實"}, {"寿", "壽"}, {"礼", "禮"},
        {"与", "與"}, {"豊", "豐"}, {"亀", "龜"}, {"関", "關"}, {"条", "條"}, {"塩", "鹽"},
        {"滝", "瀧"}, {"弥", "彌"}, {"館", "舘"}, {"峰", "峯"}, {"橋", "𣘺"}, {"渡", "渡󠄀"},
        {"黒", "黑"}, {"静", "靜"}, {"清", "淸"}, {"万", "萬"}, {"晃", "晄"}, {"隆", "隆󠄁"},
    };
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        size_t at = str_find(kanji, str_from(forms[i][0]));
        if (at != SIZE_MAX) {
            return str_printf(arena, "%.*s%s%.*s", STR_ARG(str_slice(kanji, 0, at)), forms[i][1],
                              STR_ARG(str_from_offset(kanji, at + 3)));
        }
    }
    return STR_EMPTY;
}

/** @return false: this name has no such error */
static bool replace(Str *text, Str other)
{
    if (str_is_empty(other)) {
        return false;
    }
    *text = other;
    return true;
}

static bool make_homophone(Generator *generator, Draft *draft, const Person *person)
{
    bool is_family = rng_happens(&generator->rng, 0.3);
    const NameList *list = is_family ? &generator->names->families : &generator->names->givens;
    const Name *other =
        names_homophone(list, &generator->rng, is_family ? person->family : person->given);
    return replace(is_family ? &draft->family_kanji : &draft->given_kanji,
                   other ? other->kanji : STR_EMPTY);
}

static bool mistype_birth_date(Generator *generator, Draft *draft)
{
    switch (below(generator, 4)) {
    case 0:
        draft->year = draft->year % 10 == 9 ? draft->year - 1 : draft->year + 1;
        return true;
    case 1:
        draft->day = draft->day % 10 == 9 || draft->day == 28 ? draft->day - 1 : draft->day + 1;
        return true;
    case 2:
        draft->year = draft->year / 100 * 100 + draft->year % 10 * 10 + draft->year / 10 % 10;
        return draft->year <= LAST_YEAR;
    default: {
        uint32_t month = draft->month;
        if (draft->day > 12 || draft->day == month) {
            return false;
        }
        draft->month = draft->day;
        draft->day = month;
        return true;
    }
    }
}

static uint32_t mistyped_digit(Generator *generator, uint32_t number)
{
    uint32_t place = 1;
    for (uint32_t i = below(generator, 7); i > 0; i--) {
        place *= 10;
    }
    return number / place % 10 == 9 ? number - place : number + place;
}

static bool make_married(Draft *draft, const Person *person)
{
    uint32_t age = LAST_YEAR - person->year;
    if (person->sex != 'F' || age < 22 || age > 60) {
        return false;
    }
    draft->family_kanji = person->other_family->kanji;
    draft->family_kana = person->other_family->kana;
    return true;
}

/** @return false: the record cannot have this error */
static bool make_error(Generator *generator, Draft *draft, const Person *person, ErrorKind kind)
{
    bool is_family = rng_happens(&generator->rng, 0.5);
    switch (kind) {
    case ERROR_KANA_TYPO: {
        Str *kana = is_family ? &draft->family_kana : &draft->given_kana;
        Str other = mistyped(generator, *kana);
        return !str_equal(*kana, other) && replace(kana, other);
    }
    case ERROR_OTHER_KANJI:
        return make_homophone(generator, draft, person);
    case ERROR_OLD_KANJI:
        return replace(&draft->family_kanji, in_old_form(generator->arena, draft->family_kanji)) ||
               replace(&draft->given_kanji, in_old_form(generator->arena, draft->given_kanji));
    case ERROR_BIRTH_DATE:
        return mistype_birth_date(generator, draft);
    case ERROR_SEX:
        draft->sex = draft->sex == 'F' ? 'M' : 'F';
        return true;
    case ERROR_MOVED:
        draft->home = person->other_home;
        draft->home.phone = person->home.has_mobile ? person->home.phone : draft->home.phone;
        draft->home.has_mobile = person->home.has_mobile;
        draft->postal_code = person->other_home.town;
        return true;
    case ERROR_PHONE_CHANGED:
        draft->home.phone = person->other_home.phone;
        draft->mobile = draft->mobile ? person->other_mobile : 0;
        return true;
    case ERROR_PHONE_TYPO:
        draft->home.phone = mistyped_digit(generator, draft->home.phone);
        draft->mobile = draft->mobile ? mistyped_digit(generator, draft->mobile) : 0;
        return true;
    case ERROR_PHONE_MISSING:
        draft->has_home_phone = false;
        draft->mobile = 0;
        return true;
    case ERROR_ADDRESS_MISSING:
        draft->has_address = false;
        return true;
    case ERROR_STREET_TYPO:
        draft->home.numbers[1 + below(generator, 2)] = 1 + below(generator, 40);
        return true;
    case ERROR_POSTAL_CODE:
        draft->postal_code = below(generator, TOWNS);
        return true;
    case ERROR_MARRIED:
        return make_married(draft, person);
    case ERROR_KANA_MISSING: /* these show when the name is written */
    case ERROR_ROMAJI:
    case ERROR_SWAPPED:
    case ERROR_ONE_PART:
    case ERROR_KINDS:
        break;
    }
    return true;
}

static ErrorKind draw_error(Generator *generator)
{
    double at = rng_fraction(&generator->rng) * generator->share_sums[ERROR_KINDS - 1];
    size_t kind = 0;
    while (generator->share_sums[kind] <= at) {
        kind++;
    }
    return (ErrorKind)kind;
}

static void make_errors(Generator *generator, Draft *draft, const Person *person)
{
    double at = rng_fraction(&generator->rng);
    int count = at < generator->two_errors                          ? 2
                : at < generator->two_errors + generator->one_error ? 1
                                                                    : 0;
    while (count > 0) {
        ErrorKind kind = draw_error(generator);
        if (!has_error(draft, kind) && make_error(generator, draft, person, kind)) {
            draft->errors |= 1U << kind;
            count--;
        }
    }
}

static Draft new_draft(Generator *generator, const Person *person, uint32_t hospital)
{
    Draft draft = {.family_kanji = person->family->kanji,
                   .given_kanji = person->given->kanji,
                   .family_kana = person->family->kana,
                   .given_kana = person->given->kana,
                   .year = person->year,
                   .month = person->month,
                   .day = person->day,
                   .sex = person->sex,
                   .home = person->home,
                   .postal_code = person->home.town,
                   .has_address = true,
                   .habits = habits_of(hospital)};
    draft.mobile = rng_happens(&generator->rng, 0.9) ? person->mobile : 0;
    draft.has_home_phone = !draft.mobile || rng_happens(&generator->rng, 0.5);
    make_errors(generator, &draft, person);
    return draft;
}

/* ---- writing a record as fields of PID ---- */

/** Replaces each kana that pairs has; of old systems, and of half-width ones. */
static Str convert(Arena *arena, Str kana, const char *const (*pairs)[2], size_t count)
{
    _cleanup_(strbuf_done) StrBuf buf = {0};
    for (size_t i = 0; i < kana.len; i += 3) {
        Str here = str_slice(kana, i, 3);
        size_t k = 0;
        while (k < count && !str_equal(here, str_from(pairs[k][0]))) {
            k++;
        }
        strbuf_append(&buf, k < count ? str_from(pairs[k][1]) : here);
    }
    return str_dup(arena, strbuf_str(&buf));
}

static Str written_kana(Arena *arena, Str kana, const Habits *habits)
{
    static const char *const large[][2] = {{"ャ", "ヤ"}, {"ュ", "ユ"}, {"ョ", "ヨ"}, {"ッ", "ツ"}};
    static const char *const half[][2] = {
        {"ア", "ｱ"},  {"イ", "ｲ"},  {"ウ", "ｳ"},  {"エ", "ｴ"},  {"オ", "ｵ"},  {"カ", "ｶ"},
        {"キ", "ｷ"},  {"ク", "ｸ"},  {"ケ", "ｹ"},  {"コ", "ｺ"},  {"サ", "ｻ"},  {"シ", "ｼ"},
        {"ス", "ｽ"},  {"セ", "ｾ"},  {"ソ", "ｿ"},  {"タ", "ﾀ"},  {"チ", "ﾁ"},  {"ツ", "ﾂ"},
        {"テ", "ﾃ"},  {"ト", "ﾄ"},  {"ナ", "ﾅ"},  {"ニ", "ﾆ"},  {"ヌ", "ﾇ"},  {"ネ", "ﾈ"},
        {"ノ", "ﾉ"},  {"ハ", "ﾊ"},  {"ヒ", "ﾋ"},  {"フ", "ﾌ"},  {"ヘ", "ﾍ"},  {"ホ", "ﾎ"},
        {"マ", "ﾏ"},  {"ミ", "ﾐ"},  {"ム", "ﾑ"},  {"メ", "ﾒ"},  {"モ", "ﾓ"},  {"ヤ", "ﾔ"},
        {"ユ", "ﾕ"},  {"ヨ", "ﾖ"},  {"ラ", "ﾗ"},  {"リ", "ﾘ"},  {"ル", "ﾙ"},  {"レ", "ﾚ"},
        {"ロ", "ﾛ"},  {"ワ", "ﾜ"},  {"ン", "ﾝ"},  {"ガ", "ｶﾞ"}, {"ギ", "ｷﾞ"}, {"グ", "ｸﾞ"},
        {"ゲ", "ｹﾞ"}, {"ゴ", "ｺﾞ"}, {"ザ", "ｻﾞ"}, {"ジ", "ｼﾞ"}, {"ズ", "ｽﾞ"}, {"ゼ", "ｾﾞ"},
        {"ゾ", "ｿﾞ"}, {"ダ", "ﾀﾞ"}, {"デ", "ﾃﾞ"}, {"ド", "ﾄﾞ"}, {"バ", "ﾊﾞ"}, {"ビ", "ﾋﾞ"},
        {"ブ", "ﾌﾞ"}, {"ベ", "ﾍﾞ"}, {"ボ", "ﾎﾞ"}, {"ャ", "ｬ"},  {"ュ", "ｭ"},  {"ョ", "ｮ"},
        {"ッ", "ｯ"},
    };
    Str text = habits->has_small_kana ? kana : convert(arena, kana, large, ARRAY_LEN(large));
    return habits->has_half_width_kana ? convert(arena, text, half, ARRAY_LEN(half)) : text;
}

/** Hepburn, as hospitals write it: long vowels as one. */
static Str written_romaji(Arena *arena, Str kana)
{
    static const char *const spellings[][2] = {
        {"シャ", "sha"}, {"シュ", "shu"}, {"ショ", "sho"}, {"チャ", "cha"}, {"チュ", "chu"},
        {"チョ", "cho"}, {"ジャ", "ja"},  {"ジュ", "ju"},  {"ジョ", "jo"},  {"キャ", "kya"},
        {"キュ", "kyu"}, {"キョ", "kyo"}, {"ギョ", "gyo"}, {"リュ", "ryu"}, {"リョ", "ryo"},
        {"ヒョ", "hyo"}, {"ミョ", "myo"}, {"ニュ", "nyu"}, {"ア", "a"},     {"イ", "i"},
        {"ウ", "u"},     {"エ", "e"},     {"オ", "o"},     {"カ", "ka"},    {"キ", "ki"},
        {"ク", "ku"},    {"ケ", "ke"},    {"コ", "ko"},    {"サ", "sa"},    {"シ", "shi"},
        {"ス", "su"},    {"セ", "se"},    {"ソ", "so"},    {"タ", "ta"},    {"チ", "chi"},
        {"ツ", "tsu"},   {"テ", "te"},    {"ト", "to"},    {"ナ", "na"},    {"ニ", "ni"},
        {"ヌ", "nu"},    {"ネ", "ne"},    {"ノ", "no"},    {"ハ", "ha"},    {"ヒ", "hi"},
        {"フ", "fu"},    {"ヘ", "he"},    {"ホ", "ho"},    {"マ", "ma"},    {"ミ", "mi"},
        {"ム", "mu"},    {"メ", "me"},    {"モ", "mo"},    {"ヤ", "ya"},    {"ユ", "yu"},
        {"ヨ", "yo"},    {"ラ", "ra"},    {"リ", "ri"},    {"ル", "ru"},    {"レ", "re"},
        {"ロ", "ro"},    {"ワ", "wa"},    {"ヲ", "o"},     {"ン", "n"},     {"ガ", "ga"},
        {"ギ", "gi"},    {"グ", "gu"},    {"ゲ", "ge"},    {"ゴ", "go"},    {"ザ", "za"},
        {"ジ", "ji"},    {"ズ", "zu"},    {"ゼ", "ze"},    {"ゾ", "zo"},    {"ダ", "da"},
        {"ヂ", "ji"},    {"ヅ", "zu"},    {"デ", "de"},    {"ド", "do"},    {"バ", "ba"},
        {"ビ", "bi"},    {"ブ", "bu"},    {"ベ", "be"},    {"ボ", "bo"},    {"パ", "pa"},
        {"ピ", "pi"},    {"プ", "pu"},    {"ペ", "pe"},    {"ポ", "po"},
    };
    _cleanup_(strbuf_done) StrBuf buf = {0};
    bool is_doubled = false;
    while (kana.len > 0) {
        size_t i = 0;
        while (i < ARRAY_LEN(spellings) && !str_starts_with(kana, str_from(spellings[i][0]))) {
            i++;
        }
        if (i == ARRAY_LEN(spellings)) {
            is_doubled = str_starts_with(kana, STR("ッ"));
            kana = str_from_offset(kana, 3);
            continue;
        }
        const char *letters = spellings[i][1];
        char before = buf.len > 0 ? buf.data[buf.len - 1] : '\0';
        bool is_long =
            letters[1] == '\0' && ((before == 'o' && (*letters == 'u' || *letters == 'o')) ||
                                   (before == 'u' && *letters == 'u'));
        if (is_doubled) {
            strbuf_append_char(&buf, letters[0] == 'c' ? 't' : letters[0]);
            is_doubled = false;
        }
        if (!is_long) {
            strbuf_append(&buf, str_from(letters));
        }
        kana = str_from_offset(kana, strlen(spellings[i][0]));
    }
    return str_dup(arena, strbuf_str(&buf));
}

static void append_name(StrBuf *buf, const Draft *draft, Str family, Str given,
                        const char *representation)
{
    Str first = has_error(draft, ERROR_SWAPPED) ? given : family;
    Str second = has_error(draft, ERROR_SWAPPED) ? family : given;
    bool is_one_part = has_error(draft, ERROR_ONE_PART);
    strbuf_printf(buf, "%s%.*s%s%.*s%s^^^^^L^%s", buf->len > 0 ? "~" : "", STR_ARG(first),
                  is_one_part ? "　" : "^", STR_ARG(second), is_one_part ? "^" : "",
                  representation);
}

static Str written_name(Arena *arena, const Draft *draft)
{
    _cleanup_(strbuf_done) StrBuf buf = {0};
    bool is_romaji = has_error(draft, ERROR_ROMAJI);
    if (!is_romaji) {
        append_name(&buf, draft, draft->family_kanji, draft->given_kanji, "I");
    }
    if (!is_romaji && !has_error(draft, ERROR_KANA_MISSING)) {
        append_name(&buf, draft, written_kana(arena, draft->family_kana, &draft->habits),
                    written_kana(arena, draft->given_kana, &draft->habits), "P");
    }
    if (is_romaji || draft->habits.has_romaji) {
        append_name(&buf, draft, written_romaji(arena, draft->family_kana),
                    written_romaji(arena, draft->given_kana), "A");
    }
    return str_dup(arena, strbuf_str(&buf));
}

/** A town has a name, a postal code and an area code of its own. */
static Str town_name(const Generator *generator, uint32_t town, size_t of)
{
    const NameList *names = &generator->names->families;
    return names->by_cost[(town * 7 + of * 131) % names->count]->kanji;
}

static Str written_address(const Generator *generator, const Draft *draft)
{
    static const char *const prefectures[] = {"千葉県", "埼玉県", "茨城県", "栃木県", "群馬県"};
    const Home *home = &draft->home;
    Arena *arena = generator->arena;
    if (!draft->has_address) {
        return STR_EMPTY;
    }
    const char *marks[2][3] = {{"-", "-", ""}, {"丁目", "番", "号"}};
    const char **mark = marks[draft->habits.writes_chome];
    char numbers[64];
    snprintf(numbers, sizeof(numbers), "%u%s%u%s%u%s", home->numbers[0], mark[0], home->numbers[1],
             mark[1], home->numbers[2], mark[2]);
    char building[64] = "";
    if (home->room && draft->habits.has_building) {
        snprintf(building, sizeof(building), "　コーポ%u", home->room);
    }
    return str_printf(
        arena, "%.*s町%s%s^^%.*s市^%s^%07u^JPN^H", STR_ARG(town_name(generator, home->town, 1)),
        numbers, building, STR_ARG(town_name(generator, home->town / 20, 2)),
        draft->habits.has_prefecture ? prefectures[home->town / 20 % ARRAY_LEN(prefectures)] : "",
        2600000 + draft->postal_code * 37);
}

static Str written_phones(Arena *arena, const Draft *draft)
{
    _cleanup_(strbuf_done) StrBuf buf = {0};
    const char *hyphen = draft->habits.has_hyphens ? "-" : "";
    if (draft->mobile) {
        strbuf_printf(&buf, "090%s%04u%s%04u^PRN^CP", hyphen, draft->mobile / 10000, hyphen,
                      draft->mobile % 10000);
    }
    if (draft->has_home_phone) {
        strbuf_printf(&buf, "%s%s%s%04u%s%04u^PRN^%s", buf.len > 0 ? "~" : "",
                      draft->home.has_mobile ? "080" : "04", hyphen, draft->home.phone / 10000,
                      hyphen, draft->home.phone % 10000, draft->home.has_mobile ? "CP" : "PH");
    }
    return str_dup(arena, strbuf_str(&buf));
}

static void write_record(const Generator *generator, const Draft *draft, PatientRecord *record)
{
    Arena *arena = generator->arena;
    Str *fields = record->demographics.fields;
    record->errors = draft->errors;
    fields[DEMOGRAPHIC_name] = written_name(arena, draft);
    fields[DEMOGRAPHIC_birth_time] =
        str_printf(arena, "%04u%02u%02u", draft->year, draft->month, draft->day);
    fields[DEMOGRAPHIC_sex] = draft->sex == 'F' ? STR("F") : STR("M");
    fields[DEMOGRAPHIC_address] = written_address(generator, draft);
    fields[DEMOGRAPHIC_phone_home] = written_phones(arena, draft);
}

/** The records of one person, each of another hospital. */
static void add_records(Generator *generator, uint32_t person)
{
    static const size_t counts[] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
                                    1, 2, 2, 2, 2, 2, 3, 3, 3, RECORDS_MAX};
    size_t count = counts[rng_below(&generator->rng, ARRAY_LEN(counts))];
    uint32_t hospital = below(generator, POPULATION_HOSPITALS);
    for (size_t i = 0; i < count; i++) {
        Population *population = generator->population;
        PatientRecord *record = &population->records[population->record_count++];
        record->person = person;
        record->hospital = hospital;
        Draft draft = new_draft(generator, &generator->persons[person], hospital);
        write_record(generator, &draft, record);
        hospital = (hospital + 1 + below(generator, 4)) % POPULATION_HOSPITALS;
    }
}

static void shuffle(Rng *rng, PatientRecord *records, size_t count)
{
    for (size_t i = count; i > 1; i--) {
        size_t at = rng_below(rng, i);
        PatientRecord record = records[i - 1];
        records[i - 1] = records[at];
        records[at] = record;
    }
}

/** Seed 1 has the shares as they are listed. */
static void set_rates(Generator *generator, uint64_t seed)
{
    Rng *rng = &generator->rng;
    bool is_first = seed == 1;
    generator->one_error = is_first ? 0.17 : 0.155 + 0.045 * rng_fraction(rng);
    generator->two_errors = is_first ? 0.036 : 0.031 + 0.012 * rng_fraction(rng);
    double sum = 0;
    for (size_t i = 0; i < ERROR_KINDS; i++) {
        sum += error_shares[i] * (is_first ? 1.0 : 0.5 + rng_fraction(rng));
        generator->share_sums[i] = sum;
    }
}

const Population *population_new(Arena *arena, const Names *names, size_t person_count,
                                 uint64_t seed)
{
    Population *population = ARENA_NEW(arena, Population);
    population->person_count = person_count;
    population->records = ARENA_ARRAY(arena, PatientRecord, person_count * RECORDS_MAX);
    Generator generator = {.arena = arena,
                           .names = names,
                           .rng = {seed},
                           .persons = ARENA_ARRAY(arena, Person, person_count),
                           .population = population};
    set_rates(&generator, seed);
    add_persons(&generator);
    for (size_t i = 0; i < person_count; i++) {
        add_records(&generator, (uint32_t)i);
    }
    shuffle(&generator.rng, population->records, population->record_count);
    return population;
}
