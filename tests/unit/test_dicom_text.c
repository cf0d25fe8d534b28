/* Texts of DICOM data sets: PS3.5 6.1 and annexes H to K, PS3.3 C.12.1.1.2; and what is found
 * instead of what was declared. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "lib/base/file_io.h"
#include "lib/dicom/part10.h"
#include "lib/dicom/scan.h"
#include "lib/dicom/text.h"

#define SPECIFIC_CHARACTER_SET DICOM_TAG(0x0008, 0x0005)
#define PATIENT_NAME DICOM_TAG(0x0010, 0x0010)
#define REQUESTED_PROCEDURE_CODES DICOM_TAG(0x0032, 0x1064)
#define SEQUENCE DICOM_TAG(0x0040, 0x0275)

static void declare(Arena *arena, DicomDataset *dataset, const char *declared)
{
    dicom_put(arena, dataset, SPECIFIC_CHARACTER_SET, DICOM_VR_CS, str_from(declared));
}

static void test_a_text_reads_as_declared_or_as_its_bytes_say(void **state)
{
    static const struct {
        const char *declared;
        DicomVr vr;
        Str bytes;
        const char *expected;
        bool contradicts;
    } rows[] = {
        /* as declared: PS3.5 annex H, and what its rules say beyond it */
        {"", DICOM_VR_PN, STR_INIT("Yamada^Tarou"), "Yamada^Tarou", false},
        {"\\ISO 2022 IR 87", DICOM_VR_PN,
         STR_INIT("Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&"
                  "\x1b(B"),
         "Yamada^Tarou=山田^太郎=やまだ^たろう", false},
        {"ISO 2022 IR 13\\ISO 2022 IR 87", DICOM_VR_PN,
         STR_INIT("\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J=\x1b$B$d$^$@"
                  "\x1b(J^\x1b$B$?$m$&\x1b(J"),
         "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう", false},
        {"ISO 2022 IR 6\\ISO 2022 IR 87", DICOM_VR_PN,
         STR_INIT("Sato^Ichiro=\x1b$B:4F#\x1b(B^\x1b$B0lO:\x1b(B"), "Sato^Ichiro=佐藤^一郎", false},
        {"ISO 2022 IR 87", DICOM_VR_PN, STR_INIT("Sato=\x1b$B:4F#\x1b(B"), "Sato=佐藤",
         false}, /* value 1 may not be a set of two bytes, but many write so */
        {"ISO_IR 13", DICOM_VR_PN, STR_INIT("\xc5\xb6\xd1\xd7^\xca\xc5\xba"), "ﾅｶﾑﾗ^ﾊﾅｺ", false},
        {"ISO_IR 13", DICOM_VR_PN, STR_INIT("\xb1"), "ｱ", false},
        {"ISO_IR 13", DICOM_VR_LT, STR_INIT("100\\ ~"), "100¥ ‾",
         false}, /* JIS X 0201 Roman; no values in LT */
        {"ISO_IR 13", DICOM_VR_LO, STR_INIT("A\\B~"), "A\\B‾",
         false}, /* a delimiter, whatever it looks like */
        {"ISO 2022 IR 6", DICOM_VR_LT, STR_INIT("a\\b~c"), "a\\b~c", false},
        {"\\ISO 2022 IR 87", DICOM_VR_LT, STR_INIT("\x1b$B6;It\x1b(B\x0d\x0a\x1b$B@5LL\x1b(B"),
         "胸部\r\n正面", false},
        {"\\ISO 2022 IR 87", DICOM_VR_LT, STR_INIT("\x1b$B6;It\x0d\x0aPA view"), "胸部\r\nPA view",
         false}, /* a line begins in value 1 */
        {"\\ISO 2022 IR 87", DICOM_VR_LO, STR_INIT("\x1b$BF,It\x1b(B\\\x1b$BJ\"It\x1b(B"),
         "頭部\\腹部", false},
        {"\\ISO 2022 IR 87", DICOM_VR_LO, STR_INIT("\x1b$B9=@.\x1b(B  "), "構成", false},
        {"\\ISO 2022 IR 87", DICOM_VR_PN, STR_INIT("x=\x1b$BGr\x1b(B^\x1b$BM=\x1b(B"), "x=白^予",
         false}, /* bytes of kanji that look like delimiters */
        {"\\ISO 2022 IR 87", DICOM_VR_PN, STR_INIT("Takahashi=\x1b$B|b66\x1b(B^\x1b$B0l\x1b(B"),
         "Takahashi=髙橋^一", false}, /* IBM extension in row 92 */
        {"\\ISO 2022 IR 87", DICOM_VR_LO, STR_INIT("\x1b$B-!\x1b(B"), "①", false}, /* NEC row 13 */
        {"\\ISO 2022 IR 87\\ISO 2022 IR 159", DICOM_VR_PN, STR_INIT("x=\x1b$(D0!\x1b(B"), "x=丂",
         false},
        {"ISO 2022 IR 13\\ISO 2022 IR 87", DICOM_VR_LO, STR_INIT("\x1b)I\xb1\xb2"), "ｱｲ", false},
        {"\\ISO 2022 IR 13\\ISO 2022 IR 87", DICOM_VR_LO,
         STR_INIT("\x1b)I\xb1\xb2\x1b$B;3\x1b(B\xb1"), "ｱｲ山ｱ", false},
        {"ISO_IR 192", DICOM_VR_PN,
         STR_INIT("Yamada^Tarou=\xe5\xb1\xb1\xe7\x94\xb0^\xe5\xa4\xaa\xe9\x83\x8e="
                  "\xe3\x82\x84\xe3\x81\xbe\xe3\x81\xa0^\xe3\x81\x9f\xe3\x82\x8d\xe3\x81\x86"),
         "Yamada^Tarou=山田^太郎=やまだ^たろう", false},
        {"ISO_IR 192", DICOM_VR_LO,
         STR_INIT(
             "\xe9\xab\x99\xef\xa8\x91\xe2\x91\xa0\xe3\x88\xb1 \xf0\x9f\x98\x80\xf0\xa0\xae\xb7"),
         "髙﨑①㈱ 😀𠮷", false},
        {"GB18030", DICOM_VR_PN, STR_INIT("Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab"),
         "Wang^XiaoDong=王^小东", false},
        {"GB18030", DICOM_VR_LO,
         STR_INIT("\x81"
                  "9\xee"
                  "9\\\x81\\"),
         "㐀\\乗", false}, /* four bytes; a trail of 5C */
        {"GBK", DICOM_VR_PN, STR_INIT("\xd5\\^\xd6\xd0\xb9\xfa"), "誠^中国", false},
        {"GBK", DICOM_VR_LO, STR_INIT("\x81\\\\\x81\\"), "乗\\乗", false},
        {"\\ISO 2022 IR 149", DICOM_VR_PN,
         STR_INIT("Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)"
                  "C\xb1\xe6\xb5\xbf"),
         "Hong^Gildong=洪^吉洞=홍^길동", false},
        {"\\ISO 2022 IR 58", DICOM_VR_PN,
         STR_INIT("Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab"),
         "Zhang^XiaoDong=张^小东", false},
        {"\\ISO 2022 IR 58", DICOM_VR_LT,
         STR_INIT("\x1b$)A\xb5\xda\xd2\xbb\xd0\xd0\xce\xc4\xd7\xd6\xa1\xa3\x0d\x0a\x1b$)"
                  "A\xb5\xda\xb6\xfe\xd0\xd0"
                  "abc\x0d\x0a"),
         "第一行文字。\r\n第二行abc\r\n", false},
        {"ISO_IR 100", DICOM_VR_PN, STR_INIT("Buc^J\xe9r\xf4me"), "Buc^Jérôme", false},
        {"ISO_IR 100", DICOM_VR_PN,
         STR_INIT("\xc4neas^R\xfc"
                  "diger"),
         "Äneas^Rüdiger", false},
        {"ISO_IR 100", DICOM_VR_LO,
         STR_INIT("\xb1"
                  "5 \xb0"
                  "C, 3 \xb5m\xb2"),
         "±5 °C, 3 µm²", false},
        {"ISO_IR 101", DICOM_VR_PN, STR_INIT("Dvo\xf8\xe1k^\xa9t\xecp\xe1n"), "Dvořák^Štěpán",
         false},
        {"ISO_IR 109", DICOM_VR_PN,
         STR_INIT("\xc5"
                  "ensu^\xa1"
                  "al"),
         "Ċensu^Ħal", false},
        {"ISO_IR 110", DICOM_VR_PN, STR_INIT("K\xe0rlis^\xa9\xf3\xbale"), "Kārlis^Šķēle", false},
        {"ISO_IR 144", DICOM_VR_PN,
         STR_INIT("\xbb\xee\xda"
                  "ce\xdc\xd1yp\xd3"),
         "Люкceмбypг", false},
        {"ISO_IR 127", DICOM_VR_PN, STR_INIT("\xe2\xc8\xc7\xe6\xea^\xe4\xe6\xd2\xc7\xd1"),
         "قباني^لنزار", false},
        {"ISO_IR 126", DICOM_VR_PN, STR_INIT("\xc4\xe9\xef\xed\xf5\xf3\xe9\xef\xf2"), "Διονυσιος",
         false},
        {"ISO_IR 138", DICOM_VR_PN, STR_INIT("\xf9\xf8\xe5\xef^\xe3\xe1\xe5\xf8\xe4"), "שרון^דבורה",
         false},
        {"ISO_IR 148", DICOM_VR_PN,
         STR_INIT("\xc7"
                  "a\xf0r\xfd^\xde\xfckr\xfc"),
         "Çağrı^Şükrü", false},
        {"ISO_IR 203", DICOM_VR_LO, STR_INIT("\xbduvre 5 \xa4"), "œuvre 5 €", false},
        {"ISO_IR 166", DICOM_VR_PN, STR_INIT("\xb9\xd2\xc1\xca\xa1\xd8\xc5^\xaa\xd7\xe8\xcd"),
         "นามสกุล^ชื่อ", false},
        {"ISO 2022 IR 100\\ISO 2022 IR 144\\ISO 2022 IR 126", DICOM_VR_LO,
         STR_INIT("\xe9t\xe9 \x1b-L\xbb\xee\xda \x1b-F\xc4\xe9\\\xe9t\xe9"), "été Люк Δι\\été",
         false},
        /* terms as they are misspelt */
        {"ISO-IR 100", DICOM_VR_PN, STR_INIT("M\xfcller"), "Müller", false},
        {"ISO IR 100", DICOM_VR_PN, STR_INIT("M\xfcller"), "Müller", false},
        {"ISO_IR_100", DICOM_VR_PN, STR_INIT("M\xfcller"), "Müller", false},
        {"ISO2022IR13\\ISO2022IR87", DICOM_VR_PN, STR_INIT("\xd4\xcf=\x1b$B;3\x1b(B"), "ﾔﾏ=山",
         false},
        /* escapes that nobody declared */
        {"", DICOM_VR_PN, STR_INIT("Yamada=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B"), "Yamada=山田^太郎",
         true},
        {"ISO_IR 100", DICOM_VR_PN, STR_INIT("Yamada=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B"),
         "Yamada=山田^太郎", true},
        {"ISO_IR 13", DICOM_VR_PN, STR_INIT("Yamada=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B"),
         "Yamada=山田^太郎", true},
        {"ISO_IR 192", DICOM_VR_PN, STR_INIT("Yamada=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B"),
         "Yamada=山田^太郎", true},
        {"ISO 2022 IR 13", DICOM_VR_PN, STR_INIT("Yamada=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B"),
         "Yamada=山田^太郎", true},
        {"ISO_IR 6", DICOM_VR_LO, STR_INIT("\x1b$@;3ED\x1b(J"), "山田", true},
        {"\\ISO 2022 IR 87", DICOM_VR_LO, STR_INIT("\x1b(ICDB9\x1b(B"), "ﾃﾄﾂｹ", true},
        {"\\ISO 2022 IR 87", DICOM_VR_PN, STR_INIT("x=\x1b$(D0!\x1b(B"), "x=丂", true},
        {"\\ISO 2022 IR 87", DICOM_VR_PN, STR_INIT("x=\x1b$B;3ED\x1b(J"), "x=山田",
         false}, /* every writer returns so, harmless */
        /* Shift_JIS */
        {"", DICOM_VR_PN,
         STR_INIT("\x8eR\x93"
                  "c^\x91\xbe\x98Y"),
         "山田^太郎", true},
        {"ISO_IR 100", DICOM_VR_PN,
         STR_INIT("\x8eR\x93"
                  "c^\x91\xbe\x98Y"),
         "山田^太郎", true},
        {"ISO_IR 13", DICOM_VR_PN,
         STR_INIT("\x8eR\x93"
                  "c^\x91\xbe\x98Y"),
         "山田^太郎", true},
        {"\\ISO 2022 IR 87", DICOM_VR_PN,
         STR_INIT("\x8eR\x93"
                  "c^\x91\xbe\x98Y"),
         "山田^太郎", true},
        {"ISO 2022 IR 13\\ISO 2022 IR 87", DICOM_VR_PN,
         STR_INIT("\x8eR\x93"
                  "c^\x91\xbe\x98Y"),
         "山田^太郎", true},
        {"ISO_IR 192", DICOM_VR_PN,
         STR_INIT("\x8eR\x93"
                  "c^\x91\xbe\x98Y"),
         "山田^太郎", true},
        {"", DICOM_VR_LO, STR_INIT("\x95\\\x8e\xa6\x94\\\x97\xcd\\\x8f\\\x93\xf1\x8ew\x92\xb0"),
         "表示能力\\十二指腸", true}, /* trails of 5C */
        {"ISO_IR 100", DICOM_VR_LO, STR_INIT("\xee\xe0\xed\x95\x87@\x87\x8a"), "髙﨑①㈱",
         true}, /* IBM extensions where Windows has them */
        {"", DICOM_VR_PN,
         STR_INIT("YAMADA^TARO=\x8eR\x93"
                  "c^\x91\xbe\x98Y=\xd4\xcf\xc0\xde^\xc0\xdb\xb3"),
         "YAMADA^TARO=山田^太郎=ﾔﾏﾀﾞ^ﾀﾛｳ", true},
        {"", DICOM_VR_PN, STR_INIT("\xd4\xcf\xc0\xde^\xc0\xdb\xb3"), "ﾔﾏﾀﾞ^ﾀﾛｳ", true},
        {"ISO_IR 100", DICOM_VR_PN, STR_INIT("\xc5\xb6\xd1\xd7^\xca\xc5\xba"), "ﾅｶﾑﾗ^ﾊﾅｺ", true},
        {"ISO_IR 100", DICOM_VR_LO,
         STR_INIT("\x8b\xb9\x95\x94\x92P\x8f\x83\x8e"
                  "B\x89"
                  "e\x81i\x90\xb3\x96\xca\x81j"),
         "胸部単純撮影（正面）", true},
        {"", DICOM_VR_LO,
         STR_INIT("\x8b\xb9\x95\x94\x82"
                  "b\x82s Chest"),
         "胸部ＣＴ Chest", true},
        {"", DICOM_VR_SH, STR_INIT("\x95\xfa\x8e\xcb\x90\xfc\x89\xc8\x88\xe3\x8e"),
         "放射線科医\\x8E", true}, /* cut at 16 bytes, as SH makes some writers do */
        /* EUC-JP */
        {"", DICOM_VR_PN, STR_INIT("\xbb\xb3\xc5\xc4^\xc2\xc0\xcf\xba"), "山田^太郎", true},
        {"ISO_IR 100", DICOM_VR_PN, STR_INIT("\xbb\xb3\xc5\xc4^\xc2\xc0\xcf\xba"), "山田^太郎",
         true},
        {"\\ISO 2022 IR 87", DICOM_VR_PN, STR_INIT("\xbb\xb3\xc5\xc4^\xc2\xc0\xcf\xba"),
         "山田^太郎", true},
        {"ISO_IR 192", DICOM_VR_PN, STR_INIT("\xbb\xb3\xc5\xc4^\xc2\xc0\xcf\xba"), "山田^太郎",
         true},
        {"", DICOM_VR_PN,
         STR_INIT("\xce\xeb\xcc\xda^\xb2\xd6\xbb\xd2=\x8e\xbd\x8e\xbd\x8e\xde\x8e\xb7^"
                  "\x8e\xca\x8e\xc5\x8e\xba"),
         "鈴木^花子=ｽｽﾞｷ^ﾊﾅｺ", true}, /* half width by 8E */
        {"ISO_IR 100", DICOM_VR_LO, STR_INIT("\xb6\xbb\xc9\xf4\xc3\xb1\xbd\xe3\xbb\xa3\xb1\xc6"),
         "胸部単純撮影", true},
        {"ISO 2022 IR 13\\ISO 2022 IR 87", DICOM_VR_PN,
         STR_INIT("\xc5\xcf\xca\xd5^\xb7\xf2\xc2\xc0"), "渡辺^健太", true},
        /* UTF-8 */
        {"", DICOM_VR_PN,
         STR_INIT("\xe5\xb1\xb1\xe7\x94\xb0^\xe5\xa4\xaa\xe9\x83\x8e="
                  "\xe3\x82\x84\xe3\x81\xbe\xe3\x81\xa0^\xe3\x81\x9f\xe3\x82\x8d\xe3\x81\x86"),
         "山田^太郎=やまだ^たろう", true},
        {"ISO_IR 100", DICOM_VR_PN,
         STR_INIT("\xe5\xb1\xb1\xe7\x94\xb0^\xe5\xa4\xaa\xe9\x83\x8e="
                  "\xe3\x82\x84\xe3\x81\xbe\xe3\x81\xa0^\xe3\x81\x9f\xe3\x82\x8d\xe3\x81\x86"),
         "山田^太郎=やまだ^たろう", true},
        {"ISO_IR 13", DICOM_VR_PN,
         STR_INIT("\xe5\xb1\xb1\xe7\x94\xb0^\xe5\xa4\xaa\xe9\x83\x8e="
                  "\xe3\x82\x84\xe3\x81\xbe\xe3\x81\xa0^\xe3\x81\x9f\xe3\x82\x8d\xe3\x81\x86"),
         "山田^太郎=やまだ^たろう", true},
        {"\\ISO 2022 IR 87", DICOM_VR_PN,
         STR_INIT("\xe5\xb1\xb1\xe7\x94\xb0^\xe5\xa4\xaa\xe9\x83\x8e="
                  "\xe3\x82\x84\xe3\x81\xbe\xe3\x81\xa0^\xe3\x81\x9f\xe3\x82\x8d\xe3\x81\x86"),
         "山田^太郎=やまだ^たろう", true},
        {"GB18030", DICOM_VR_PN,
         STR_INIT("\xe5\xb1\xb1\xe7\x94\xb0^\xe5\xa4\xaa\xe9\x83\x8e="
                  "\xe3\x82\x84\xe3\x81\xbe\xe3\x81\xa0^\xe3\x81\x9f\xe3\x82\x8d\xe3\x81\x86"),
         "山田^太郎=やまだ^たろう", true},
        {"ISO_IR 144", DICOM_VR_PN,
         STR_INIT("\xe5\xb1\xb1\xe7\x94\xb0^\xe5\xa4\xaa\xe9\x83\x8e="
                  "\xe3\x82\x84\xe3\x81\xbe\xe3\x81\xa0^\xe3\x81\x9f\xe3\x82\x8d\xe3\x81\x86"),
         "山田^太郎=やまだ^たろう", true},
        {"ISO_IR 100", DICOM_VR_PN, STR_INIT("M\xc3\xbcller^J\xc3\xb6rg"), "Müller^Jörg", true},
        {"", DICOM_VR_PN,
         STR_INIT("\xef\xbe\x94\xef\xbe\x8f\xef\xbe\x80\xef\xbe\x9e^"
                  "\xef\xbe\x80\xef\xbe\x9b\xef\xbd\xb3"),
         "ﾔﾏﾀﾞ^ﾀﾛｳ", true},
        {"ISO 2022 IR 13\\ISO 2022 IR 87", DICOM_VR_LO, STR_INIT("\xe8\x83\xb8\xe9\x83\xa8"),
         "胸部", true},
        {"ISO_IR 192", DICOM_VR_LO, STR_INIT("\xe8\x83\xb8\xe9\x83\xa8\xe5\x8d\x98\xe7\xb4"),
         "胸部単\\xE7\\xB4", false}, /* cut: no fault of the declaration */
        /* others */
        {"", DICOM_VR_PN, STR_INIT("M\xfcller^J\xe9r\xf4me"), "Müller^Jérôme", true},
        {"\\ISO 2022 IR 149", DICOM_VR_PN, STR_INIT("Hong=\xc8\xab^\xb1\xe6\xb5\xbf"),
         "Hong=홍^길동", true}, /* without the escape */
        {"SHIFT_JIS", DICOM_VR_PN,
         STR_INIT("\x8eR\x93"
                  "c^\x91\xbe\x98Y"),
         "山田^太郎", true}, /* no defined term */
        /* short texts are not guessed */
        {"ISO_IR 100", DICOM_VR_LO, STR_INIT("\xb1"), "±", false},
        {"ISO_IR 100", DICOM_VR_PN, STR_INIT("Ren\xe9"), "René", false},
        {"ISO_IR 100", DICOM_VR_LO, STR_INIT("\xc4\xb3"), "Ä³", false},
        {"ISO_IR 13", DICOM_VR_PN, STR_INIT("\xcf\xb7"), "ﾏｷ", false}, /* well-formed UTF-8 */
        {"ISO_IR 13", DICOM_VR_PN, STR_INIT("\xbb\xb2\xc4\xb3"), "ｻｲﾄｳ",
         false}, /* well-formed EUC-JP */
        {"", DICOM_VR_LO, STR_INIT("\xb1"), "ｱ", true},
        /* bytes that are no text */
        {"ISO_IR 100", DICOM_VR_LO,
         STR_INIT("a\x80"
                  "b\x07"),
         "a\\x80b\\x07", true},
        {"ISO_IR 192", DICOM_VR_LO, STR_INIT("\xff\xff\x80"), "\\xFF\\xFF\\x80", true},
        {"ISO_IR 100", DICOM_VR_PN, STR_INIT("M\xc3\xbcller"), "Müller", true},
        {"\\ISO 2022 IR 87", DICOM_VR_LO, STR_INIT("\x1b$B~~\x1b(Ba"), "\\x7E\\x7Ea", true},
        {"", DICOM_VR_LO, STR_INIT("\x1bQa"), "\\x1BQa", true},
        {"\\ISO 2022 IR 87", DICOM_VR_PN, STR_INIT("\x1b$B;3ED^\x1b$BB@O:"), "山田^太郎",
         false}, /* nobody returned to ASCII */
    };
    Arena *arena = *state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        DicomDataset *dataset = dicom_dataset_new(arena);
        declare(arena, dataset, rows[i].declared);
        dicom_put(arena, dataset, PATIENT_NAME, rows[i].vr, rows[i].bytes);
        TextReading reading = dicom_text_reading(arena, dataset);
        Str text = dicom_text_of(arena, &reading, dataset, PATIENT_NAME);
        if (!str_equal(text, str_from(rows[i].expected)) ||
            reading.contradicts != rows[i].contradicts) {
            fail_msg("row %zu: %s as %s: %.*s, contradicts: %d, used %d, confidence %f", i,
                     rows[i].expected, rows[i].declared, STR_ARG(text), reading.contradicts,
                     (int)reading.used, reading.confidence);
        }
        assert_true(str_is_utf8(text));
    }
}

