#include "repository/imaging/rendering.h"

#include <math.h>
#include <stdlib.h>

#define NUMBER_MAX 32 /* characters */
#define NUMBERS_MAX 6

static int refuse(const DicomwebExchange *exchange, const char *name, const char *expected)
{
    return error_add(&exchange->req->errors, ERR_DICOM_REQUEST, NULL,
                     "Parameter %s is wrong: send %s.", name, expected);
}

static bool read_decimal(Str text, double *ret_number)
{
    char copy[NUMBER_MAX + 1] = {0};
    char *end;
    text = str_trim(text);
    if (text.len == 0 || text.len > NUMBER_MAX) {
        return false;
    }
    memcpy(copy, text.data, text.len);
    for (size_t i = 0; i < text.len; i++) {
        if (!strchr("0123456789+-.eE", copy[i])) {
            return false;
        }
    }
    *ret_number = strtod(copy, &end);
    return *end == '\0' && isfinite(*ret_number);
}

/** Numbers with commas between. @return how many, -1: it is no such list */
static int read_decimals(Str text, double *ret_numbers)
{
    int count = 0;
    Str item;
    while (str_split_next(&text, ',', &item)) {
        if (count == NUMBERS_MAX || !read_decimal(item, &ret_numbers[count])) {
            return -1;
        }
        count++;
    }
    return count;
}

static bool read_side(Str text, uint32_t *ret_side)
{
    uint64_t number;
    if (!str_to_u64(text, &number) || number == 0 || number > DICOM_RENDERED_SIDE_MAX) {
        return false;
    }
    *ret_side = (uint32_t)number;
    return true;
}

static int read_quality(DicomwebExchange *exchange, const char *name, DicomRendering *rendering)
{
    Str text = fhir_parameters_value(&exchange->parameters, name);
    uint64_t quality;
    if (str_is_empty(text)) {
        return 0;
    }
    if (!str_to_u64(text, &quality) || quality < 1 || quality > 100) {
        return refuse(exchange, name, "a number from 1 to 100");
    }
    rendering->quality = (unsigned)quality;
    return 0;
}

/* ---- WADO-RS ---- */

/** "width,height" of the picture at most; parts of the image are not cut out. */
static int read_viewport(DicomwebExchange *exchange, DicomRendering *rendering)
{
    static const char name[] = "viewport";
    Str rest = fhir_parameters_value(&exchange->parameters, name);
    Str width;
    Str height;
    if (str_is_empty(rest)) {
        return 0;
    }
    if (!str_split_next(&rest, ',', &width) || !str_split_next(&rest, ',', &height) || rest.data ||
        !read_side(width, &rendering->columns) || !read_side(height, &rendering->rows)) {
        return refuse(exchange, name,
                      "WIDTH,HEIGHT in pixels of the picture; a part of the image is not cut out");
    }
    rendering->may_enlarge = true;
    return 0;
}

/** "center,width,function" */
static int read_window(DicomwebExchange *exchange, DicomRendering *rendering)
{
    static const char name[] = "window";
    static const struct {
        const char *name;
        DicomWindowFunction function;
    } functions[] = {
        {"linear", DICOM_WINDOW_LINEAR},
        {"linear-exact", DICOM_WINDOW_LINEAR_EXACT},
        {"sigmoid", DICOM_WINDOW_SIGMOID},
    };
    Str rest = fhir_parameters_value(&exchange->parameters, name);
    Str center;
    Str width;
    Str function;
    if (str_is_empty(rest)) {
        return 0;
    }
    bool is_good = str_split_next(&rest, ',', &center) && str_split_next(&rest, ',', &width) &&
                   str_split_next(&rest, ',', &function) && !rest.data &&
                   read_decimal(center, &rendering->window_center) &&
                   read_decimal(width, &rendering->window_width) && rendering->window_width > 0;
    for (size_t i = 0; is_good && i < ARRAY_LEN(functions); i++) {
        if (str_equal_ci(str_trim(function), str_from(functions[i].name))) {
            rendering->function = functions[i].function;
            rendering->has_window = true;
        }
    }
    return rendering->has_window ? 0
                                 : refuse(exchange, name,
                                          "CENTER,WIDTH,FUNCTION, where FUNCTION is linear, "
                                          "linear-exact or sigmoid");
}

