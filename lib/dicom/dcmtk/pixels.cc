#include "lib/dicom/dcmtk/pixels.h"

#include <algorithm>
#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <dcmtk/config/osconfig.h>
#include <dcmtk/dcmdata/dcdatset.h>
#include <dcmtk/dcmdata/dcdeftag.h>
#include <dcmtk/dcmdata/dcistrmb.h>
#include <dcmtk/dcmdata/dcostrmb.h>
#include <dcmtk/dcmdata/dcpixel.h>
#include <dcmtk/dcmdata/dcrledrg.h>
#include <dcmtk/dcmdata/dcrleerg.h>
#include <dcmtk/dcmdata/dcxfer.h>
#include <dcmtk/dcmimgle/dcmimage.h>
#include <dcmtk/dcmjpeg/djdecode.h>
#include <dcmtk/dcmjpeg/djencode.h>
#include <dcmtk/dcmjpeg/djrplol.h>
#include <dcmtk/dcmjpls/djdecode.h>
#include <dcmtk/dcmjpls/djencode.h>
#include <exception>
#include <memory>
#include <new>
#include <vector>

/* clang-format off: these need what stands above */
#include <dcmtk/dcmimage/dipipng.h>
#include <dcmtk/dcmimage/diregist.h> /* without it, colour is not read */
#include <dcmtk/dcmjpeg/dipijpeg.h>
/* clang-format on */

#define PROBLEM_BYTES 256
#define OUTPUT_BYTES (size_t{256} << 10)
#define FRAMES_MAX 1000000
#define SAMPLES_MAX 4U
#define BITS_MAX 64U
/* createScaledImage() */
#define BY_AREA 1
#define BILINEAR 3

struct DicomPixels {
    DcmDataset dataset;
    DcmInputBufferStream input;
    E_TransferSyntax source;
    E_TransferSyntax target;
    bool is_lossy;
    char problem[PROBLEM_BYTES];
};

/** What the image module says (PS3.3 C.7.6.3), within bounds that make every product fit. */
struct ImageSize {
    uint64_t frame_bytes;
    uint64_t all_bytes;
    uint32_t frames;
    uint16_t bits_allocated;
};

__attribute__((format(printf, 2, 3))) static bool fail(DicomPixels *pixels, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vsnprintf(pixels->problem, sizeof(pixels->problem), format, args);
    va_end(args);
    return false;
}

static bool fail_of(DicomPixels *pixels, const char *what, const OFCondition &reason)
{
    return fail(pixels, "%s: %s", what, reason.text());
}

/** Memory that is not there is a problem of this image, and no crash. */
template <typename Call> static bool guarded(DicomPixels *pixels, Call call)
{
    try {
        return call();
    } catch (const std::bad_alloc &) {
        return fail(pixels, "the image takes more memory than there is for one");
    } catch (const std::exception &) {
        return fail(pixels, "DCMTK gave up");
    }
}

/* ---- codecs ---- */

static void register_codecs(bool is_lossy)
{
    DcmRLEDecoderRegistration::registerCodecs();
    DcmRLEEncoderRegistration::registerCodecs();
    DJDecoderRegistration::registerCodecs(is_lossy ? EDC_photometricInterpretation : EDC_never,
                                          EUC_never, EPC_colorByPixel);
    DJEncoderRegistration::registerCodecs(ECC_lossyYCbCr, EUC_never);
    DJLSDecoderRegistration::registerCodecs(EJLSUC_never, EJLSPC_colorByPixel);
    /* raw: with the bits beside those that are stored, where old overlays are */
    DJLSEncoderRegistration::registerCodecs(0, 0, 0, 0, OFFalse, 0, OFTrue, EJLSUC_never);
}

/* ---- reading ---- */

DicomPixels *dicom_pixels_new(const char *transfer_syntax, bool is_lossy)
{
    try {
        DicomPixels *pixels = new DicomPixels();
        pixels->source = DcmXfer(transfer_syntax).getXfer();
        pixels->target = pixels->source;
        pixels->is_lossy = is_lossy;
        register_codecs(is_lossy);
        pixels->dataset.transferInit();
        return pixels;
    } catch (const std::exception &) {
        std::abort();
    }
}

void dicom_pixels_free(DicomPixels *pixels)
{
    delete pixels;
}

const char *dicom_pixels_problem(const DicomPixels *pixels)
{
    return pixels->problem;
}