/* Half of the elements are right, the others not: the data set says what those are, and each text
 * that reads well as declared stays. */
static void test_texts_of_a_data_set_decide_together(void **state)
{
    static const struct {
        const char *declared;
        Str bytes[4];
        const char *expected[4];
        CharacterSet used;
    } rows[] = {
        /* the name by escapes, the rest as Windows has it */
        {"\\ISO 2022 IR 87",
         {STR_INIT("Yamada=\x1b$B;3ED\x1b(B"), STR_INIT("\x8b\xb9\x95\x94\x92P\x8f\x83\x8e"
                                                        "B\x89"
                                                        "e")},
         {"Yamada=山田", "胸部単純撮影"},
         CHARSET_SHIFT_JIS},
        {"\\ISO 2022 IR 87",
         {STR_INIT("Yamada=\x1b$B;3ED\x1b(B"),
          STR_INIT("\xe6\x9d\xb1\xe4\xba\xac\xe4\xb8\xad\xe5\xa4\xae\xe7\x97\x85\xe9\x99\xa2"),
          STR_INIT("CT")},
         {"Yamada=山田", "東京中央病院", "CT"},
         CHARSET_UTF_8},
        {"ISO 2022 IR 13\\ISO 2022 IR 87",
         {STR_INIT("\xd4\xcf\xc0\xde=\x1b$B;3ED\x1b(J"),
          STR_INIT("\x93\xaa\x95\x94\x82l\x82q\x82h")},
         {"ﾔﾏﾀﾞ=山田", "頭部ＭＲＩ"},
         CHARSET_SHIFT_JIS},
        /* one byte that alone would be a sign */
        {"ISO_IR 100",
         {STR_INIT("M\xfcller"),
          STR_INIT("\x8b\xb9\x95\x94\x92P\x8f\x83\x8e"
                   "B\x89"
                   "e"),
          STR_INIT("\xb1")},
         {"Müller", "胸部単純撮影", "ｱ"},
         CHARSET_SHIFT_JIS},
        /* the first could be katakana */
        {"ISO_IR 13",
         {STR_INIT("\xc0\xb0\xb7\xc1\xb3\xb0\xb2\xca"),
          STR_INIT("\xb6\xbb\xc9\xf4\xc3\xb1\xbd\xe3\xbb\xa3\xb1\xc6"),
          STR_INIT("\xc5\xc4\xc3\xe6^\xb2\xd6\xbb\xd2")},
         {"整形外科", "胸部単純撮影", "田中^花子"},
         CHARSET_EUC_JP},
        /* the first could be EUC-JP */
        {"",
         {STR_INIT("\xbb\xb2\xc4\xb3"), STR_INIT("\x8d\xd6\x93\xa1^\x88\xea\x98Y")},
         {"ｻｲﾄｳ", "斎藤^一郎"},
         CHARSET_SHIFT_JIS},
        {"", {STR_INIT("Yamada"), STR_INIT("CHEST^PA")}, {"Yamada", "CHEST^PA"}, CHARSET_DEFAULT},
        /* escapes have no place under UTF-8 */
        {"ISO_IR 192",
         {STR_INIT("\xe5\xb1\xb1\xe7\x94\xb0^\xe5\xa4\xaa\xe9\x83\x8e"),
          STR_INIT("\xe8\x83\xb8\xe9\x83\xa8"), STR_INIT("Yamada=\x1b$B;3ED\x1b(B")},
         {"山田^太郎", "胸部", "Yamada=山田"},
         CHARSET_JIS_0208},
    };
    Arena *arena = *state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        DicomDataset *dataset = dicom_dataset_new(arena);
        declare(arena, dataset, rows[i].declared);
        for (size_t k = 0; k < ARRAY_LEN(rows[i].bytes) && rows[i].expected[k]; k++) {
            dicom_put(arena, dataset, PATIENT_NAME + (uint32_t)k, DICOM_VR_PN, rows[i].bytes[k]);
        }
        TextReading reading = dicom_text_reading(arena, dataset);
        assert_int_equal(reading.used, rows[i].used);
        assert_int_equal(reading.contradicts, reading.used != reading.declared);
        for (size_t k = 0; k < ARRAY_LEN(rows[i].bytes) && rows[i].expected[k]; k++) {
            Str text = dicom_text_of(arena, &reading, dataset, PATIENT_NAME + (uint32_t)k);
            if (!str_equal(text, str_from(rows[i].expected[k]))) {
                fail_msg("row %zu: %s as %s: %.*s", i, rows[i].expected[k], rows[i].declared,
                         STR_ARG(text));
            }
        }
    }
}