int rendering_of_rs(DicomwebExchange *exchange, DicomRendering *ret_rendering)
{
    *ret_rendering = pixels_rendering();
    int rc = read_viewport(exchange, ret_rendering);
    rc = rc < 0 ? rc : read_window(exchange, ret_rendering);
    return rc < 0 ? rc : read_quality(exchange, "quality", ret_rendering);
}

/* ---- WADO-URI ---- */

static int read_uri_side(DicomwebExchange *exchange, const char *name, uint32_t *ret_side)
{
    Str text = fhir_parameters_value(&exchange->parameters, name);
    return str_is_empty(text) || read_side(text, ret_side)
               ? 0
               : refuse(exchange, name, "a number of pixels");
}

static int read_uri_window(DicomwebExchange *exchange, DicomRendering *rendering)
{
    Str center = fhir_parameters_value(&exchange->parameters, "windowCenter");
    Str width = fhir_parameters_value(&exchange->parameters, "windowWidth");
    if (str_is_empty(center) && str_is_empty(width)) {
        return 0;
    }
    if (!read_decimal(center, &rendering->window_center)) {
        return refuse(exchange, "windowCenter", "a decimal number, together with windowWidth");
    }
    if (!read_decimal(width, &rendering->window_width) || rendering->window_width <= 0) {
        return refuse(exchange, "windowWidth",
                      "a decimal number above 0, together with windowCenter");
    }
    rendering->has_window = true;
    return 0;
}

/** Left, top, right and bottom as fractions of the image. */
static int read_uri_region(DicomwebExchange *exchange, DicomRendering *rendering)
{
    static const char name[] = "region";
    double edges[NUMBERS_MAX];
    Str text = fhir_parameters_value(&exchange->parameters, name);
    if (str_is_empty(text)) {
        return 0;
    }
    if (read_decimals(text, edges) != 4 || edges[0] < 0 || edges[1] < 0 || edges[2] > 1 ||
        edges[3] > 1 || edges[0] >= edges[2] || edges[1] >= edges[3]) {
        return refuse(exchange, name, "LEFT,TOP,RIGHT,BOTTOM as fractions from 0 to 1");
    }
    rendering->left = edges[0];
    rendering->top = edges[1];
    rendering->width = edges[2] - edges[0];
    rendering->height = edges[3] - edges[1];
    return 0;
}

static int read_uri_frame(DicomwebExchange *exchange, DicomRendering *rendering)
{
    static const char name[] = "frameNumber";
    uint64_t frame;
    Str text = fhir_parameters_value(&exchange->parameters, name);
    if (str_is_empty(text)) {
        return 0;
    }
    if (!str_to_u64(text, &frame) || frame == 0 || frame > UINT32_MAX) {
        return refuse(exchange, name, "a number from 1 on");
    }
    rendering->frame = (uint32_t)frame;
    return 0;
}

int rendering_of_uri(DicomwebExchange *exchange, DicomRendering *ret_rendering)
{
    *ret_rendering = pixels_rendering();
    int rc = read_uri_frame(exchange, ret_rendering);
    rc = rc < 0 ? rc : read_uri_side(exchange, "rows", &ret_rendering->rows);
    rc = rc < 0 ? rc : read_uri_side(exchange, "columns", &ret_rendering->columns);
    rc = rc < 0 ? rc : read_uri_window(exchange, ret_rendering);
    rc = rc < 0 ? rc : read_uri_region(exchange, ret_rendering);
    return rc < 0 ? rc : read_quality(exchange, "imageQuality", ret_rendering);
}
