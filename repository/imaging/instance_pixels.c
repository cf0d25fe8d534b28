#include "repository/imaging/instance_pixels.h"

#include "repository/imaging/file_part.h"

/** The data set of an instance, while it is read. */
typedef struct DataSet {
    FilePart part;
    BodySource source;
    PixelsSource pixels;
} DataSet;

static int data_set_next(void *ctx, StrBuf *buf)
{
    return file_part_next(ctx, buf);
}

static int data_set_open(DataSet *data_set, Imaging *imaging, ErrorList *errors, PixelsLine *line,
                         const ImagingInstance *instance)
{
    *data_set = (DataSet){
        .source = {&data_set->part, data_set_next, NULL},
        .pixels = {instance->transfer_syntax, &data_set->source, line, instance->study},
    };
    int rc =
        file_part_open(&data_set->part, imaging->blobs, instance->sha256, instance->data_set_offset,
                       instance->size_bytes - instance->data_set_offset);
    return rc < 0 ? error_add(errors, (ErrorCode)(-rc), NULL,
                              "The stored instance cannot be read; ask the operator.")
                  : 0;
}

/** @param meta  NULL: a bare data set */
static int transcode(Imaging *imaging, ErrorList *errors, PixelsLine *line,
                     const ImagingInstance *instance, Str target, const FileMeta *meta,
                     BodySource *ret_source)
{
    DataSet data_set;
    int rc = data_set_open(&data_set, imaging, errors, line, instance);
    rc = rc < 0 ? rc
                : pixels_transcode(imaging->config.workers, errors, &data_set.pixels, target, meta,
                                   ret_source);
    file_part_done(&data_set.part);
    return rc;
}

int instance_transcode(Imaging *imaging, ErrorList *errors, PixelsLine *line,
                       const ImagingInstance *instance, Str target, BodySource *ret_file)
{
    const FileMeta meta = {.sop_class = instance->sop_class,
                           .sop_instance = instance->sop_instance,
                           .transfer_syntax = target};
    return transcode(imaging, errors, line, instance, target, &meta, ret_file);
}

int instance_transcode_data_set(Imaging *imaging, ErrorList *errors, PixelsLine *line,
                                const ImagingInstance *instance, Str target,
                                BodySource *ret_data_set)
{
    return transcode(imaging, errors, line, instance, target, NULL, ret_data_set);
}

int instance_frame(Imaging *imaging, ErrorList *errors, PixelsLine *line,
                   const ImagingInstance *instance, int64_t frame, BodySource *ret_samples)
{
    DataSet data_set;
    int rc = data_set_open(&data_set, imaging, errors, line, instance);
    rc = rc < 0 ? rc
                : pixels_frame(imaging->config.workers, errors, &data_set.pixels, (uint32_t)frame,
                               ret_samples);
    file_part_done(&data_set.part);
    return rc;
}

int instance_render(Imaging *imaging, ErrorList *errors, PixelsLine *line,
                    const ImagingInstance *instance, const DicomRendering *rendering,
                    StrBuf *ret_image)
{
    DataSet data_set;
    int rc = data_set_open(&data_set, imaging, errors, line, instance);
    rc = rc < 0 ? rc
                : pixels_render(imaging->config.workers, errors, &data_set.pixels, rendering,
                                ret_image);
    file_part_done(&data_set.part);
    return rc;
}