/* PS3.5 6.2 (0008,0005) of an item counts for the item; one without follows what encloses it. */
static void test_an_item_may_declare_a_set_of_its_own(void **state)
{
    Arena *arena = *state;
    DicomDataset *dataset = dicom_dataset_new(arena);
    declare(arena, dataset, "ISO_IR 192");
    dicom_put(arena, dataset, PATIENT_NAME, DICOM_VR_PN, STR("山田"));
    DicomDataset *own = dicom_add_item(arena, dataset, SEQUENCE);
    declare(arena, own, "ISO_IR 13");
    dicom_put(arena, own, PATIENT_NAME, DICOM_VR_PN, STR("\xd4\xcf\xc0\xde"));
    DicomDataset *inner = dicom_add_item(arena, own, SEQUENCE);
    dicom_put(arena, inner, PATIENT_NAME, DICOM_VR_PN, STR("\xb2\xc1\xdb\xb3"));
    DicomDataset *follows = dicom_add_item(arena, dataset, SEQUENCE);
    dicom_put(arena, follows, PATIENT_NAME, DICOM_VR_PN, STR("太郎"));
    TextReading reading = dicom_text_reading(arena, dataset);
    assert_false(reading.contradicts);
    assert_int_equal(reading.used, CHARSET_UTF_8);
    const struct {
        const DicomDataset *dataset;
        const char *expected;
    } rows[] = {{dataset, "山田"}, {own, "ﾔﾏﾀﾞ"}, {inner, "ｲﾁﾛｳ"}, {follows, "太郎"}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        Str text = dicom_text_of(arena, &reading, rows[i].dataset, PATIENT_NAME);
        assert_true(str_equal(text, str_from(rows[i].expected)));
    }
}

