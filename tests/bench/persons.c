/*
 * Fills the tables of the PIX manager with invented persons as so many feeds of one source would
 * have: each has a number of that source with its record, and a minted XAD-PID. What search and
 * matching keep of a record is made by the server's own functions.
 *
 *   persons --conninfo TEXT --authority OID --count N
 *
 * Person n, from 0 on, has the number "B" and n in 12 digits. Ids are given so that person and
 * identifier n of the source have the same. Prints the id of person 0.
 */
#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/db/db.h"
#include "pix/identity_rows.h"
#include "pix/search.h"

#include "tests/bench/measure.h"

#define CHUNK 20000
#define CHUNK_TIMEOUT_MS 300000

typedef struct Part {
    const char *kanji;
    const char *kana;
} Part;

static const Part family_heads[] = {
    {"山", "ヤマ"}, {"川", "カワ"},   {"石", "イシ"}, {"松", "マツ"},   {"竹", "タケ"},
    {"小", "コ"},   {"大", "オオ"},   {"中", "ナカ"}, {"高", "タカ"},   {"長", "ナガ"},
    {"西", "ニシ"}, {"東", "ヒガシ"}, {"北", "キタ"}, {"南", "ミナミ"}, {"上", "ウエ"},
    {"下", "シモ"}, {"吉", "ヨシ"},   {"藤", "フジ"}, {"森", "モリ"},   {"林", "ハヤシ"},
    {"岩", "イワ"}, {"金", "カネ"},   {"白", "シラ"}, {"黒", "クロ"},   {"青", "アオ"},
    {"赤", "アカ"}, {"杉", "スギ"},   {"福", "フク"}, {"宮", "ミヤ"},   {"村", "ムラ"},
    {"前", "マエ"}, {"岡", "オカ"},   {"平", "ヒラ"}, {"水", "ミズ"},   {"新", "ニイ"},
    {"古", "フル"}, {"今", "イマ"},   {"坂", "サカ"}, {"島", "シマ"},   {"浜", "ハマ"},
};

static const Part family_tails[] = {
    {"田", "ダ"},   {"川", "カワ"}, {"山", "ヤマ"}, {"本", "モト"},   {"村", "ムラ"},
    {"木", "キ"},   {"野", "ノ"},   {"島", "シマ"}, {"原", "ハラ"},   {"口", "グチ"},
    {"井", "イ"},   {"沢", "サワ"}, {"崎", "サキ"}, {"谷", "タニ"},   {"岡", "オカ"},
    {"橋", "ハシ"}, {"内", "ウチ"}, {"倉", "クラ"}, {"林", "バヤシ"}, {"森", "モリ"},
    {"池", "イケ"}, {"城", "シロ"}, {"瀬", "セ"},   {"浦", "ウラ"},   {"塚", "ツカ"},
    {"尾", "オ"},   {"部", "ベ"},   {"松", "マツ"}, {"坂", "サカ"},   {"屋", "ヤ"},
    {"永", "ナガ"}, {"見", "ミ"},   {"代", "シロ"}, {"畑", "ハタ"},   {"根", "ネ"},
    {"戸", "ト"},   {"江", "エ"},   {"地", "チ"},   {"津", "ツ"},     {"元", "モト"},
};

static const Part given_heads[] = {
    {"美", "ミ"},   {"和", "カズ"}, {"幸", "ユキ"}, {"直", "ナオ"}, {"真", "マサ"}, {"裕", "ヒロ"},
    {"由", "ユ"},   {"恵", "エ"},   {"智", "トモ"}, {"明", "アキ"}, {"正", "マサ"}, {"義", "ヨシ"},
    {"春", "ハル"}, {"夏", "ナツ"}, {"千", "チ"},   {"久", "ヒサ"}, {"信", "ノブ"}, {"康", "ヤス"},
    {"光", "ミツ"}, {"豊", "トヨ"}, {"文", "フミ"}, {"愛", "アイ"}, {"菜", "ナ"},   {"優", "ユウ"},
    {"健", "ケン"}, {"哲", "テツ"}, {"隆", "タカ"}, {"清", "キヨ"}, {"勝", "カツ"}, {"英", "ヒデ"},
};

