#include "lib/xml/base64.h"

/* Each entry is the sextet with a mark, so that the bytes that are not named stay 0: not base64. */
enum { SEXTET = 0x40, SPACE = 0x80, PADDING = 0xc0, CLASS_MASK = 0xc0, VALUE_MASK = 0x3f };

#define S(value) (SEXTET | (value))
/* clang-format off */
static const uint8_t classes[256] = {
    ['\t'] = SPACE, ['\n'] = SPACE, ['\r'] = SPACE, [' '] = SPACE, ['='] = PADDING,
    ['A'] = S(0), ['B'] = S(1), ['C'] = S(2), ['D'] = S(3), ['E'] = S(4), ['F'] = S(5), ['G'] = S(6), ['H'] = S(7),
    ['I'] = S(8), ['J'] = S(9), ['K'] = S(10), ['L'] = S(11), ['M'] = S(12), ['N'] = S(13), ['O'] = S(14), ['P'] = S(15),
    ['Q'] = S(16), ['R'] = S(17), ['S'] = S(18), ['T'] = S(19), ['U'] = S(20), ['V'] = S(21), ['W'] = S(22), ['X'] = S(23),
    ['Y'] = S(24), ['Z'] = S(25), ['a'] = S(26), ['b'] = S(27), ['c'] = S(28), ['d'] = S(29), ['e'] = S(30), ['f'] = S(31),
    ['g'] = S(32), ['h'] = S(33), ['i'] = S(34), ['j'] = S(35), ['k'] = S(36), ['l'] = S(37), ['m'] = S(38), ['n'] = S(39),
    ['o'] = S(40), ['p'] = S(41), ['q'] = S(42), ['r'] = S(43), ['s'] = S(44), ['t'] = S(45), ['u'] = S(46), ['v'] = S(47),
    ['w'] = S(48), ['x'] = S(49), ['y'] = S(50), ['z'] = S(51), ['0'] = S(52), ['1'] = S(53), ['2'] = S(54), ['3'] = S(55),
    ['4'] = S(56), ['5'] = S(57), ['6'] = S(58), ['7'] = S(59), ['8'] = S(60), ['9'] = S(61), ['+'] = S(62), ['/'] = S(63),
};
/* clang-format on */
#undef S

/** Whole groups of four sextets; stops at the first that is anything else. */
static size_t decode_groups(const uint8_t *in, size_t len, uint8_t *out)
{
    size_t done = 0;
    for (; len - done >= 4; done += 4, out += 3) {
        uint8_t a = classes[in[done]];
        uint8_t b = classes[in[done + 1]];
        uint8_t c = classes[in[done + 2]];
        uint8_t d = classes[in[done + 3]];
        if ((a & b & c & d & SEXTET) == 0 || ((a | b | c | d) & SPACE) != 0) {
            break;
        }
        uint32_t group = (uint32_t)(a & VALUE_MASK) << 18 | (uint32_t)(b & VALUE_MASK) << 12 |
                         (uint32_t)(c & VALUE_MASK) << 6 | (uint32_t)(d & VALUE_MASK);
        out[0] = (uint8_t)(group >> 16);
        out[1] = (uint8_t)(group >> 8);
        out[2] = (uint8_t)group;
    }
    return done;
}

/** One sextet that completes or continues a group. @return bytes written, 0 or 3 */
static size_t add_sextet(Base64Decoder *decoder, uint8_t value, uint8_t *out)
{
    decoder->bits = decoder->bits << 6 | value;
    if (++decoder->sextets < 4) {
        return 0;
    }
    out[0] = (uint8_t)(decoder->bits >> 16);
    out[1] = (uint8_t)(decoder->bits >> 8);
    out[2] = (uint8_t)decoder->bits;
    decoder->bits = 0;
    decoder->sextets = 0;
    return 3;
}

/** One '='. @return bytes written when the group is full, -1 where no '=' may stand */
static int add_padding(Base64Decoder *decoder, uint8_t *out)
{
    decoder->padding++;
    if (decoder->sextets < 2 || decoder->sextets + decoder->padding > 4) {
        return -1;
    }
    if (decoder->sextets + decoder->padding < 4) {
        return 0;
    }
    uint32_t bits = decoder->bits << 6 * decoder->padding;
    out[0] = (uint8_t)(bits >> 16);
    out[1] = (uint8_t)(bits >> 8);
    return decoder->padding == 1 ? 2 : 1;
}

bool base64_decode(Base64Decoder *decoder, Str text, uint8_t *ret_bytes, size_t *ret_len)
{
    const uint8_t *in = (const uint8_t *)text.data;
    uint8_t *out = ret_bytes;
    for (size_t i = 0; i < text.len;) {
        if (decoder->sextets == 0 && decoder->padding == 0) {
            size_t done = decode_groups(in + i, text.len - i, out);
            i += done;
            out += done / 4 * 3;
            if (i == text.len) {
                break;
            }
        }
        uint8_t entry = classes[in[i++]];
        int written = 0;
        if ((entry & CLASS_MASK) == SEXTET && decoder->padding == 0) {
            written = (int)add_sextet(decoder, entry & VALUE_MASK, out);
        } else if (entry == PADDING) {
            written = add_padding(decoder, out);
        } else if (entry != SPACE) {
            written = -1;
        }
        if (written < 0) {
            return false;
        }
        out += written;
    }
    *ret_len = (size_t)(out - ret_bytes);
    return true;
}

bool base64_is_complete(const Base64Decoder *decoder)
{
    return (decoder->sextets + decoder->padding) % 4 == 0;
}