static void test_confidence_grows_with_what_there_is_to_read(void **state)
{
    static const struct {
        const char *declared;
        Str bytes;
        double at_least;
        double below;
    } rows[] = {
        {"ISO_IR 13", STR_INIT("\xb1"), 1, 1.1},
        {"", STR_INIT("\xb1"), 0.5, 0.7},
        {"", STR_INIT("\x8e\x52\x93\x63"), 0.75, 0.95},
        {"", STR_INIT("\x8e\x52\x93\x63^\x91\xbe\x98\x59"), 0.95, 1},
        {"ISO_IR 100", STR_INIT("山田"), 0.9, 1},
        {"ISO_IR 192", STR_INIT("\x80\xff"), 0, 0.1},
    };
    Arena *arena = *state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        DicomDataset *dataset = dicom_dataset_new(arena);
        declare(arena, dataset, rows[i].declared);
        dicom_put(arena, dataset, PATIENT_NAME, DICOM_VR_PN, rows[i].bytes);
        TextReading reading = dicom_text_reading(arena, dataset);
        if (!(reading.confidence >= rows[i].at_least && reading.confidence < rows[i].below)) {
            fail_msg("row %zu: %f", i, reading.confidence);
        }
        assert_int_equal(reading.has_unreadable, rows[i].at_least == 0);
    }
}

