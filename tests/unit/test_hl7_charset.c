/* Character sets of HL7 v2: HL7 table 0211, ITI TF-2 C.2.2; ISO-2022-JP with the CP932 extensions.
 */
#include <openssl/sha.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/hl7/charset.h"

static Hl7Charset charset_of(const char *msh_18)
{
    Hl7Charset charset = 0;
    if (!hl7_charset_parse(str_from(msh_18), '~', &charset)) {
        fail_msg("MSH-18 %s", msh_18);
    }
    return charset;
}

static void test_names_of_table_0211_are_read_and_others_are_not(void **state)
{
    static const struct {
        const char *msh_18;
        Hl7Charset expected; /* 0: refused */
    } rows[] = {
        {"", HL7_ASCII},
        {"ISO IR6", HL7_ASCII},
        {"UNICODE UTF-8", HL7_UTF_8},
        {"UNICODE", HL7_UTF_8},
        {"8859/1", HL7_LATIN_1},
        {"ISO IR87", HL7_JIS_X_0208},
        {"~ISO IR87", HL7_ASCII | HL7_JIS_X_0208},
        {"ISO IR14~ISO IR87", HL7_JIS_X_0201 | HL7_JIS_X_0208},
        {"~ISO IR87~ISO IR159", HL7_ASCII | HL7_JIS_X_0208 | HL7_JIS_X_0212},
        {"8859/2", 0},
        {"UTF-8", 0},
        {"UTF-7", 0},
        {"iso ir87", 0},
        {"UNICODE UTF-8~ISO IR87", 0},
        {"8859/1~ISO IR87", 0},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        Hl7Charset charset = 0;
        bool is_read = hl7_charset_parse(str_from(rows[i].msh_18), '~', &charset);
        if (is_read != (rows[i].expected != 0) || charset != rows[i].expected) {
            fail_msg("row %zu: %s gave %u", i, rows[i].msh_18, charset);
        }
    }
}