bool dicom_pixels_push(DicomPixels *pixels, const void *bytes, size_t len)
{
    return guarded(pixels, [=] {
        pixels->input.setBuffer(bytes, static_cast<offile_off_t>(len));
        OFCondition result = pixels->dataset.read(pixels->input, pixels->source);
        pixels->input.releaseBuffer();
        return result.good() || result == EC_StreamNotifyClient ||
               fail_of(pixels, "the data set cannot be read", result);
    });
}

bool dicom_pixels_end(DicomPixels *pixels)
{
    return guarded(pixels, [=] {
        pixels->input.setBuffer(nullptr, 0);
        pixels->input.setEos();
        OFCondition result = pixels->dataset.read(pixels->input, pixels->source);
        if (result.bad() && result != EC_EndOfStream) {
            return fail_of(pixels, "the data set cannot be read", result);
        }
        pixels->dataset.transferEnd();
        return true;
    });
}

/* ---- sizes ---- */

static bool measure(DicomPixels *pixels, ImageSize *ret_size)
{
    Uint16 rows = 0;
    Uint16 columns = 0;
    Uint16 bits = 0;
    Uint16 samples = 0;
    Sint32 frames = 0;
    DcmDataset &dataset = pixels->dataset;

    if (dataset.findAndGetUint16(DCM_Rows, rows).bad() ||
        dataset.findAndGetUint16(DCM_Columns, columns).bad() ||
        dataset.findAndGetUint16(DCM_BitsAllocated, bits).bad() || rows == 0 || columns == 0 ||
        bits == 0) {
        return fail(pixels, "no image: Rows (0028,0010), Columns (0028,0011) or Bits Allocated "
                            "(0028,0100) is missing");
    }
    samples = dataset.findAndGetUint16(DCM_SamplesPerPixel, samples).good() ? samples : Uint16{1};
    if (!dataset.tagExistsWithValue(DCM_NumberOfFrames) ||
        dataset.findAndGetSint32(DCM_NumberOfFrames, frames).bad()) {
        frames = 1;
    }
    if (samples == 0 || samples > SAMPLES_MAX || bits > BITS_MAX || frames <= 0 ||
        frames > FRAMES_MAX) {
        return fail(pixels,
                    "no image that can be read: %u Samples per Pixel (0028,0002), %u Bits "
                    "Allocated (0028,0100), "
                    "%d frames (0028,0008)",
                    samples, bits, static_cast<int>(frames));
    }
    uint64_t frame_bits = uint64_t{rows} * columns * samples * bits;
    *ret_size =
        ImageSize{(frame_bits + 7) / 8, (frame_bits * static_cast<uint64_t>(frames) + 7) / 8,
                  static_cast<uint32_t>(frames), bits};
    return true;
}

static bool check_size(DicomPixels *pixels, uint64_t bytes)
{
    return bytes <= DICOM_PIXELS_MAX ||
           fail(pixels, "the image takes %llu MiB when it is decoded, at most %llu can be",
                static_cast<unsigned long long>(bytes >> 20),
                static_cast<unsigned long long>(DICOM_PIXELS_MAX >> 20));
}

static bool has_pixel_data(DicomPixels *pixels)
{
    return pixels->dataset.tagExists(DCM_PixelData);
}

/* ---- from one syntax into another ---- */

static bool decode(DicomPixels *pixels)
{
    ImageSize size;
    if (!measure(pixels, &size) || !check_size(pixels, size.all_bytes)) {
        return false;
    }
    OFCondition result = pixels->dataset.chooseRepresentation(EXS_LittleEndianExplicit, nullptr);
    if (result.bad()) {
        return fail_of(pixels, "the pixel data cannot be decoded", result);
    }
    pixels->dataset.removeAllButCurrentRepresentations();
    if (pixels->is_lossy && !pixels->dataset.tagExistsWithValue(DCM_LossyImageCompression)) {
        /* the transfer syntax says so no longer (PS3.3 C.7.6.1.1.5) */
        (void)pixels->dataset.putAndInsertString(DCM_LossyImageCompression, "01");
    }
    return true;
}