/* The first half are given to women. */
static const Part given_tails[] = {
    {"子", "コ"}, {"美", "ミ"},   {"恵", "エ"},   {"代", "ヨ"},   {"香", "カ"},   {"奈", "ナ"},
    {"江", "エ"}, {"乃", "ノ"},   {"里", "リ"},   {"穂", "ホ"},   {"音", "ネ"},   {"花", "カ"},
    {"男", "オ"}, {"夫", "オ"},   {"之", "ユキ"}, {"彦", "ヒコ"}, {"一", "カズ"}, {"樹", "キ"},
    {"人", "ト"}, {"郎", "ロウ"}, {"平", "ヘイ"}, {"介", "スケ"}, {"太", "タ"},   {"也", "ヤ"},
};

static const char *const towns[] = {"青葉台", "桜ヶ丘", "緑町", "朝日町", "富士見", "東山",
                                    "西川",   "南浜",   "北野", "中央",   "日の出", "松原"};

static const DbStatement authority_ids = {
    "bench_authority_ids",
    "SELECT (SELECT id FROM assigning_authority WHERE oid = $1::text),"
    " (SELECT authority FROM patient_identifier WHERE is_xad_pid LIMIT 1),"
    " greatest(nextval('person_id'), nextval('patient_identifier_id_seq'))",
};

static const DbStatement skip_ids = {
    "bench_skip_ids",
    "SELECT setval('person_id', $1::int8), setval('patient_identifier_id_seq', $1::int8)",
};

static const DbStatement copy_identifiers = {
    "bench_copy_identifiers",
    "COPY patient_identifier (id, authority, value, person, is_xad_pid) FROM STDIN (FORMAT binary)",
};

static const DbStatement copy_records = {
    "bench_copy_records",
    "COPY patient_demographics (identifier, birth_date, sex, postal_code, phones, match_profile,"
    " record) FROM STDIN (FORMAT binary)",
};

static const DbStatement copy_names = {
    "bench_copy_names",
    "COPY patient_name (identifier, family, given) FROM STDIN (FORMAT binary)",
};

static const DbStatement copy_keys = {
    "bench_copy_keys",
    "COPY match_key (key, identifier) FROM STDIN (FORMAT binary)",
};

typedef struct Tables {
    DbCopy identifiers;
    DbCopy records;
    DbCopy names;
    DbCopy keys;
} Tables;

typedef struct Settings {
    const char *conninfo;
    const char *authority;
    int64_t count;
} Settings;

/* Invented persons */

/** Numbers that depend on the person and on what they are for (SplitMix64). */
static uint64_t number_of(int64_t person, unsigned purpose)
{
    uint64_t z = (uint64_t)person * 64 + purpose + 1;
    z *= 0x9e3779b97f4a7c15ULL;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
}

/** A rank below count: low ones are frequent; of 1600 family names the first has 2.5 %. */
static size_t rank_of(int64_t person, unsigned purpose, size_t count)
{
    double unit = (double)(number_of(person, purpose) >> 11) / (double)(1ULL << 53);
    size_t rank = (size_t)((double)count * unit * unit);
    return rank * 7919 % count; /* neighbours in rank are no neighbours in the tables */
}

static Part pair(Arena *arena, const Part *heads, size_t head_count, const Part *tails,
                 size_t tail_count, size_t rank)
{
    const Part *head = &heads[rank % head_count];
    const Part *tail = &tails[rank / head_count % tail_count];
    return (Part){str_cstr(arena, str_printf(arena, "%s%s", head->kanji, tail->kanji)),
                  str_cstr(arena, str_printf(arena, "%s%s", head->kana, tail->kana))};
}

