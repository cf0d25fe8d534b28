#include "lib/dicom/evidence.h"

#include <unicode/uchar.h>

#include "lib/text/jis_tables.h"

typedef enum Evidence {
#define EVIDENCE(name, points, what) EVIDENCE_##name,
#include "lib/dicom/evidence.def"
#undef EVIDENCE
} Evidence;

static const int64_t evidence_points[] = {
#define EVIDENCE(name, points, what) (points),
#include "lib/dicom/evidence.def"
#undef EVIDENCE
};

/* Sorted. Kanji that make up most surnames, given names, hospital names and descriptions of
 * studies. */
static const uint16_t common_kanji[] =
    u"一丁七万三上下不世中丸主乃久之乳乾亀予二五井亜交京亮人仁今介付仙代令仲伊伏会住佐佑体作佳"
    u"依保信修倉健側備傷像優元充光児入全八公六内円冠冬処出分切初判別利前剛剤副創功加助勇動勝勤"
    u"化北医十千半卓南単博卯卵原及友双受口古可台史右号合吉同名吸吾呼和咽品哉哲唯善喉器四回国園"
    u"土地坂垣城埼堀報場塚塩壁士変夏外多夜大太夫央奈女好妙妻姫婦子字孝学孫宅宇守安宏宗定実室宮"
    u"家容密富寛察寺射小少尾尿屋属層山岡岩岸島崎川州巣工左己市帆希師幌平年幸広床序府度座康廉廣"
    u"弘弥張当形彦影後循徳心忍志念急性恭恵悟悠患情愛態慎慶成戸房所手技投抗折担拓拡持指振接推提"
    u"換撫撮操放政敏救教敦整文斉斎料断新方日旭昇明星春昭時晃晋晴智暁月有朋服望期木本札朱杉村来"
    u"東松林果枝柏柚柳柴査栄栗校株核根桂桃桐桜梅梨棟森植椎検業楽榎構様標横樹橋機欠次歌正武歩歯"
    u"歳殿母比毛氏民気水永江池沙沢河治沼泉泌法波泰洋津洸活浅浜浦浩海消涼深淳清渉渚渡港湊湯満源"
    u"滝潤澄濱瀬火灯炎点為無然照熊父片版牧犬状猪率玉王玲珠現球理琴瑞瑠璃環生産由甲申男町画界畑"
    u"留略番病症痛療発白百皮盤目直相省看県眞真眼着瞬矢知石砂研破碧磨示社神祥福秀私秋科秒稔種積"
    u"空窩立竜章童端竹笑笠第筋筑管節築簡紀約純紗素細終組経結絢給絵総緑緒線練縁縦織置美義習翔翼"
    u"老者耕耳聖聡肇肋肘肝股肢肩肺胃胆胎胞胱胸能脂脇脈脊脳脾腎腔腕腫腰腸腹腺膀膚膜膝膵臓臣自至"
    u"興舞航船良色芝花芳苑若英茂茉茜草荒荷莉菅菊菜華菱萌萩葉葵蒔蒼蓋蓮薄薫藍藤藻虎虫血行術街衛"
    u"衣表袖被装裕補製西要見視観角解言計記診詩話誉誠説読課調諒論諸護谷豊貞貢貫貴賀賢赤走起超越"
    u"足跡路身転軸軽輔輝輪轉辰農辺近返追退送透通造連進過道達遠遥適選遼邊郁郎部郷都配酒酔里重野"
    u"量金釘鈴鉄銀鋼録鎌鎖鏡長門開間関阪防阿附院陣除陰陸陽隆隈階隔隼雄雅集雨雪電霊青静面音順須"
    u"領頭頸頼顎顔顕風颯食飯養首香馬駒骨髄高鬼鮎鳥鳴鶴鹿麗麻黄黒鼓鼻齊齋齢龍";

#define COMMON_COUNT (ARRAY_LEN(common_kanji) - 1)

static bool is_common(uint32_t point)
{
    size_t low = 0;
    size_t high = COMMON_COUNT;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (common_kanji[middle] < point) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < COMMON_COUNT && common_kanji[low] == point;
}

static bool is_ascii_letter(const TextChar *c)
{
    return (c->point >= 'A' && c->point <= 'Z') || (c->point >= 'a' && c->point <= 'z');
}

static bool is_half_kana(uint32_t point)
{
    return point >= 0xff66 && point <= 0xff9f;
}

/** JIS X 0208 rows 16 to 47, by the bytes of Shift_JIS or EUC-JP. */
static bool is_kanji_level_1(const TextChar *c)
{
    unsigned code = (unsigned)(uint8_t)c->bytes.data[0] << 8 | (uint8_t)c->bytes.data[1];
    return c->set == CHARSET_SHIFT_JIS ? code >= 0x889f && code <= 0x9872
                                       : code >= 0xb0a1 && code <= 0xcfd3;
}

static Evidence evidence_of_kanji(const TextChar *c)
{
    if (is_common(c->point)) {
        return EVIDENCE_KANJI_COMMON;
    }
    return c->bytes.len == 2 && is_kanji_level_1(c) ? EVIDENCE_KANJI_LEVEL_1 : EVIDENCE_KANJI_RARE;
}

/** Two bytes of GB 2312 level 1, which holds all that names need. */
static bool is_hanzi_level_1(const TextChar *c)
{
    uint8_t lead = (uint8_t)c->bytes.data[0];
    return c->bytes.len == 2 && lead >= 0xb0 && lead <= 0xd7 && (uint8_t)c->bytes.data[1] >= 0xa1;
}