static void test_groups_of_a_name_are_cut_and_an_unreadable_byte_separates_nothing(void **state)
{
    static const struct {
        const char *text;
        const char *groups[3];
    } rows[] = {
        {"", {"", "", ""}},
        {"Yamada^Tarou", {"Yamada^Tarou", "", ""}},
        {"Yamada^Tarou =山田^太郎=やまだ^たろう ", {"Yamada^Tarou", "山田^太郎", "やまだ^たろう"}},
        {"=山田^太郎", {"", "山田^太郎", ""}},
        {"A=B\\C=D", {"A", "B", ""}},
        {"A=B\\x8E=C\\D", {"A", "B\\x8E", "C"}},
        {"A=B=C=D", {"A", "B", "C"}},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        PersonName name = dicom_person_name(str_from(rows[i].text));
        for (size_t k = 0; k < ARRAY_LEN(name.groups); k++) {
            if (!str_equal(name.groups[k], str_from(rows[i].groups[k]))) {
                fail_msg("row %zu, group %zu: %.*s", i, k, STR_ARG(name.groups[k]));
            }
        }
    }
    Str rest = STR("A\\x8E\\x99\\x41");
    Str value;
    assert_true(dicom_text_next(&rest, &value) && str_equal(value, STR("A\\x8E\\x99")));
    assert_true(dicom_text_next(&rest, &value) && str_equal(value, STR("x41")));
    assert_false(dicom_text_next(&rest, &value));
}