static void test_text_is_decoded_by_what_msh_18_names(void **state)
{
    static const struct {
        const char *msh_18;
        const char *octets;
        const char *expected;
    } rows[] = {
        {"", "YAMADA\tHANAKO\r", "YAMADA\tHANAKO\r"},
        {"UNICODE UTF-8", "山田\xf0\xa0\xae\x9f", "山田\xf0\xa0\xae\x9f"},
        {"8859/1", "M\xfcller", "Müller"},
        {"~ISO IR87", "\x1b$B;3ED\x1b(B^\x1b$B2V;R\x1b(B", "山田^花子"},
        {"ISO IR87", "\x1b$@;3ED\x1b(J^A", "山田^A"},
        /* 髙 and 﨑 are NEC selected IBM extensions, ① and ㈱ NEC row 13 */
        {"ISO IR87", "\x1b$B|byu-!-j\x1b(B", "髙﨑①㈱"},
        /* wave dash and minus as the standard has them, not full-width tilde and hyphen */
        {"ISO IR87", "\x1b$B!A!]\x1b(B", "\xe3\x80\x9c\xe2\x88\x92"},
        {"ISO IR87", "\x1b(I6]9\x1b(B", "ｶﾝｹ"},
        {"ISO IR14", "\xd4\xcf\xc0\xde", "ﾔﾏﾀﾞ"},
        {"ISO IR14~ISO IR87", "\xd4 \x1b$B;3\x1b(J", "ﾔ 山"},
        {"~ISO IR87~ISO IR159", "\x1b$(DbG\x1b(B", "鄧"},
        /* a line begins in ASCII even if the sender forgot the escape (RFC 1468) */
        {"ISO IR87", "\x1b$B;3\rPID|", "山\rPID|"},
        {"ISO IR87", "\x1b(J\\~\x1b(B", "\\~"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        _cleanup_(strbuf_done) StrBuf utf8 = {0};
        size_t offset = 0;
        if (!hl7_charset_decode(charset_of(rows[i].msh_18), str_from(rows[i].octets), &utf8,
                                &offset)) {
            fail_msg("row %zu: not decoded at %zu", i, offset);
        }
        if (!str_equal(strbuf_str(&utf8), str_from(rows[i].expected))) {
            fail_msg("row %zu: %s", i, utf8.data);
        }
    }
}

/* Never a replacement character: what cannot be decoded is refused, with its place. */
static void test_undecodable_octets_are_refused_with_their_offset(void **state)
{
    static const struct {
        const char *msh_18;
        Str octets;
        size_t offset;
    } rows[] = {
        {"", STR_INIT("A\xe5"), 1},
        {"", STR_INIT("AB\x1b$B"), 2},
        {"", STR_INIT("A\0B"), 1},
        {"", STR_INIT("A\x7f"), 1},
        {"UNICODE UTF-8", STR_INIT("\xe5\xb1"), 0},       /* cut */
        {"UNICODE UTF-8", STR_INIT("A\xc0\xaf"), 1},      /* overlong */
        {"UNICODE UTF-8", STR_INIT("AB\xed\xa0\x80"), 2}, /* surrogate */
        {"UNICODE UTF-8", STR_INIT("\x01"), 0},
        {"8859/1", STR_INIT("A\x93"), 1},              /* CP1252 */
        {"ISO IR87", STR_INIT("\x1b$B;"), 3},          /* half a character */
        {"ISO IR87", STR_INIT("\x1b$B;3\x29\x21"), 5}, /* row 9 is empty */
        {"ISO IR87", STR_INIT("\x1b$A;3"), 0},         /* GB 2312 */
        {"ISO IR87", STR_INIT("A\xb1"), 1},            /* katakana needs ISO IR14 */
        {"ISO IR87", STR_INIT("\x1b(I\x60"), 3},
        {"ISO IR14", STR_INIT("\xe0"), 0},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        _cleanup_(strbuf_done) StrBuf utf8 = {0};
        size_t offset = 99;
        if (hl7_charset_decode(charset_of(rows[i].msh_18), rows[i].octets, &utf8, &offset)) {
            fail_msg("row %zu was decoded", i);
        }
        if (offset != rows[i].offset) {
            fail_msg("row %zu: offset %zu", i, offset);
        }
    }
}

/** SHA-256 of "CODE CHARACTER\n" for every code of a two-byte set that decodes. */
static void digest_set(const char *msh_18, const char *designation, size_t expected_count,
                       const char *expected_digest)
{
    Hl7Charset charset = charset_of(msh_18);
    _cleanup_(strbuf_done) StrBuf listing = {0};
    size_t count = 0;
    for (unsigned code = 0x2121; code <= 0x7e7e; code++) {
        _cleanup_(strbuf_done) StrBuf octets = {0};
        _cleanup_(strbuf_done) StrBuf utf8 = {0};
        size_t offset;
        strbuf_printf(&octets, "%s%c%c", designation, (int)(code >> 8), (int)(code & 0xff));
        if ((code & 0xff) > 0x20 && (code & 0xff) < 0x7f &&
            hl7_charset_decode(charset, strbuf_str(&octets), &utf8, &offset)) {
            strbuf_printf(&listing, "%04x %s\n", code, utf8.data);
            count++;
        }
    }
    uint8_t digest[SHA256_DIGEST_LENGTH];
    SHA256((const uint8_t *)listing.data, listing.len, digest);
    Arena *arena = arena_new();
    assert_int_equal(count, expected_count);
    assert_string_equal(str_hex(arena, digest, sizeof(digest)).data, expected_digest);
    arena_free(arena);
}

/* The digests were made with Python's codecs cp932 and euc_jp, walking Shift-JIS and EUC codes; six
 * characters are as JIS X 0208 has them: wave dash, double vertical line, minus, cent, pound, not.
 */
static void test_every_two_byte_code_decodes(void **state)
{
    (void)state;
    digest_set("ISO IR87", "\x1b$B", 7336,
               "436a231b928b058905c0f2de6ec36eb274add21bf0990b1d21255081bdd5698b");
}

static void test_every_code_of_jis_x_0212_decodes(void **state)
{
    (void)state;
    digest_set("ISO IR159", "\x1b$(D", 6067,
               "16bf9b1271cb4482514fb219c18db01395987fa613061007f533ef50732a4c3d");
}

/** A name of kanji, kana and ASCII, from a simple generator. */
static void make_name(uint32_t *seed, StrBuf *utf8)
{
    static const char *const parts[] = {"山", "髙", "﨑", "①", "龍", "ヤ",
                                        "ﾀﾞ", "ひ", "A",  "^", "~"};
    for (int i = 0; i < 8; i++) {
        *seed = *seed * 1664525U + 1013904223U;
        uint32_t pick = *seed >> 20;
        if (pick % 3 == 0) {
            strbuf_append(utf8, str_from(parts[pick % ARRAY_LEN(parts)]));
            continue;
        }
        /* the kanji of row 16 and following lie scattered in Unicode: take one by its code */
        char octets[] = {'\x1b', '$', 'B', (char)(0x30 + pick % 31), (char)(0x21 + pick % 93)};
        size_t offset;
        assert_true(
            hl7_charset_decode(HL7_JIS_X_0208, (Str){octets, sizeof(octets)}, utf8, &offset));
    }
}

static void test_names_survive_encoding_and_decoding(void **state)
{
    static const char *const sets[] = {"UNICODE UTF-8", "ISO IR87", "~ISO IR87",
                                       "ISO IR14~ISO IR87~ISO IR159"};
    (void)state;
    uint32_t seed = 20260401;
    for (int i = 0; i < 10000; i++) {
        _cleanup_(strbuf_done) StrBuf name = {0};
        _cleanup_(strbuf_done) StrBuf octets = {0};
        _cleanup_(strbuf_done) StrBuf back = {0};
        Hl7Charset charset = charset_of(sets[(size_t)i % ARRAY_LEN(sets)]);
        size_t offset;
        make_name(&seed, &name);
        assert_true(hl7_charset_encode(charset, strbuf_str(&name), &octets));
        assert_true(hl7_charset_decode(charset, strbuf_str(&octets), &back, &offset));
        assert_string_equal(back.data, name.data);
    }
}

static void test_encoder_writes_the_octets_that_partners_expect(void **state)
{
    (void)state;
    _cleanup_(strbuf_done) StrBuf octets = {0};
    assert_true(hl7_charset_encode(charset_of("~ISO IR87"), STR("山田^髙"), &octets));
    assert_string_equal(octets.data, "\x1b$B;3ED\x1b(B^\x1b$B|b\x1b(B");
    strbuf_clear(&octets);
    assert_true(hl7_charset_encode(charset_of("8859/1"), STR("Müller"), &octets));
    assert_string_equal(octets.data, "M\xfcller");
}

/* The caller then falls back to UTF-8 instead of losing a character. */
static void test_what_the_set_cannot_hold_is_not_encoded(void **state)
{
    static const struct {
        const char *msh_18;
        const char *text;
    } rows[] = {
        {"", "山"},
        {"8859/1", "Ā"},
        {"ISO IR87", "丂"},
        {"ISO IR87", "é"},
        {"ISO IR87", "\xef\xbc\x8d"}, /* full-width hyphen: would come back as minus */
        {"ISO IR87", "\xf0\xa0\xae\x9f"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        _cleanup_(strbuf_done) StrBuf octets = {0};
        strbuf_literal(&octets, "kept");
        if (hl7_charset_encode(charset_of(rows[i].msh_18), str_from(rows[i].text), &octets) ||
            !str_equal(strbuf_str(&octets), STR("kept"))) {
            fail_msg("row %zu", i);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_of_table_0211_are_read_and_others_are_not),
        cmocka_unit_test(test_text_is_decoded_by_what_msh_18_names),
        cmocka_unit_test(test_undecodable_octets_are_refused_with_their_offset),
        cmocka_unit_test(test_every_two_byte_code_decodes),
        cmocka_unit_test(test_every_code_of_jis_x_0212_decodes),
        cmocka_unit_test(test_names_survive_encoding_and_decoding),
        cmocka_unit_test(test_encoder_writes_the_octets_that_partners_expect),
        cmocka_unit_test(test_what_the_set_cannot_hold_is_not_encoded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