static bool encode(DicomPixels *pixels, const DcmXfer &target)
{
    ImageSize size;
    const DJ_RPLossless jpeg; /* prediction 1; other codecs have no use for it */
    if (!has_pixel_data(pixels)) {
        return fail(pixels, "%s is for images, and this is none", target.getXferName());
    }
    if (!measure(pixels, &size) || !check_size(pixels, size.all_bytes)) {
        return false;
    }
    OFCondition result = pixels->dataset.chooseRepresentation(
        target.getXfer(),
        target.getXfer() == EXS_JPEGProcess14 || target.getXfer() == EXS_JPEGProcess14SV1
            ? &jpeg
            : nullptr);
    if (result.bad()) {
        return fail(pixels, "an image of %u bits per sample cannot be written as %s: %s",
                    size.bits_allocated, target.getXferName(), result.text());
    }
    return true;
}

bool dicom_pixels_convert(DicomPixels *pixels, const char *transfer_syntax)
{
    return guarded(pixels, [=] {
        const DcmXfer source(pixels->source);
        const DcmXfer target(transfer_syntax);
        if (source.isEncapsulated() && has_pixel_data(pixels) && !decode(pixels)) {
            return false;
        }
        if (target.isEncapsulated() && !encode(pixels, target)) {
            return false;
        }
        pixels->target = target.getXfer();
        return pixels->dataset.canWriteXfer(pixels->target, EXS_Unknown) ||
               fail(pixels, "the data set cannot be written as %s", target.getXferName());
    });
}

static bool flush(DcmOutputBufferStream *output, DicomPixelsSink sink, void *ctx)
{
    void *bytes = nullptr;
    offile_off_t len = 0;
    output->flushBuffer(bytes, len);
    return len == 0 || sink(ctx, bytes, static_cast<size_t>(len));
}

bool dicom_pixels_write(DicomPixels *pixels, DicomPixelsSink sink, void *ctx)
{
    return guarded(pixels, [=] {
        std::vector<char> buffer(OUTPUT_BYTES);
        DcmOutputBufferStream output(buffer.data(), OUTPUT_BYTES);
        OFCondition result = EC_StreamNotifyClient;
        pixels->dataset.transferInit();
        while (result == EC_StreamNotifyClient) {
            result = pixels->dataset.write(output, pixels->target, EET_ExplicitLength, nullptr);
            if ((result.good() || result == EC_StreamNotifyClient) && !flush(&output, sink, ctx)) {
                return fail(pixels, "nobody takes the data set");
            }
        }
        pixels->dataset.transferEnd();
        return result.good() || fail_of(pixels, "the data set cannot be written", result);
    });
}

/* ---- one frame ---- */

static bool check_frame(DicomPixels *pixels, uint32_t frame, ImageSize *ret_size)
{
    if (!has_pixel_data(pixels)) {
        return fail(pixels, "the instance has no pixel data (7FE0,0010)");
    }
    if (!measure(pixels, ret_size)) {
        return false;
    }
    return (frame >= 1 && frame <= ret_size->frames) ||
           fail(pixels, "there is no frame %u; the image has %u", frame, ret_size->frames);
}

/** A frame goes without the data set that could say of its colours otherwise than the metadata. */
static bool check_colours(DicomPixels *pixels, const OFString &decoded)
{
    OFString stored;
    (void)pixels->dataset.findAndGetOFString(DCM_PhotometricInterpretation, stored);
    return decoded.empty() || decoded == stored ||
           fail(
               pixels,
               "Photometric Interpretation (0028,0004) is %.16s, and decoded frames are %.16s: ask "
               "for frames as they are stored, or for a rendered image",
               stored.c_str(), decoded.c_str());
}

bool dicom_pixels_write_frame(DicomPixels *pixels, uint32_t frame, DicomPixelsSink sink, void *ctx)
{
    return guarded(pixels, [=] {
        ImageSize size;
        DcmElement *element = nullptr;
        OFString color_model;
        Uint32 fragment = 0;
        if (!check_frame(pixels, frame, &size) || !check_size(pixels, size.frame_bytes)) {
            return false;
        }
        if (size.bits_allocated % 8 != 0) {
            return fail(pixels, "frames of %u bits per sample do not begin at a byte",
                        size.bits_allocated);
        }
        std::vector<char> buffer(static_cast<size_t>(size.frame_bytes + size.frame_bytes % 2));
        OFCondition result = pixels->dataset.findAndGetElement(DCM_PixelData, element);
        if (result.good()) {
            result =
                element->getUncompressedFrame(&pixels->dataset, frame - 1, fragment, buffer.data(),
                                              static_cast<Uint32>(buffer.size()), color_model);
        }
        if (result.bad()) {
            return fail_of(pixels, "the frame cannot be decoded", result);
        }
        return check_colours(pixels, color_model) &&
               (sink(ctx, buffer.data(), static_cast<size_t>(size.frame_bytes)) ||
                fail(pixels, "nobody takes the frame"));
    });
}