/** The data set of a file in MUSUBI_REFERENCE/dicom/charset. */
static const DicomDataset *read_reference(Arena *arena, const char *reference, const char *name)
{
    ErrorList errors;
    error_list_init(&errors, arena);
    StrBuf file = {0};
    Str path = str_printf(arena, "%s/dicom/charset/pydicom__%s.dcm", reference, name);
    assert_int_equal(io_read_file(path.data, (size_t)1 << 20, &file), 0);
    Str bytes = str_dup(arena, strbuf_str(&file));
    strbuf_done(&file);
    FileMeta meta;
    size_t offset = 0;
    assert_int_equal(part10_read(arena, &errors, bytes, &meta, &offset), 1);
    DicomScan *scan = dicom_scan_new(arena, transfer_syntax_find(meta.transfer_syntax));
    DicomScanned scanned;
    assert_int_equal(dicom_scan_push(scan, &errors, bytes.data + offset, bytes.len - offset), 0);
    assert_int_equal(dicom_scan_end(scan, &errors, &scanned), 0);
    dicom_scan_free(scan);
    return scanned.dataset;
}

static void test_files_of_the_reference_read_as_their_notes_say(void **state)
{
    static const struct {
        const char *file;
        uint32_t sequence; /* 0: of the data set itself */
        const char *expected;
    } rows[] = {
        {"chrArab", 0, "قباني^لنزار"},
        {"chrFrenMulti", 0, "Buc^Jérôme"},
        {"chrGerm", 0, "Äneas^Rüdiger"},
        {"chrGreek", 0, "Διονυσιος"},
        {"chrH31", 0, "Yamada^Tarou=山田^太郎=やまだ^たろう"},
        {"chrHbrw", 0, "שרון^דבורה"},
        {"chrI2", 0, "Hong^Gildong=洪^吉洞=홍^길동"},
        {"chrJapMulti", 0, "やまだ^たろう"},
        {"chrRuss", 0, "Люкceмбypг"},
        {"chrSQEncoding", REQUESTED_PROCEDURE_CODES, "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"},
        {"chrSQEncoding1", REQUESTED_PROCEDURE_CODES, "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"},
        {"chrX1", 0, "Wang^XiaoDong=王^小東="},
    };
    Arena *arena = *state;
    const char *reference = getenv("MUSUBI_REFERENCE");
    if (!reference) {
        print_message("MUSUBI_REFERENCE is not set: no files to read\n");
        skip();
    }
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const DicomDataset *dataset = read_reference(arena, reference, rows[i].file);
        TextReading reading = dicom_text_reading(arena, dataset);
        const DicomDataset *holder =
            rows[i].sequence ? dicom_item(dataset, rows[i].sequence, 0) : dataset;
        assert_non_null(holder);
        Str text = dicom_text_of(arena, &reading, holder, PATIENT_NAME);
        if (!str_equal(text, str_from(rows[i].expected)) || reading.contradicts) {
            fail_msg("%s: %.*s, contradicts: %d", rows[i].file, STR_ARG(text), reading.contradicts);
        }
    }
}

static int open_arena(void **state)
{
    *state = arena_new();
    return 0;
}

static int close_arena(void **state)
{
    arena_free(*state);
    return 0;
}

#define IN_ARENA(test) cmocka_unit_test_setup_teardown(test, open_arena, close_arena)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_ARENA(test_a_text_reads_as_declared_or_as_its_bytes_say),
        IN_ARENA(test_texts_of_a_data_set_decide_together),
        IN_ARENA(test_an_item_may_declare_a_set_of_its_own),
        IN_ARENA(test_confidence_grows_with_what_there_is_to_read),
        IN_ARENA(test_groups_of_a_name_are_cut_and_an_unreadable_byte_separates_nothing),
        IN_ARENA(test_files_of_the_reference_read_as_their_notes_say),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
