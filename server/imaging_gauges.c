#include "server/imaging_gauges.h"

#include "server/metrics.h"

void imaging_gauges_write(Imaging *imaging, const DicomWorkers *workers, Request *req, StrBuf *buf)
{
    ImagingCounts counts;
    metrics_counter(buf, "dicom_workers_crashed",
                    "Processes of DICOM that crashed since the start, each with its job alone.",
                    (double)dicom_workers_crashes(workers));
    if (imaging_counts(imaging, req, &counts) < 0) {
        return;
    }
    const struct {
        const char *name;
        const char *help;
        int64_t value;
    } gauges[] = {
        {"dicom_associations", "Open DICOM associations.", counts.associations},
        {"imaging_studies", "Studies that are kept, counted for each facility.", counts.studies},
        {"imaging_studies_waiting",
         "Studies whose patient is not known yet (musubi study waiting).", counts.waiting},
        {"imaging_manifests_due", "Studies whose manifest is to be made.", counts.manifests_due},
        {"imaging_manifests_failed", "Studies whose last manifest could not be made.",
         counts.manifests_failed},
        {"imaging_conflicts", "Studies of several persons, not given out (musubi study conflicts).",
         counts.conflicts},
    };
    metrics_counter(buf, "imaging_instances_stored", "Instances stored since the start.",
                    (double)counts.stored);
    for (size_t i = 0; i < ARRAY_LEN(gauges); i++) {
        metrics_gauge(buf, gauges[i].name, gauges[i].help, (double)gauges[i].value);
    }
}