/* ---- rendering ---- */

typedef std::unique_ptr<DicomImage> ImageOwner;

/**
 * Enhanced images say window and rescaling per frame, or for all, in functional groups (PS3.3
 * C.7.6.16.2): DCMTK looks for them in the data set alone.
 */
static void lift(DcmDataset *dataset, uint32_t frame, const DcmTagKey &group, const DcmTagKey &tag)
{
    DcmItem *functions = nullptr;
    DcmItem *item = nullptr;
    DcmElement *found = nullptr;
    bool is_there = dataset
                        ->findAndGetSequenceItem(DCM_PerFrameFunctionalGroupsSequence, functions,
                                                 static_cast<signed long>(frame - 1))
                        .good() &&
                    functions->findAndGetSequenceItem(group, item).good();
    if (!is_there) {
        is_there =
            dataset->findAndGetSequenceItem(DCM_SharedFunctionalGroupsSequence, functions).good() &&
            functions->findAndGetSequenceItem(group, item).good();
    }
    if (is_there && item->findAndGetElement(tag, found, OFFalse, OFTrue).good()) {
        std::unique_ptr<DcmElement> copy(found);
        if (dataset->insert(copy.get(), OFTrue).good()) {
            (void)copy.release(); /* the data set's */
        }
    }
}

static void lift_functions(DcmDataset *dataset, uint32_t frame)
{
    static const struct {
        DcmTagKey group;
        DcmTagKey tag;
    } lifted[] = {
        {DCM_FrameVOILUTSequence, DCM_WindowCenter},
        {DCM_FrameVOILUTSequence, DCM_WindowWidth},
        {DCM_FrameVOILUTSequence, DCM_VOILUTFunction},
        {DCM_PixelValueTransformationSequence, DCM_RescaleIntercept},
        {DCM_PixelValueTransformationSequence, DCM_RescaleSlope},
        {DCM_PixelValueTransformationSequence, DCM_RescaleType},
    };
    for (const auto &row : lifted) {
        lift(dataset, frame, row.group, row.tag);
    }
}

static bool is_sigmoid(DcmDataset *dataset)
{
    OFString function;
    return dataset->findAndGetOFString(DCM_VOILUTFunction, function).good() &&
           function == "SIGMOID";
}

static bool set_window(DicomPixels *pixels, DicomImage *image, const DicomRendering *rendering)
{
    if (!image->isMonochrome()) {
        return true;
    }
    if (rendering->has_window) {
        /* the exact one, said in terms of the other (PS3.3 C.11.2.1.2.1, C.11.2.1.3.2) */
        bool is_exact = rendering->function == DICOM_WINDOW_LINEAR_EXACT;
        double center = rendering->window_center + (is_exact ? 0.5 : 0);
        double width = rendering->window_width + (is_exact ? 1 : 0);
        (void)image->setVoiLutFunction(rendering->function == DICOM_WINDOW_SIGMOID ? EFV_Sigmoid
                                                                                   : EFV_Linear);
        return image->setWindow(center, width) != 0 ||
               fail(pixels, "no window of width %g can be applied", rendering->window_width);
    }
    (void)image->setVoiLutFunction(is_sigmoid(&pixels->dataset) ? EFV_Sigmoid : EFV_Linear);
    bool is_set = (image->getWindowCount() > 0 && image->setWindow(0UL) != 0) ||
                  (image->getVoiLutCount() > 0 && image->setVoiLut(0UL) != 0);
    if (!is_set) {
        (void)image->setMinMaxWindow();
    }
    return true;
}

/** The part of the image that is wanted. */
static bool clip(DicomPixels *pixels, ImageOwner *image, const DicomRendering *rendering)
{
    const double width = static_cast<double>((*image)->getWidth());
    const double height = static_cast<double>((*image)->getHeight());
    const double left = std::floor(rendering->left * width);
    const double top = std::floor(rendering->top * height);
    const double right = std::min(std::ceil((rendering->left + rendering->width) * width), width);
    const double bottom =
        std::min(std::ceil((rendering->top + rendering->height) * height), height);
    if (!(left >= 0 && top >= 0 && right > left && bottom > top)) {
        return fail(pixels, "the region lies outside of the image, or is empty");
    }
    if (left == 0 && top == 0 && right == width && bottom == height) {
        return true;
    }
    image->reset((*image)->createClippedImage(
        static_cast<signed long>(left), static_cast<signed long>(top),
        static_cast<unsigned long>(right - left), static_cast<unsigned long>(bottom - top)));
    return (*image && (*image)->getStatus() == EIS_Normal) ||
           fail(pixels, "the region cannot be cut out");
}