/** PID-5 to PID-13 of a person. */
static Str make_record(Arena *arena, int64_t person)
{
    static const size_t family_count = ARRAY_LEN(family_heads) * ARRAY_LEN(family_tails);
    static const size_t given_count = ARRAY_LEN(given_heads) * ARRAY_LEN(given_tails);
    size_t given_rank = rank_of(person, 1, given_count);
    Part family = pair(arena, family_heads, ARRAY_LEN(family_heads), family_tails,
                       ARRAY_LEN(family_tails), rank_of(person, 0, family_count));
    Part given = pair(arena, given_heads, ARRAY_LEN(given_heads), given_tails,
                      ARRAY_LEN(given_tails), given_rank);
    bool is_female = given_rank / ARRAY_LEN(given_heads) < ARRAY_LEN(given_tails) / 2;
    uint64_t birth = number_of(person, 2);
    uint64_t home = number_of(person, 3);
    return str_printf(
        arena,
        "%s^%s^^^^^L^I~%s^%s^^^^^L^P||%04u%02u%02u|%s|||%u-%u-%u^^%s^沖縄県^9%06u^JPN||"
        "^PRN^PH^^^^^^^^^098%07u",
        family.kanji, given.kanji, family.kana, given.kana, (unsigned)(1930 + birth % 95),
        (unsigned)(1 + birth / 95 % 12), (unsigned)(1 + birth / 1140 % 28), is_female ? "F" : "M",
        (unsigned)(1 + home % 9), (unsigned)(1 + home / 9 % 40), (unsigned)(1 + home / 360 % 30),
        towns[home / 10800 % ARRAY_LEN(towns)], (unsigned)(home / 129600 % 4000),
        (unsigned)(number_of(person, 4) % 10000000));
}

/* Rows */

static void add_identifier(DbCopy *copy, Arena *arena, int64_t id, int32_t authority, Str value,
                           int64_t person, bool is_xad_pid)
{
    DbParams row;
    db_params_init(&row, arena);
    db_param_i64(&row, id);
    db_param_i32(&row, authority);
    db_param_text(&row, value);
    db_param_i64(&row, person);
    db_param_bool(&row, is_xad_pid);
    db_copy_add(copy, &row);
}

static void add_names(DbCopy *copy, Arena *arena, int64_t identifier, const SearchRow *search)
{
    for (size_t i = 0; i < search->name_count; i++) {
        DbParams row;
        db_params_init(&row, arena);
        db_param_i64(&row, identifier);
        db_param_text(&row, search->families[i]);
        db_param_text(&row, search->givens[i]);
        db_copy_add(copy, &row);
    }
}

static void add_keys(DbCopy *copy, Arena *arena, int64_t identifier, const MatchProfile *profile)
{
    static const MatchConfig config = {.rule = MATCH_RULE_WEIGHTED};
    int64_t keys[MATCH_KEYS_MAX];
    size_t count = match_profile_keys(&config, profile, keys);
    for (size_t i = 0; i < count; i++) {
        DbParams row;
        db_params_init(&row, arena);
        db_param_i64(&row, keys[i]);
        db_param_i64(&row, identifier);
        db_copy_add(copy, &row);
    }
}

static void add_record(Tables *tables, Arena *arena, int64_t identifier, Str record)
{
    Demographics demographics;
    SearchRow search;
    DbParams row;
    demographics_read(record, &demographics);
    search_row_make(arena, &demographics, &search);
    const MatchProfile *profile = match_profile_new(arena, &demographics);
    db_params_init(&row, arena);
    db_param_i64(&row, identifier);
    db_param_text(&row, search.birth_date);
    db_param_text(&row, search.sex);
    db_param_text(&row, search.postal_code);
    db_param_text_array(&row, search.phones, search.phone_count);
    db_param_text(&row, match_profile_write(arena, profile));
    db_param_text(&row, record);
    db_copy_add(&tables->records, &row);
    add_names(&tables->names, arena, identifier, &search);
    add_keys(&tables->keys, arena, identifier, profile);
}

/* Filling */

/** Where the rows go. */
typedef struct Target {
    DbPool *pool;
    int32_t authority;
    int32_t affinity_domain;
    int64_t first_id;
    int64_t count;
} Target;