static Evidence evidence_of_half_kana(const TextChar *before, const TextChar *c,
                                      const TextChar *after)
{
    uint32_t point = c->point;
    uint32_t base = before->point;
    bool takes_semi_voiced = base >= 0xff8a && base <= 0xff8e; /* ha to ho */
    bool takes_voiced = takes_semi_voiced || base == 0xff73 || (base >= 0xff76 && base <= 0xff84);
    bool is_odd = !is_half_kana(point) || is_ascii_letter(before) || is_ascii_letter(after) ||
                  (point == 0xff9e && !takes_voiced) || (point == 0xff9f && !takes_semi_voiced);
    return is_odd             ? EVIDENCE_HALF_KANA_ODD
           : c->bytes.len > 1 ? EVIDENCE_HALF_KANA_EUC
                              : EVIDENCE_HALF_KANA;
}

static Evidence evidence_of_latin(const TextChar *before, const TextChar *c, const TextChar *after)
{
    static const uint16_t signs[] = u"\u00b0\u00b1\u00b2\u00b3\u00b5\u00b7\u00bc\u00bd\u00be\u00d7";
    uint32_t point = c->point;
    if (u_isalpha((UChar32)point) && point != 0xaa && point != 0xb5 && point != 0xba) {
        bool is_in_word = is_ascii_letter(before) || is_ascii_letter(after);
        if (c->set == CHARSET_UTF_8) {
            return is_in_word ? EVIDENCE_UTF_8_IN_WORD : EVIDENCE_UTF_8_LETTER;
        }
        return is_in_word ? EVIDENCE_LATIN_IN_WORD : EVIDENCE_LATIN_ALONE;
    }
    for (size_t i = 0; i < ARRAY_LEN(signs) - 1; i++) {
        if (point == signs[i] && before->point < 0xc0) {
            return EVIDENCE_LATIN_SIGN;
        }
    }
    return EVIDENCE_OTHER;
}

/** Of what Shift_JIS and EUC-JP have in two bytes or more. */
static Evidence evidence_of_wide(const TextChar *c)
{
    uint32_t point = c->point;
    if (point > 0x3040 && point <= 0x30fe && point != 0x30fb) {
        return EVIDENCE_KANA;
    }
    bool is_kanji = (point >= 0x3400 && point < 0xe000) || (point >= 0xf900 && point < 0xff00);
    return is_kanji ? evidence_of_kanji(c) : EVIDENCE_WIDE_SIGN;
}

static Evidence evidence_of(const TextChar *before, const TextChar *c, const TextChar *after)
{
    uint32_t point = c->point;
    if (point == 0) {
        return c->is_cut ? EVIDENCE_CUT : EVIDENCE_UNREADABLE;
    }
    if (c->set == CHARSET_UTF_8 && c->bytes.len > 2) {
        return EVIDENCE_UTF_8_LONG;
    }
    if (point >= 0xff61 && point <= 0xff9f) {
        return evidence_of_half_kana(before, c, after);
    }
    if (c->set == CHARSET_SHIFT_JIS || c->set == CHARSET_EUC_JP) {
        return evidence_of_wide(c);
    }
    if (point < 0x250) {
        return evidence_of_latin(before, c, after);
    }
    if (c->set != CHARSET_UTF_8 && u_hasBinaryProperty((UChar32)point, UCHAR_IDEOGRAPHIC)) {
        return c->set == CHARSET_KOREAN || is_hanzi_level_1(c) ? EVIDENCE_LETTER
                                                               : EVIDENCE_HANZI_RARE;
    }
    if (!u_isalpha((UChar32)point) && u_charType((UChar32)point) != U_NON_SPACING_MARK) {
        return EVIDENCE_OTHER;
    }
    return c->set == CHARSET_UTF_8 ? EVIDENCE_UTF_8_LETTER : EVIDENCE_LETTER;
}

static void count_char(TextEvidence *sum, const TextChar *before, const TextChar *c,
                       const TextChar *after)
{
    Evidence evidence = evidence_of(before, c, after);
    bool is_unread = c->point == 0;
    if (!c->is_high && !is_unread) {
        return;
    }
    sum->points += evidence_points[evidence] * (int64_t)c->bytes.len;
    sum->bytes += c->bytes.len;
    sum->unreadable += is_unread ? c->bytes.len : 0;
    sum->cut += c->is_cut ? c->bytes.len : 0;
}

TextEvidence text_evidence(const TextDeclaration *declaration, const char *delimiters, Str value)
{
    TextDecoder decoder = {0};
    text_decoder_start(&decoder, declaration, delimiters, value);
    TextEvidence sum = {0};
    TextChar before = {0};
    TextChar current = {0};
    TextChar after = {0};
    bool has_current = text_decoder_next(&decoder, &current);
    while (has_current) {
        bool has_after = text_decoder_next(&decoder, &after);
        after.point = has_after ? after.point : 0;
        count_char(&sum, &before, &current, &after);
        before = current;
        current = after;
        has_current = has_after;
    }
    sum.departed = decoder.departed;
    text_decoder_done(&decoder);
    return sum;
}

#define GOOD_POINTS 80

bool text_evidence_is_good(const TextEvidence *evidence)
{
    return evidence->unreadable == 0 && evidence->points >= (int64_t)evidence->bytes * GOOD_POINTS;
}

bool text_evidence_is_better(const TextEvidence *evidence, const TextEvidence *declared)
{
    return evidence->points > declared->points && evidence->points >= 0;
}