static unsigned long side_of(double wanted)
{
    return static_cast<unsigned long>(std::max(1.0, std::floor(wanted + 0.5)));
}

/** Square pixels, as many as may be. */
static bool scale(DicomPixels *pixels, ImageOwner *image, const DicomRendering *rendering)
{
    const double ratio = (*image)->getWidthHeightRatio(); /* of a pixel */
    const double stretch = std::isfinite(ratio) && ratio > 0 ? ratio : 1;
    const double width = static_cast<double>((*image)->getWidth()) * std::max(stretch, 1.0);
    const double height = static_cast<double>((*image)->getHeight()) / std::min(stretch, 1.0);
    const double columns = rendering->columns ? rendering->columns : DICOM_RENDERED_SIDE_MAX;
    const double rows = rendering->rows ? rendering->rows : DICOM_RENDERED_SIDE_MAX;
    bool may_enlarge = rendering->may_enlarge && (rendering->rows || rendering->columns);
    double factor = std::min(columns / width, rows / height);
    factor = may_enlarge ? factor : std::min(factor, 1.0);
    unsigned long wanted_width = side_of(width * factor);
    unsigned long wanted_height = side_of(height * factor);
    if (wanted_width == (*image)->getWidth() && wanted_height == (*image)->getHeight()) {
        return true;
    }
    image->reset(
        (*image)->createScaledImage(wanted_width, wanted_height, factor < 1 ? BY_AREA : BILINEAR));
    return (*image && (*image)->getStatus() == EIS_Normal) ||
           fail(pixels, "the image cannot be scaled");
}

/** A file that is memory. */
class MemoryFile {
  public:
    MemoryFile() : file(open_memstream(&bytes, &len))
    {
    }
    ~MemoryFile()
    {
        (void)finish();
        std::free(bytes);
    }
    MemoryFile(const MemoryFile &) = delete;
    MemoryFile &operator=(const MemoryFile &) = delete;
    /** The bytes are all there. */
    bool finish()
    {
        bool is_whole = file && std::fclose(file) == 0;
        file = nullptr;
        return is_whole;
    }
    char *bytes = nullptr;
    size_t len = 0;
    FILE *file;
};

static bool write_image(DicomPixels *pixels, DicomImage *image, const DicomRendering *rendering,
                        DicomPixelsSink sink, void *ctx)
{
    MemoryFile memory;
    DiPNGPlugin png;
    DiJPEGPlugin jpeg;
    png.setInterlaceType(E_pngInterlaceNone);
    jpeg.setQuality(rendering->quality);
    jpeg.setSampling(ESS_444);
    const DiPluginFormat *plugin =
        rendering->is_png ? static_cast<const DiPluginFormat *>(&png) : &jpeg;
    if (!memory.file || image->writePluginFormat(plugin, memory.file) == 0 || !memory.finish()) {
        return fail(pixels, "the image cannot be written as %s",
                    rendering->is_png ? "PNG" : "JPEG");
    }
    return sink(ctx, memory.bytes, memory.len) || fail(pixels, "nobody takes the image");
}

bool dicom_pixels_render(DicomPixels *pixels, const DicomRendering *rendering, DicomPixelsSink sink,
                         void *ctx)
{
    return guarded(pixels, [=] {
        ImageSize size;
        if (!check_frame(pixels, rendering->frame, &size) ||
            !check_size(pixels, size.frame_bytes * 4)) {
            return false; /* DCMTK widens samples, and keeps what it read beside what it shows */
        }
        lift_functions(&pixels->dataset, rendering->frame);
        ImageOwner image(new DicomImage(&pixels->dataset, pixels->source,
                                        CIF_UsePartialAccessToPixelData, rendering->frame - 1, 1));
        if (image->getStatus() != EIS_Normal) {
            return fail(pixels, "the image cannot be rendered: %s",
                        DicomImage::getString(image->getStatus()));
        }
        (void)image->hideAllOverlays();
        return set_window(pixels, image.get(), rendering) && clip(pixels, &image, rendering) &&
               scale(pixels, &image, rendering) &&
               write_image(pixels, image.get(), rendering, sink, ctx);
    });
}