static void check(int rc)
{
    if (rc < 0) {
        (void)fprintf(stderr, "persons: %s\n", db_last_failure());
        exit(1);
    }
}

static void fill_chunk(const Target *target, int64_t begin, int64_t end)
{
    Request *req = request_new(CHUNK_TIMEOUT_MS);
    DbConn *conn = NULL;
    Tables tables;
    db_copy_init(&tables.identifiers, &copy_identifiers);
    db_copy_init(&tables.records, &copy_records);
    db_copy_init(&tables.names, &copy_names);
    db_copy_init(&tables.keys, &copy_keys);
    for (int64_t n = begin; n < end; n++) {
        int64_t id = target->first_id + n;
        Str number = str_printf(req->arena, "B%012lld", (long long)n);
        add_identifier(&tables.identifiers, req->arena, id, target->authority, number, id, false);
        add_identifier(&tables.identifiers, req->arena, id + target->count, target->affinity_domain,
                       identity_mint(req->arena), id, true);
        add_record(&tables, req->arena, id, make_record(req->arena, n));
    }
    check(db_acquire(target->pool, req, &conn));
    check(db_queue_begin(conn, req));
    check(db_sync(conn, req, NULL));
    check(db_copy_run(conn, req, &tables.identifiers));
    check(db_copy_run(conn, req, &tables.records));
    check(db_copy_run(conn, req, &tables.names));
    check(db_copy_run(conn, req, &tables.keys));
    check(db_commit(conn, req, NULL));
    db_release(conn);
    db_copy_done(&tables.identifiers);
    db_copy_done(&tables.records);
    db_copy_done(&tables.names);
    db_copy_done(&tables.keys);
    request_free(req);
}

static Target open_target(const Settings *settings)
{
    Target target = {.pool = db_pool_new(settings->conninfo, 1), .count = settings->count};
    Request *req = request_new(CHUNK_TIMEOUT_MS);
    DbConn *conn = NULL;
    DbResult *result = NULL;
    DbParams oid;
    DbParams last;
    db_params_init(&oid, req->arena);
    db_param_text(&oid, str_from(settings->authority));
    check(db_acquire(target.pool, req, &conn));
    check(db_exec(conn, req, &authority_ids, &oid, &result));
    if (db_is_null(result, 0, 0) || db_is_null(result, 0, 1)) {
        die("persons: the authority is not there, or nobody was fed to this server yet");
    }
    target.authority = db_i32(result, 0, 0);
    target.affinity_domain = db_i32(result, 0, 1);
    target.first_id = db_i64(result, 0, 2) + 1;
    db_params_init(&last, req->arena);
    db_param_i64(&last, target.first_id + 2 * settings->count);
    check(db_exec(conn, req, &skip_ids, &last, NULL));
    db_release(conn);
    request_free(req);
    return target;
}

static Settings read_settings(int argc, char **argv)
{
    static const struct option options[] = {
        {"conninfo", 1, 0, 'c'}, {"authority", 1, 0, 'a'}, {"count", 1, 0, 'n'}, {0, 0, 0, 0}};
    Settings s = {.count = 0};
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 'c':
            s.conninfo = optarg;
            break;
        case 'a':
            s.authority = optarg;
            break;
        case 'n':
            s.count = strtoll(optarg, NULL, 10);
            break;
        default:
            die("persons: unknown option");
        }
    }
    if (!s.conninfo || !s.authority || s.count < 1) {
        die("persons: need --conninfo, --authority and --count");
    }
    return s;
}

int main(int argc, char **argv)
{
    Settings settings = read_settings(argc, argv);
    Target target = open_target(&settings);
    for (int64_t begin = 0; begin < target.count; begin += CHUNK) {
        fill_chunk(&target, begin, MIN(begin + CHUNK, target.count));
    }
    db_pool_free(target.pool);
    printf("%lld\n", (long long)target.first_id);
    return 0;
}
